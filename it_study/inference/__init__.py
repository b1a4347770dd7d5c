"""Inference: prompts to answers, by decoding or by scoring labels."""
