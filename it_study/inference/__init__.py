"""Loops that turn prompts into tokens."""
