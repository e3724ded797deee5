"""Errors of a model file: unreadable, invalid, or with wrong metadata."""


class ArtifactError(ValueError):
    """The file is no model that can be served; the message says what was found and what was expected."""
