"""Gin files for T5X by itself."""
