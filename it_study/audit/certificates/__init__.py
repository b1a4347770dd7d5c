"""Proof that rows and prompts are what their conditions claim them to be.

Nothing here asks the code that alters instructions what is right: task files
are read anew, and prompts are taken apart by the documented format.
"""
