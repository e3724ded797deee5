"""Why the engine does not certify."""


class EngineError(ValueError):
    """The model or the device cannot be trusted with a guarantee; the message says what was found."""
