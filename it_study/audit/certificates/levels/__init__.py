"""Judges the parts of a prompt that a condition's levels alter."""
