"""Prompts as tokens: their limit and format, decoder-only tokenizers."""
