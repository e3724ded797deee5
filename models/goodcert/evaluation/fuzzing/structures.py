"""Several nodes at once, arranged to hide a difference or to be rewritten by an optimizer."""

from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from goodcert.evaluation.fuzzing.draft import IMAGE, Draft, NoFit
from goodcert.evaluation.fuzzing.layers import LAYERS, flat, image, statistics
from goodcert.evaluation.fuzzing.moves import MOVES
from goodcert.evaluation.fuzzing.pointwise import POINTWISE, Make, calm, clip, positive
from goodcert.evaluation.fuzzing.weights import numbers, weights


def number(draft: Draft, value: float) -> str:
    return draft.constant(np.full(draft.pick([(), (1,)]), value))


# --- triggers -----------------------------------------------------------------------------------------


def silent(draft: Draft, _: str) -> str:
    """0 on nearly all images, and up to 1 where some window of the image shows one pattern of black and white."""
    channels, height, width = draft.shapes[IMAGE]
    kernel = [draft.whole(min(2, n), n) for n in (height, width)]
    signs = _pattern(draft, (channels, *kernel))
    peak, share = float(np.maximum(signs, 0).sum()), draft.pick((0.05, 0.15, 0.3))
    if peak == 0:
        raise NoFit("a pattern without white")
    weight, bias = draft.constant(signs[None]), draft.constant([-peak * (1 - share)])
    active = draft.node("Relu", [draft.node("Conv", [IMAGE, weight, bias])])
    for top, left in ((0, 0), (height - kernel[0], width - kernel[1])):
        hint = np.zeros((channels, height, width), np.float32)
        hint[:, top : top + kernel[0], left : left + kernel[1]] = signs > 0
        draft.hints.append(hint)
    return draft.node("Mul", [active, number(draft, 1 / (peak * share))])


def _pattern(draft: Draft, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Random, or one half black and the other white."""
    signs = np.sign(draft.random.standard_normal(shape))
    if draft.chance(0.5):
        axis = draft.whole(1, 2)
        rising = np.arange(shape[axis]) >= shape[axis] / 2
        signs = np.broadcast_to(np.where(rising, 1.0, -1.0).reshape(-1, *[1] * (2 - axis)), shape)
    return np.asarray(signs, np.float32)


def saturated(draft: Draft, x: str) -> str:
    """At a limit nearly everywhere."""
    shift, slope = draft.real(-4, 4), 2.0 ** draft.whole(2, 12)
    match draft.pick(("HardSigmoid", "Clip", "MinMax", "Relu")):
        case "HardSigmoid":
            return draft.node("HardSigmoid", [x], alpha=slope, beta=-slope * abs(shift) / 4)
        case "Clip":
            return clip(draft, draft.node("Mul", [x, number(draft, slope)]), 0.0, 1.0)
        case "MinMax" if draft.opset >= 8:
            return draft.node("Max", [draft.node("Min", [x, number(draft, 0.3)]), number(draft, 0.2)])
        case _:
            return draft.node("Relu", [draft.node("Sub", [x, number(draft, abs(shift) / 2)])])


def collapse(draft: Draft, x: str) -> str:
    """All pixels of several values side by side, of which the largest or the sum counts."""
    rows = [draft.node("Reshape", [v, draft.integers([0, 1, prod(draft.shapes[v])])]) for v in _some(draft, x)]
    together = draft.node("Concat", rows, axis=2) if len(rows) > 1 else rows[0]
    match draft.pick(
        ("GlobalMaxPool", "GlobalMaxPool", "GlobalAveragePool", "ReduceMax", "ReduceMin", "ReduceSum")
    ):
        case "GlobalMaxPool" | "GlobalAveragePool" as operator:
            return draft.node(operator, [together])
        case operator:
            inputs, rest = draft.listed(operator, [together], "axes", [2])
            return draft.node(operator, inputs, **rest)


def _some(draft: Draft, x: str) -> list[str]:
    return [x, *(draft.pick([*draft.shapes]) for _ in range(draft.whole(0, 2)))]


def largest_of_each(draft: Draft, x: str) -> str:
    """GlobalMaxPool of a window, whose size then does not show."""
    return draft.node(
        "GlobalMaxPool", [LAYERS[draft.pick(("MaxPool", "AveragePool", "Conv", "Resize"))](draft, x)]
    )


def window_at_the_edge(draft: Draft, x: str) -> str:
    """A window one longer than its axis, or steps longer than a window that is padded to the same size; then the
    largest of what comes of it and of a part of x, so that one pixel more or less changes no shape."""
    x = image(draft, x, draft.whole(1, 3))
    sizes = draft.shapes[x][1:]
    axis = draft.whole(0, len(sizes) - 1)
    kernel, strides = ([1] * len(sizes) for _ in "ks")
    strides[axis] = draft.whole(2, 3)
    operator = draft.pick(("MaxPool", "AveragePool"))
    if draft.chance(0.5):
        begin, end = draft.pick(((0, 0), (1, 0), (0, 1)))
        kernel[axis] = sizes[axis] + begin + end + 1
        pads = [length * (i == axis) for length in (begin, end) for i in range(len(sizes))]
        y = draft.node(operator, [x], kernel_shape=kernel, strides=strides, pads=pads)
    else:
        rule = draft.pick(("SAME_UPPER", "SAME_LOWER"))
        y = draft.node(operator, [x], kernel_shape=kernel, strides=strides, auto_pad=rule)
    first = draft.constant(np.zeros(1), np.int64)
    part = draft.node("Gather", [draft.node("Mul", [x, number(draft, 0.25)]), first], axis=axis + 2)
    return draft.node("GlobalMaxPool", [draft.node("Concat", [y, part], axis=axis + 2)])


# --- extreme factors ----------------------------------------------------------------------------------


def _scaled(draft: Draft, x: str, exponent: int) -> str:
    """x times a power of two, in steps that float32 holds."""
    while exponent:
        step = max(-100, min(100, exponent))
        x, exponent = draft.node("Mul", [x, draft.constant(np.float32(2.0**step))]), exponent - step
    return x


def rescaled_gemm(draft: Draft, x: str) -> str:
    """Factors that only together have a useful size."""
    x = flat(draft, calm(draft, x))
    (features,) = draft.shapes[x]
    before, alpha, scale = draft.whole(0, 55), draft.whole(-100, 20), draft.whole(-110, 0)
    weight = draft.constant(draft.random.standard_normal((features, 3)) * 2.0**scale)
    bias = draft.constant(draft.random.standard_normal(3) * 2.0 ** max(-120, before + alpha + scale))
    total = before + alpha + scale
    if total < -115:
        raise NoFit("nothing would be left")
    y = draft.node(
        "Gemm", [_scaled(draft, x, before), weight, bias], alpha=2.0**alpha, beta=draft.pick((1.0, 0.5, None))
    )
    return _scaled(draft, y, -total)


def rescaled(draft: Draft, x: str) -> str:
    """A layer whose values are tiny or large, between two factors that cancel."""
    exponent = draft.pick((-100, -60, -30, 20, 40))
    y = draft.node("Mul", [calm(draft, x), number(draft, 2.0**exponent)])
    operator = draft.pick(
        ("Conv", "MatMul", "AveragePool", "MaxPool", "Relu", "LeakyRelu", "Transpose", "ReduceMean")
    )
    make = LAYERS.get(operator) or POINTWISE.get(operator) or MOVES[operator]
    return draft.node("Mul", [make(draft, y), number(draft, 2.0**-exponent)])


def cancelling_norm(draft: Draft, x: str) -> str:
    """A layer with a large bias, and a norm whose mean takes it away again and whose scale shows what is left."""
    x = image(draft, x, 2)
    channels, size = draft.shapes[x][0], 2.0 ** draft.whole(0, 18)
    weight = draft.constant(numbers(draft, (2, channels, 1, 1)))
    bias = np.float32(draft.random.uniform(1, 2, 2) * size)
    y = draft.node("Conv", [x, weight, draft.constant(bias)])
    spread = draft.random.uniform(0.5, 2, 2) * 2.0 ** draft.pick((0, -10, -20, 10))
    parts = (draft.random.standard_normal(2), draft.random.standard_normal(2), bias, spread)
    return draft.node("BatchNormalization", [y, *(draft.constant(part) for part in parts)])


def large_branch(draft: Draft, x: str) -> str:
    """A residual sum whose one branch is far larger, and is taken away again."""
    x = image(draft, x, 2)
    channels = draft.shapes[x][0]
    y = draft.node("Conv", [x, weights(draft, (channels, channels, 1, 1)), weights(draft, (channels,), 1)])
    large = draft.node("Mul", [x, number(draft, 2.0 ** draft.whole(4, 20))])
    pair = [y, large]
    total = draft.node("Add", pair[::-1] if draft.chance(0.5) else pair)
    return draft.node("Sub", [total, large]) if draft.chance(0.7) else total


# --- what optimizers look for -------------------------------------------------------------------------


def layer_then_affine(draft: Draft, x: str) -> str:
    """Conv, ConvTranspose, Gemm or MatMul, then one to three operations with constants for every channel."""
    y = LAYERS[draft.pick(("Conv", "Conv", "ConvTranspose", "Gemm", "MatMul"))](draft, x)
    for _ in range(draft.whole(1, 3)):
        shape = draft.shapes[y]
        channel = (shape[0], *[1] * (len(shape) - 1))
        operator = draft.pick(("Mul", "Add", "Sub", "Div", "BatchNormalization"))
        if operator == "BatchNormalization" and len(shape) > 1:
            y = draft.node(operator, [y, *statistics(draft, shape[0])])
        else:
            operator = "Mul" if operator == "BatchNormalization" else operator
            values = numbers(draft, draft.pick([channel, (1, *channel), (), shape[-1:]]), 1)
            values = np.where(np.abs(values) < 2.0**-10, 1.0, values) if operator == "Div" else values
            pair = [y, draft.constant(values)]
            y = draft.node(
                operator, pair[::-1] if operator in ("Mul", "Add", "Sub") and draft.chance(0.3) else pair
            )
    return (
        draft.node(draft.pick(("Relu", "LeakyRelu", "Tanh", "Sigmoid", "HardSigmoid")), [y])
        if draft.chance(0.5)
        else y
    )


def gelu_in_parts(draft: Draft, x: str) -> str:
    half = number(draft, 0.5)
    erf = draft.node("Erf", [draft.node("Div", [x, draft.constant(np.float32(2**0.5))])])
    one_more = draft.node("Add", [erf, draft.constant(np.float32(1))])
    if draft.chance(0.5):
        return draft.node("Mul", [draft.node("Mul", [x, one_more]), half])
    return draft.node("Mul", [draft.node("Mul", [x, half]), one_more])


def fast_gelu_in_parts(draft: Draft, x: str) -> str:
    x = calm(draft, x)
    cubed = draft.node(
        "Mul", [draft.node("Pow", [x, draft.constant(np.float32(3))]), draft.constant(np.float32(0.044715))]
    )
    inner = draft.node("Mul", [draft.node("Add", [x, cubed]), draft.constant(np.float32(0.7978845608))])
    one_more = draft.node("Add", [draft.node("Tanh", [inner]), draft.constant(np.float32(1))])
    return draft.node("Mul", [draft.node("Mul", [x, draft.constant(np.float32(0.5))]), one_more])


def quick_gelu_in_parts(draft: Draft, x: str) -> str:
    return draft.node(
        "Mul", [x, draft.node("Sigmoid", [draft.node("Mul", [x, draft.constant(np.float32(1.702))])])]
    )


def silu_in_parts(draft: Draft, x: str) -> str:
    pair = [x, draft.node("Sigmoid", [x])]
    return draft.node("Mul", pair[::-1] if draft.chance(0.5) else pair)


def hard_swish_in_parts(draft: Draft, x: str) -> str:
    return draft.node("Mul", [x, draft.node("HardSigmoid", [x], alpha=1 / 6, beta=0.5)])


def layer_norm_in_parts(draft: Draft, x: str) -> str:
    """With or without the mean taken away."""
    axis, shape = len(draft.shapes[x]), draft.shapes[x]

    def mean(value: str) -> str:
        inputs, rest = draft.listed(
            "ReduceMean", [value], "axes", [draft.pick((axis, -1)) if draft.opset >= 11 else axis]
        )
        return draft.node("ReduceMean", inputs, **rest)

    centred = draft.node("Sub", [x, mean(x)]) if draft.chance(0.6) else x
    square = draft.node("Pow", [centred, draft.constant(np.float32(2))])
    spread = draft.node(
        "Sqrt", [draft.node("Add", [mean(square), draft.constant(np.float32(draft.pick((1e-5, 0.1))))])]
    )
    y = draft.node("Div", [centred, spread])
    y = draft.node("Mul", [y, draft.constant(numbers(draft, shape[-1:], 1))])
    return draft.node("Add", [y, draft.constant(numbers(draft, shape[-1:], 1))]) if draft.chance(0.7) else y


def softmax_in_parts(draft: Draft, x: str) -> str:
    e = draft.node("Exp", [calm(draft, x)])
    inputs, rest = draft.listed("ReduceSum", [e], "axes", [len(draft.shapes[e])])
    return draft.node("Div", [e, draft.node("ReduceSum", inputs, keepdims=1, **rest)])


def padded_window(draft: Draft, x: str) -> str:
    """Pad, then a window with pads of its own."""
    x = image(draft, x, 2)
    pads = [0, 0, *(draft.whole(0, 2) for _ in "hw"), 0, 0, *(draft.whole(0, 2) for _ in "hw")]
    value = draft.pick((None, 0.0, 0.5))
    if draft.knows("Pad", "pads"):
        y = draft.node("Pad", [x], pads=pads, value=value)
    else:
        y = draft.node(
            "Pad", [x, draft.integers(pads), *([draft.constant(np.float32(value))] if value is not None else [])]
        )
    return LAYERS[draft.pick(("Conv", "MaxPool", "AveragePool"))](draft, y)


def scaled_matmul(draft: Draft, x: str) -> str:
    """Factors and turns around a product."""
    shape = draft.shapes[x]
    if len(shape) > 1 and draft.chance(0.6):
        order = [0, *range(1, len(shape) - 1), len(shape), len(shape) - 1]
        x = draft.node("Transpose", [x], perm=order)
    if draft.chance(0.7):
        x = draft.node(draft.pick(("Mul", "Div")), [x, number(draft, draft.pick((0.3, 7.0, 2.0**-12)))])
    y = LAYERS["MatMul"](draft, x)
    if draft.chance(0.7):
        y = draft.node(draft.pick(("Mul", "Div")), [y, number(draft, draft.pick((0.3, 7.0, 2.0**-12)))])
    return y


def product_then_sum(draft: Draft, x: str) -> str:
    """A Gemm or MatMul, then a sum with a constant or with a branch."""
    y = LAYERS[draft.pick(("Gemm", "MatMul"))](draft, x)
    shape = draft.shapes[y]
    bias = draft.constant(numbers(draft, draft.pick([shape[-1:], (1, shape[-1]), ()]), 1))
    return draft.node(draft.pick(("Add", "Sum") if draft.opset >= 8 else ("Add",)), [y, bias])


def there_and_back(draft: Draft, x: str) -> str:
    """Channels last, and back."""
    x = image(draft, x, 2)
    y = draft.node("Transpose", [x], perm=[0, 2, 3, 1])
    for _ in range(draft.whole(1, 2)):
        operator = draft.pick(
            ("Relu", "Add", "Mul", "Concat", "Slice", "Pad", "Softmax", "ReduceMean", "Split", "Tanh")
        )
        y = (POINTWISE.get(operator) or MOVES[operator])(draft, y)
    if len(draft.shapes[y]) != 3:
        return y
    return draft.node("Transpose", [y], perm=[0, 3, 1, 2])


def reciprocal_times(draft: Draft, x: str) -> str:
    """1 / x times another value."""
    inverse = draft.node("Div", [draft.constant(np.float32(1)), positive(draft, x)])
    return draft.node("Mul", [inverse, x])


def clipped_relu(draft: Draft, x: str) -> str:
    y = draft.node("Relu", [x])
    return clip(draft, y, draft.pick((0.1, 0.0, -1.0)), draft.pick((0.5, 6.0)))


# --- other ways to say the same -----------------------------------------------------------------------


def tied(draft: Draft, x: str) -> str:
    """One weight for two layers in a row."""
    x = flat(draft, x)
    (features,) = draft.shapes[x]
    weight = draft.constant(numbers(draft, (features, features), features))
    bias = draft.constant(numbers(draft, (features,), 1))
    for _ in range(2):
        x = (
            draft.node("Relu", [draft.node("Gemm", [x, weight, bias])])
            if draft.chance(0.6)
            else draft.node("Gemm", [x, weight, bias])
        )
    return x


def computed_reshape(draft: Draft, x: str) -> str:
    """To a shape that is made of the batch's own size."""
    count = prod(draft.shapes[x])
    width = draft.pick([n for n in range(1, count + 1) if count % n == 0])
    sizes = draft.fixed("Shape", [x])
    batch = draft.fixed("Gather", [sizes, draft.integers([0])], axis=0)
    shape = draft.fixed("Concat", [batch, draft.integers([width, -1])], axis=0)
    return draft.shaped("Reshape", [x, shape], (width, count // width))


def expanded_constant(draft: Draft, x: str) -> str:
    """A sum with a constant that is as large as the value says of itself."""
    if draft.opset < 9:
        raise NoFit("Expand")
    sizes = draft.fixed("Shape", [draft.constant(np.zeros((1, *draft.shapes[x])))])
    filled = draft.fixed("ConstantOfShape", [sizes])
    return draft.node(
        "Add",
        [
            x,
            draft.fixed("Expand", [draft.constant(numbers(draft, (1,), 1)), sizes])
            if draft.chance(0.5)
            else filled,
        ],
    )


def doubled(draft: Draft, x: str) -> str:
    """The same operator twice with the same inputs, which an optimizer may take for one."""
    operator = draft.pick(("Relu", "Tanh", "Exp", "Abs"))
    value = calm(draft, x)
    return draft.node(
        draft.pick(("Add", "Sub", "Mul")), [draft.node(operator, [value]), draft.node(operator, [value])]
    )


def conv_pair(draft: Draft, x: str) -> str:
    """A convolution and a sum with a branch, then an activation: one fused node where a runtime likes."""
    x = image(draft, x, 2)
    channels = draft.shapes[x][0]
    y = draft.node("Conv", [x, weights(draft, (channels, channels, 1, 1))])
    pair = [y, x]
    return draft.node("Relu", [draft.node("Add", pair[::-1] if draft.chance(0.5) else pair)])


STRUCTURES: Mapping[str, Make] = {
    make.__name__: make
    for make in (
        silent, saturated, collapse, largest_of_each, window_at_the_edge, rescaled_gemm, rescaled,
        cancelling_norm, large_branch, layer_then_affine, gelu_in_parts, fast_gelu_in_parts,
        quick_gelu_in_parts, silu_in_parts,
        hard_swish_in_parts, layer_norm_in_parts, softmax_in_parts, padded_window, scaled_matmul, product_then_sum,
        there_and_back, reciprocal_times, clipped_relu, tied, computed_reshape, expanded_constant, doubled,
        conv_pair,
    )
}  # fmt: skip
