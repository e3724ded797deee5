"""Errors of the bounds: models, operators and attributes that they do not support."""


class Unsupported(ValueError):
    """A graph that no sound rule covers; the message names the node, the operator and the reason."""
