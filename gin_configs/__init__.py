"""Gin files; a package, so that gin finds them wherever it is started."""
