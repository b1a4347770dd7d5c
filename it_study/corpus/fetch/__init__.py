"""Fetches the public collection."""
