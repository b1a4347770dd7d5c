"""Prompts of P3: promptsource's templates over data sets of TFDS."""
