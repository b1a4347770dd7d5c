"""SeqIO registrations of the study. Importing registers, and nothing else."""

from it_study.tasks import mixtures, natinst

__all__ = ['mixtures', 'natinst']
