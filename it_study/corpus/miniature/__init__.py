"""The miniature: a small synthetic benchmark and its vocabulary."""
