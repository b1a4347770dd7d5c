"""Flax models whose parameter trees are those of T5X."""
