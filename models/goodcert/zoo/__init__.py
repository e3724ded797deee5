"""The trained models that ship: `<name>/<version>/model.onnx`, each with a card that a command wrote."""

from pathlib import Path

DEFAULT = ("mnist-good100",)
"""What is served where nothing is named: ready within seconds."""


def folder() -> Path:
    """Where the shipped models lie; the default of the service's `models` setting."""
    return Path(__file__).parent
