"""Checkpoints in T5X's format, without T5X."""
