"""The two bounds of a certificate in exact arithmetic, by code that shares nothing with what computed them.

It imports the standard library, numpy (for arrays of Python's integers) and onnx (to read the file). `model` reads
the file as a chain of layers, `propagation` takes the ball around the image through it (eq. 3 and 5 of Bitterwolf,
Meinke and Hein, NeurIPS 2020), `softmax` makes confidences of it (eq. 6), `certificate` holds claims to them.
"""

from goodcert.checker.certificate import BadClaim, Comparison, check
from goodcert.checker.model import NotCheckable

__all__ = ["BadClaim", "Comparison", "NotCheckable", "check"]
