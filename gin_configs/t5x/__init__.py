"""Gin files for stock T5X."""
