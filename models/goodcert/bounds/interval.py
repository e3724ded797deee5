"""An interval is a value: two tensors of one shape, the lower and the upper ends."""

from typing import NamedTuple

from torch import Tensor


class Interval(NamedTuple):
    """The box of all x with lower <= x <= upper, elementwise."""

    lower: Tensor
    upper: Tensor

    @property
    def centre(self) -> Tensor:
        """(lower + upper) / 2 as the arithmetic of the tensors computes it: any point near the middle."""
        return (self.lower + self.upper) * 0.5

    def radius(self, centre: Tensor) -> Tensor:
        """The distance from `centre` to the further end, so that centre +- radius contains the box up to
        the one rounding of the subtraction (`rounding.py` pays for it)."""
        return (self.upper - centre).maximum(centre - self.lower)

    @property
    def magnitude(self) -> Tensor:
        """The largest |x| in the box, elementwise."""
        return self.lower.abs().maximum(self.upper.abs())


class Nonnegative(Interval):
    """A box without negative ends, whatever the input: of pixels, or behind a Relu. Its margins are cheaper."""

    __slots__ = ()

    @property
    def magnitude(self) -> Tensor:
        return self.upper
