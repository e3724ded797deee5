"""What can be wrong with a model file."""


class ArtifactError(ValueError):
    """The file is no model that can be served; the message says what was found and what was expected."""
