"""Random nodes of the operators with weights or windows."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from goodcert.evaluation.fuzzing.draft import Draft, NoFit
from goodcert.evaluation.fuzzing.pointwise import Make
from goodcert.evaluation.fuzzing.weights import numbers, weights


def image(draft: Draft, x: str, dims: int | None = None) -> str:
    """x with channels and `dims` more axes: itself where it has them, else reshaped."""
    shape = draft.shapes[x]
    if len(shape) > 1 and (dims is None or len(shape) == dims + 1):
        return x
    sizes, rest = [], prod(shape)
    for _ in range(dims or 2):
        sizes.append(draft.pick([n for n in range(1, 8) if rest % n == 0]))
        rest //= sizes[-1]
    order = [rest, *sizes]
    return draft.node("Reshape", [x, draft.integers([draft.pick((0, -1)), *order])])


def flat(draft: Draft, x: str) -> str:
    """x as rows of features."""
    shape = draft.shapes[x]
    if len(shape) == 1:
        return x
    if draft.chance(0.7):
        return draft.node("Flatten", [x], axis=draft.pick((None, 1)))
    return draft.node("Reshape", [x, draft.integers([draft.pick((0, -1)), prod(shape)])])


def _of_some_dimensions(draft: Draft, x: str) -> str:
    return image(draft, x, draft.pick((None, None, None, 1, 3)))


def _window(draft: Draft, sizes: tuple[int, ...], *, pool: str = "", dilated: bool = True) -> dict[str, Any]:
    """kernel_shape and what goes with it: sometimes longer than the axis, with strides beyond the kernel."""
    kernel = [draft.whole(1, min(n + draft.pick((0, 0, 1)), 4)) for n in sizes]
    window: dict[str, Any] = {"kernel_shape": kernel}
    if draft.chance(0.6):
        window["strides"] = [draft.whole(1, k + 2) for k in kernel]
    if dilated and draft.chance(0.25):
        window["dilations"] = [draft.whole(1, 3) for _ in kernel]
    match draft.pick(("none", "none", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")):
        case "pads":
            most = [k - 1 for k in kernel] if pool else [2 for _ in kernel]
            window["pads"] = [draft.whole(0, n) for n in (*most, *most)]
        case "none":
            pass
        case rule:
            window["auto_pad"] = rule
            if rule.startswith("SAME") and draft.chance(0.9):
                window.pop("dilations", None)
    if pool and draft.knows(pool, "ceil_mode") and draft.chance(0.3):
        window["ceil_mode"] = 1
    return window


def conv(draft: Draft, x: str) -> str:
    x = _of_some_dimensions(draft, x)
    channels, *sizes = draft.shapes[x]
    window = _window(draft, tuple(sizes))
    group = draft.pick([g for g in range(1, channels + 1) if channels % g == 0]) if draft.chance(0.3) else 1
    out = group * draft.whole(1, 3 if group == 1 else 1)
    weight = weights(draft, (out, channels // group, *window["kernel_shape"]))
    bias = [weights(draft, (out,), 1)] if draft.chance(0.6) else []
    if draft.chance(0.3):
        del window["kernel_shape"]
    return draft.node("Conv", [x, weight, *bias], group=group if group > 1 else None, **window)


def conv_transpose(draft: Draft, x: str) -> str:
    x = _of_some_dimensions(draft, x)
    channels, *sizes = draft.shapes[x]
    kernel = [draft.whole(1, 3) for _ in sizes]
    strides = [draft.whole(1, draft.pick((k, 3))) for k in kernel]
    window: dict[str, Any] = {"strides": strides}
    group = draft.pick([g for g in range(1, channels + 1) if channels % g == 0])
    match draft.pick(("none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID", "output_shape")):
        case "pads":
            window["pads"] = [draft.whole(0, k - 1) for k in (*kernel, *kernel)]
        case "output_shape":
            window["output_shape"] = [
                (n - 1) * s + draft.whole(1, k) for n, s, k in zip(sizes, strides, kernel, strict=True)
            ]
        case "none":
            if draft.chance(0.5):
                window["output_padding"] = [draft.whole(0, s - 1) for s in strides]
        case rule:
            window["auto_pad"] = rule
    if draft.chance(0.2):
        window["dilations"] = [draft.whole(1, 2) for _ in kernel]
    if draft.chance(0.5):
        window["kernel_shape"] = kernel
    out = draft.whole(1, 2)
    bias = [weights(draft, (out * group,), 1)] if draft.chance(0.5) else []
    weight = weights(draft, (channels, out, *kernel), channels * prod(kernel))
    return draft.node("ConvTranspose", [x, weight, *bias], group=group if group > 1 else None, **window)


def max_pool(draft: Draft, x: str) -> str:
    x = _of_some_dimensions(draft, x)
    window = _window(draft, draft.shapes[x][1:], pool="MaxPool", dilated=draft.knows("MaxPool", "dilations"))
    order = 1 if draft.knows("MaxPool", "storage_order") and draft.chance(0.1) else None
    return draft.node("MaxPool", [x], storage_order=order, **window)


def average_pool(draft: Draft, x: str) -> str:
    x = _of_some_dimensions(draft, x)
    dilated = draft.knows("AveragePool", "dilations")
    window = _window(draft, draft.shapes[x][1:], pool="AveragePool", dilated=dilated)
    return draft.node("AveragePool", [x], count_include_pad=draft.pick((None, 0, 1)), **window)


def _global(operator: str) -> Make:
    return lambda draft, x: draft.node(operator, [image(draft, x)])


def gemm(draft: Draft, x: str) -> str:
    x = flat(draft, x)
    (features,) = draft.shapes[x]
    out, rows = draft.whole(1, 8), int(draft.chance(0.5))
    shape = (out, features) if rows else (features, out)
    weight = weights(draft, shape, features)
    bias = [weights(draft, draft.pick([(out,), (1,), (1, out), ()]), 1)] if draft.chance(0.7) else []
    if not bias and draft.opset < 11:
        bias = [weights(draft, (out,), 1)]
    factors = {name: draft.pick((0.5, -1.0, 3.0, 2.0**-10)) for name in ("alpha", "beta") if draft.chance(0.3)}
    return draft.node("Gemm", [x, weight, *bias], transB=rows or None, **factors)


def matmul(draft: Draft, x: str) -> str:
    features = draft.shapes[x][-1]
    return draft.node("MatMul", [x, weights(draft, (features, draft.whole(1, 6)), features)])


def statistics(draft: Draft, channels: int) -> list[str]:
    """gamma, beta, mean and variance: plain, or far from it."""
    spread = 2.0 ** draft.pick((0, 0, 0, -8, 8, 20))
    mean = numbers(draft, (channels,), 1) * 2.0 ** draft.pick((0, 0, 0, 6, 12))
    return [
        draft.constant(numbers(draft, (channels,), 1)),
        draft.constant(numbers(draft, (channels,), 1)),
        draft.constant(mean),
        draft.constant(draft.random.uniform(0.1, 2, channels) * spread),
    ]


def batch_norm(draft: Draft, x: str) -> str:
    if len(draft.shapes[x]) < 2 and draft.chance(0.7):
        x = image(draft, x)
    epsilon = draft.pick((None, 1e-5, 1e-3, 0.1))
    momentum = draft.pick((None, 0.9))
    inputs = [x, *statistics(draft, draft.shapes[x][0])]
    return draft.node("BatchNormalization", inputs, epsilon=epsilon, momentum=momentum)


def instance_norm(draft: Draft, x: str) -> str:
    x = image(draft, x)
    channels = draft.shapes[x][0]
    return draft.node("InstanceNormalization", [x, weights(draft, (channels,), 1), weights(draft, (channels,), 1)])


def group_norm(draft: Draft, x: str) -> str:
    x = image(draft, x)
    channels = draft.shapes[x][0]
    groups = draft.pick([g for g in range(1, channels + 1) if channels % g == 0])
    parts = [weights(draft, (channels,), 1), weights(draft, (channels,), 1)]
    return draft.shaped("GroupNormalization", [x, *parts], draft.shapes[x], num_groups=groups)


def _trailing(operator: str, parts: int) -> Make:
    def make(draft: Draft, x: str) -> str:
        shape = draft.shapes[x]
        axis = draft.whole(1, len(shape))
        constants = [weights(draft, shape[axis - 1 :], 1) for _ in range(parts)]
        return draft.node(operator, [x, *constants], axis=axis, epsilon=draft.pick((None, 1e-5, 1e-2)))

    return make


def local_response(draft: Draft, x: str) -> str:
    x = image(draft, x, 2)
    chosen = {
        name: draft.pick(values)
        for name, values in (("alpha", (1e-4, 0.5, 0.0)), ("beta", (0.75, 0.3, 2.0)), ("bias", (1.0, 0.2)))
        if draft.chance(0.6)
    }
    return draft.node("LRN", [x], size=draft.whole(1, 5), **chosen)


_COORDINATES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric")
_NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resize(draft: Draft, x: str) -> str:
    x = image(draft, x, 2)
    shape = draft.shapes[x]
    mode = draft.pick(("nearest", "nearest", "linear"))
    shrinks = draft.opset > 10 and draft.chance(0.4)
    sizes = [
        draft.whole(1, n) if shrinks else n * draft.whole(1, 2) + (draft.chance(0.3) and draft.opset > 10)
        for n in shape[1:]
    ]
    scales = [1.0, 1.0, *(m / n for m, n in zip(sizes, shape[1:], strict=True))]
    if draft.opset == 10:
        return draft.node("Resize", [x, draft.constant(scales)], mode=mode)
    coordinates = (
        draft.pick(_COORDINATES)
        if draft.knows("Resize", "antialias")
        else draft.pick(_COORDINATES[:2] + _COORDINATES[3:])
    )
    extra: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": draft.pick((coordinates, None))}
    if mode == "nearest" and draft.chance(0.7):
        extra["nearest_mode"] = draft.pick(_NEAREST)
    roi = draft.constant(np.zeros(0)) if draft.opset < 13 or draft.chance(0.2) else ""
    if draft.knows("Resize", "axes") and draft.chance(0.4):
        return draft.node("Resize", [x, "", "", draft.integers(sizes)], axes=[2, 3], **extra)
    if draft.chance(0.5):
        return draft.node("Resize", [x, roi, draft.constant(scales)], **extra)
    raise_batch = draft.constant(np.zeros(0)) if draft.opset < 13 else ""
    given = draft.constant(scales)
    return draft.node("Resize", [x, roi or raise_batch, given], **extra)


def upsample(draft: Draft, x: str) -> str:
    x = image(draft, x, 2)
    scales, mode = [1.0, 1.0, *(float(draft.whole(1, 2)) for _ in range(2))], draft.pick(("nearest", "linear"))
    if draft.opset > 9:
        raise NoFit("Upsample")
    if draft.knows("Upsample", "scales"):
        return draft.node("Upsample", [x], mode=mode, scales=scales)
    return draft.node("Upsample", [x, draft.constant(scales)], mode=mode)


LAYERS: Mapping[str, Make] = {
    "Conv": conv, "ConvTranspose": conv_transpose, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalMaxPool": _global("GlobalMaxPool"), "GlobalAveragePool": _global("GlobalAveragePool"),
    "Gemm": gemm, "MatMul": matmul, "BatchNormalization": batch_norm, "LRN": local_response,
    "InstanceNormalization": instance_norm, "GroupNormalization": group_norm,
    "LayerNormalization": _trailing("LayerNormalization", 2),
    "RMSNormalization": _trailing("RMSNormalization", 1),
    "Resize": resize, "Upsample": upsample,
}  # fmt: skip
