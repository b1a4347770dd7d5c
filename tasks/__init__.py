"""SeqIO registrations of the study; importing registers, and does no more."""

from tasks import mixtures, natinst

__all__ = ['mixtures', 'natinst']
