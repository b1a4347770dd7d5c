"""Audits of a corpus: checks, train-test overlap and certificates."""
