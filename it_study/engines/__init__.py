"""What trains and decodes: the same two calls whichever engine does it."""

ENGINES = ('native', 't5x')
