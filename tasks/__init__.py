"""SeqIO registrations of the study. Importing registers, and nothing else."""

from tasks import mixtures, natinst

__all__ = ['mixtures', 'natinst']
