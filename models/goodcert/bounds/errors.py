"""What the bounds refuse."""


class Unsupported(ValueError):
    """A graph that no sound rule covers; the message names the node, the operator and the reason."""
