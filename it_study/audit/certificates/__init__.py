"""Certifies that rows and prompts are what their conditions claim.

This check is independent of the code that alters instructions: it parses the
task files itself and splits prompts by the documented format.
"""
