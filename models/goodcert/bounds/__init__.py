"""The mathematics: guaranteed bounds on what a network computes on a box of inputs.

graph <- reader: an ONNX file as plain values. interval <- rule <- one file for each kind of operator
  <- rules <- interpreter: boxes through the graph.
confidence <- classifier: bounds on the softmax confidence. rounding: why they hold for float32.
"""

from goodcert.bounds.errors import Unsupported
from goodcert.bounds.outputs import interval_outputs

__all__ = ["Unsupported", "interval_outputs"]
