"""Random nodes of the operators that work number by number."""

from collections.abc import Callable, Mapping

import numpy as np

from goodcert.evaluation.fuzzing.draft import Draft, NoFit
from goodcert.evaluation.fuzzing.weights import numbers, weights

Make = Callable[[Draft, str], str]
"""From the name of a value that varies to that of what the new nodes make of it. Raises NoFit."""


def calm(draft: Draft, x: str) -> str:
    """x within about -4 to 4, by one of many ways."""
    match draft.pick(("Tanh", "Softsign", "Sigmoid", "Clip", "HardSigmoid", "plain")):
        case "Clip":
            return clip(draft, x, draft.pick((-4.0, -1.0, 0.0)), draft.pick((1.0, 4.0)))
        case "plain":
            return x
        case operator:
            return draft.node(operator, [x])


def positive(draft: Draft, x: str) -> str:
    """x made positive, away from 0."""
    least = draft.pick((0.01, 0.5, 1.0))
    match draft.pick(("Clip", "Max", "Relu", "Abs", "Exp", "Softplus", "Sigmoid")):
        case "Clip":
            return clip(draft, x, least, None)
        case "Max" if draft.opset >= 8:
            return draft.node("Max", [x, draft.constant(np.float32(least))])
        case "Exp":
            return draft.node("Exp", [draft.node("Tanh", [x])])
        case "Max":
            return clip(draft, x, least, None)
        case operator:
            return draft.node("Add", [draft.node(operator, [x]), draft.constant(np.float32(least))])


def clip(draft: Draft, x: str, low: float | None, high: float | None) -> str:
    if draft.knows("Clip", "min"):
        return draft.node("Clip", [x], min=low, max=high)
    limits = ["" if limit is None else draft.constant(np.float32(limit)) for limit in (low, high)]
    while limits and not limits[-1]:
        limits.pop()
    return draft.node("Clip", [x, *limits])


def _plain(operator: str) -> Make:
    return lambda draft, x: draft.node(operator, [x])


def _calmed(operator: str) -> Make:
    return lambda draft, x: draft.node(operator, [calm(draft, x)])


def _of_positive(operator: str) -> Make:
    return lambda draft, x: draft.node(operator, [positive(draft, x)])


def _with_numbers(operator: str, **ranges: tuple[float, ...]) -> Make:
    """Each attribute is left out, or one of the numbers given."""

    def make(draft: Draft, x: str) -> str:
        chosen = {name: draft.pick(values) for name, values in ranges.items() if draft.chance(0.7)}
        return draft.node(operator, [x], **chosen)

    return make


def gelu(draft: Draft, x: str) -> str:
    return draft.node("Gelu", [x], approximate=draft.pick(("none", "tanh", None)))


def random_clip(draft: Draft, x: str) -> str:
    low, high = draft.pick((None, -1.0, 0.0, 0.3)), draft.pick((None, 0.5, 1.0, 6.0, -0.5))
    return clip(draft, x, low, high)


def prelu(draft: Draft, x: str) -> str:
    shape = draft.shapes[x]
    own = draft.pick([(1,), (shape[0], *[1] * (len(shape) - 1)), shape])
    return draft.node("PRelu", [x, weights(draft, own, 1)])


def power(draft: Draft, x: str) -> str:
    exponent = draft.pick((1.0, 2.0, 2.0, 3.0, 4.0, 0.5, 1.5, 8.0))
    base = calm(draft, x) if exponent % 1 == 0 else positive(draft, calm(draft, x))
    return draft.node("Pow", [base, draft.constant(np.full(draft.pick([(), (1,)]), exponent))])


def other(draft: Draft, x: str) -> str | None:
    """Another value that varies, of the same shape; None where there is none."""
    alike = [name for name, shape in draft.shapes.items() if shape == draft.shapes[x] and name != x]
    return draft.pick(alike) if alike else None


def _operand(draft: Draft, x: str) -> str:
    """A second operand: x itself, another value, or a constant that broadcasts."""
    if draft.chance(0.1):
        return x
    if draft.chance(0.5) and (second := other(draft, x)):
        return second
    shape = draft.shapes[x]
    channel = (shape[0], *[1] * (len(shape) - 1))
    return weights(draft, draft.pick([(), (1,), channel, shape[-1:], (1, *shape), channel]), 1)


def _between(operator: str) -> Make:
    def make(draft: Draft, x: str) -> str:
        pair = [x, _operand(draft, x)]
        return draft.node(operator, pair[::-1] if draft.chance(0.3) else pair)

    return make


def product(draft: Draft, x: str) -> str:
    return _between("Mul")(draft, calm(draft, x))


def quotient(draft: Draft, x: str) -> str:
    if draft.chance(0.5):
        numerator = x if draft.chance(0.7) else draft.constant(np.float32(draft.pick((1.0, -2.0, 0.1))))
        return draft.node("Div", [numerator, positive(draft, other(draft, x) or x)])
    divisor = np.where(np.abs(values := numbers(draft, draft.shapes[x][:1], 1)) > 0.01, values, 1.0)
    shape = (-1, *[1] * (len(draft.shapes[x]) - 1))
    return draft.node("Div", [x, draft.constant(divisor.reshape(shape))])


def _of_several(operator: str) -> Make:
    def make(draft: Draft, x: str) -> str:
        count = draft.whole(0, 2)
        if operator in ("Max", "Min", "Sum", "Mean") and draft.opset < 8:  # no broadcasting yet
            rest = [second for _ in range(count) if (second := other(draft, x))]
        else:
            rest = [_operand(draft, x) for _ in range(count)]
        return draft.node(operator, [x, *rest])

    return make


def where(draft: Draft, x: str) -> str:
    shape = draft.shapes[x]
    mask = draft.random.random(draft.pick([shape, shape[-1:], (1, *shape)])) < 0.5
    pair = [x, _operand(draft, x)]
    return draft.node("Where", [draft.constant(mask, np.bool_), *(pair[::-1] if draft.chance(0.5) else pair)])


def shares(operator: str) -> Make:
    """Softmax and LogSoftmax, along one axis: before opset 13 the last."""

    def make(draft: Draft, x: str) -> str:
        rank = len(draft.shapes[x]) + 1
        axis = draft.whole(1, rank - 1) if draft.opset >= 13 else rank - 1
        return draft.node(operator, [x], axis=draft.pick((axis, axis, axis - rank)))

    return make


def thresholded(draft: Draft, x: str) -> str:
    return draft.node("ThresholdedRelu", [x], alpha=draft.pick((None, 0.0, 0.2, 1.0)))


def unit_like(operator: str) -> Make:
    def make(draft: Draft, x: str) -> str:
        if not draft.knows(operator):
            raise NoFit(operator)
        return draft.node(operator, [x], alpha=draft.pick((None, 0.5, 1.0, 1.702)))

    return make


POINTWISE: Mapping[str, Make] = {
    **{op: _plain(op) for op in (
        "Abs", "Ceil", "Erf", "Floor", "HardSwish", "Identity", "Mish", "Neg", "Relu", "Round", "Sigmoid", "Sign",
        "Softplus", "Softsign", "Tanh",
    )},
    **{op: _of_positive(op) for op in ("Log", "Reciprocal", "Sqrt")},
    "Exp": _calmed("Exp"),
    "Celu": _with_numbers("Celu", alpha=(0.3, 1.0, 2.0)),
    "Elu": _with_numbers("Elu", alpha=(0.0, 0.3, 1.0, 2.0)),
    "Selu": _with_numbers("Selu", alpha=(0.5, 1.7), gamma=(0.5, 1.1)),
    "LeakyRelu": _with_numbers("LeakyRelu", alpha=(0.0, 0.01, 0.5, -1.0, 3.0)),
    "HardSigmoid": _with_numbers("HardSigmoid", alpha=(0.2, -1.0, 3.0, 2.0**20), beta=(0.5, 0.0, -5.0, 1.0)),
    "ThresholdedRelu": thresholded,
    "Swish": unit_like("Swish"), "Gelu": gelu, "Clip": random_clip, "PRelu": prelu, "Pow": power,
    "Add": _between("Add"), "Sub": _between("Sub"), "Mul": product, "Div": quotient,
    **{op: _of_several(op) for op in ("Max", "Min", "Sum", "Mean")},
    "Where": where, "Softmax": shares("Softmax"), "LogSoftmax": shares("LogSoftmax"),
}  # fmt: skip
