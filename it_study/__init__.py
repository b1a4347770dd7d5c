"""A controlled study of what instruction tuning teaches a model."""

__version__ = '0.1.0'
