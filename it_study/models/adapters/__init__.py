"""Small additions to a model that are trained in place of its weights."""
