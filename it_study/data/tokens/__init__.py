"""Tokenizers of decoder-only models."""
