"""SeqIO tasks of the user's own: declarations, instances and metrics."""
