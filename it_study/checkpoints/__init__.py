"""Weights of others: mapping tables, strict reading and writing."""
