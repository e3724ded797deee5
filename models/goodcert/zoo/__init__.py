"""The trained models that ship: `<name>/<version>/model.onnx`, each with a card that a command wrote."""

from pathlib import Path


def folder() -> Path:
    """Where the shipped models lie; the default of the service's `models` setting."""
    return Path(__file__).parent
