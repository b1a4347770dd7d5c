"""Weights in Hugging Face's format."""
