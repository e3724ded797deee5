"""Ways to run the bound beside the prediction, and the checks that make their answers trustworthy."""

from goodcert.engine.certificates import Certificates
from goodcert.engine.compile import compile  # noqa: A004  read as engine.compile
from goodcert.engine.engine import Engine
from goodcert.engine.errors import EngineError
from goodcert.engine.methods import Method

__all__ = ["Certificates", "Engine", "EngineError", "Method", "compile"]
