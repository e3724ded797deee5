"""Errors of the engine: reasons why it does not certify."""


class EngineError(ValueError):
    """The model or the device cannot be trusted with a guarantee; the message says what was found."""


class Unfaithful(EngineError):
    """The kernels of a device do not compute a layer as the guarantee needs it."""
