"""Alterations: pure functions of one row and a condition."""
