"""The miniature: a small benchmark of its own, and its vocabulary."""
