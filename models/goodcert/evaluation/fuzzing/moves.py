"""Random nodes of the operators that move values or reduce axes."""

from collections.abc import Mapping
from math import prod

import numpy as np

from goodcert.evaluation.fuzzing.draft import Draft, NoFit
from goodcert.evaluation.fuzzing.layers import image
from goodcert.evaluation.fuzzing.pointwise import Make, calm, positive
from goodcert.evaluation.fuzzing.weights import weights


def axis_of(draft: Draft, x: str, *, signed: bool = True) -> int:
    """An axis that is not the batch's, counted from either end."""
    rank = len(draft.shapes[x]) + 1
    axis = draft.whole(1, rank - 1)
    return axis - rank if signed and draft.opset >= 11 and draft.chance(0.3) else axis


def concat(draft: Draft, x: str) -> str:
    axis = axis_of(draft, x)
    place = axis - 1 if axis > 0 else axis
    shape = draft.shapes[x]

    def rest(other: tuple[int, ...]) -> tuple[int, ...]:
        return (*other[:place], *other[place:][1:])

    alike = [n for n, s in draft.shapes.items() if len(s) == len(shape) and rest(s) == rest(shape)]
    inputs = [x, *(draft.pick(alike) for _ in range(draft.whole(0, 2)))]
    draft.random.shuffle(inputs)
    return draft.node("Concat", inputs, axis=axis)


def depth_to_space(draft: Draft, x: str) -> str:
    count = prod(draft.shapes[x])
    if count % 4:
        x = draft.node("Concat", [x] * 4, axis=1)
        count *= 4
    width = draft.pick([n for n in range(1, 5) if (count // 4) % n == 0])
    x = draft.node("Reshape", [x, draft.integers([-1, 4, count // 4 // width, width])])
    mode = draft.pick((None, "DCR", "CRD")) if draft.knows("DepthToSpace", "mode") else None
    return draft.node("DepthToSpace", [x], blocksize=2, mode=mode)


def space_to_depth(draft: Draft, x: str) -> str:
    count = prod(draft.shapes[x])
    if count % 4:
        x = draft.node("Concat", [x] * 4, axis=1)
        count *= 4
    x = draft.node("Reshape", [x, draft.integers([-1, count // 4, 2, 2])])
    mode = draft.pick((None, "DCR", "CRD")) if draft.knows("SpaceToDepth", "mode") else None
    return draft.node("SpaceToDepth", [x], blocksize=2, mode=mode)


def expand(draft: Draft, x: str) -> str:
    if draft.chance(0.6):
        x, _ = _unsqueezed(draft, x, draft.whole(2, len(draft.shapes[x]) + 1))
    sizes = [draft.pick((1, 2, 3)) if n == 1 else draft.pick((1, n)) for n in draft.shapes[x]]
    return draft.node("Expand", [x, draft.integers([1, *sizes] if draft.chance(0.6) else sizes)])


def flatten(draft: Draft, x: str) -> str:
    return draft.node("Flatten", [x], axis=draft.pick((None, 1)))


def gather(draft: Draft, x: str) -> str:
    axis = axis_of(draft, x)
    size = draft.shapes[x][axis - 1 if axis > 0 else axis]
    least = -size if draft.opset >= 11 else 0
    shape = draft.pick([(1,), (2,), (3,), ()])
    chosen = draft.random.integers(least, size, shape)
    if shape == () and len(draft.shapes[x]) == 1:
        raise NoFit("Gather")
    return draft.node("Gather", [x, draft.constant(chosen, np.int64)], axis=axis)


def pad(draft: Draft, x: str) -> str:
    shape = draft.shapes[x]
    mode = draft.pick(("constant", "constant", "edge", "reflect", *(["wrap"] if draft.opset >= 19 else [])))
    most = [2 if mode in ("constant", "edge") else min(2, n - 1) for n in shape]
    least = [-1 if mode == "constant" and n > 3 and draft.chance(0.2) else 0 for n in shape]
    begin, end = (
        [draft.whole(low, high) * draft.chance(0.6) for low, high in zip(least, most, strict=True)] for _ in "be"
    )
    pads = [0, *begin, 0, *end]
    value = draft.pick((None, 0.5, -1.0, 0.0)) if mode == "constant" else None
    if draft.knows("Pad", "pads"):
        return draft.node(
            "Pad", [x], pads=pads, mode=draft.pick((mode, mode if mode != "constant" else None)), value=value
        )
    if draft.opset >= 18 and draft.chance(0.3):
        axes = list(range(1, len(shape) + 1))
        fill = draft.constant(np.float32(value)) if value is not None else ""
        return draft.node("Pad", [x, draft.integers([*begin, *end]), fill, draft.integers(axes)], mode=mode)
    rest = [draft.constant(np.float32(value))] if value is not None else []
    return draft.node("Pad", [x, draft.integers(pads), *rest], mode=mode)


def reshape(draft: Draft, x: str) -> str:
    shape = draft.shapes[x]
    count = prod(shape)
    sizes: list[int] = []
    for _ in range(draft.whole(0, 3)):
        sizes.append(draft.pick([n for n in range(1, count + 1) if count % n == 0]))
        count //= sizes[-1]
    sizes.append(count)
    first = draft.pick((0, -1, 0))
    if first == 0 and draft.chance(0.3):
        sizes[draft.whole(0, len(sizes) - 1)] = -1
    if draft.knows("Reshape", "allowzero") and draft.chance(0.1):
        return draft.node(
            "Reshape",
            [x, draft.integers([-1, *sizes] if -1 not in sizes else [0, *sizes])],
            allowzero=draft.pick((0, 1)),
        )
    return draft.node("Reshape", [x, draft.integers([first, *sizes])])


def slices(draft: Draft, x: str) -> str:
    shape = draft.shapes[x]
    axes = sorted({axis_of(draft, x, signed=False) for _ in range(draft.whole(1, 2))})
    starts, ends, steps = [], [], []
    for axis in axes:
        size = shape[axis - 1]
        start = draft.whole(0, size - 1)
        if draft.opset >= 10 and draft.chance(0.35):
            starts.append(draft.pick((size - 1, -1, 2**31, start)))
            ends.append(draft.pick((-(2**31), -size - 1)))
            steps.append(draft.pick((-1, -1, -2)))
            continue
        end = draft.whole(start + 1, size)
        starts.append(draft.pick((start, start - size)))
        ends.append(draft.pick((end, 2**31 - 1)) if draft.chance(0.8) or end == size else end - size)
        steps.append(draft.pick((1, 1, 2)) if draft.opset >= 10 else 1)
    if draft.knows("Slice", "starts"):
        return draft.node("Slice", [x], starts=starts, ends=ends, axes=axes)
    named = [draft.integers(v) for v in (starts, ends, axes)]
    stepped = [draft.integers(steps)] if set(steps) != {1} or draft.chance(0.5) else []
    return draft.node("Slice", [x, *named, *stepped])


def split(draft: Draft, x: str) -> str:
    axis = axis_of(draft, x)
    place = axis - 1 if axis > 0 else axis
    size = draft.shapes[x][place]
    if size < 2:
        x = draft.node("Concat", [x, x, x], axis=axis)
        size = draft.shapes[x][place]
    count = draft.whole(1, min(3, size))
    if draft.opset >= 18 and draft.chance(0.5):
        parts = draft.parts("Split", [x], count, axis=axis, num_outputs=count)
    elif size % count == 0 and draft.opset < 18 and draft.chance(0.4):
        parts = draft.parts("Split", [x], count, axis=axis)
    else:
        cuts = sorted(draft.random.choice(np.arange(1, size), count - 1, replace=False).tolist())
        lengths = [b - a for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
        inputs, rest = draft.listed("Split", [x], "split", lengths)
        parts = draft.parts("Split", inputs, count, axis=axis, **rest)
    if count > 1 and draft.chance(0.5):
        return draft.node("Concat", parts[::-1], axis=axis)
    return draft.pick(parts)


def _unsqueezed(draft: Draft, x: str, axis: int) -> tuple[str, int]:
    inputs, rest = draft.listed("Unsqueeze", [x], "axes", [axis])
    return draft.node("Unsqueeze", inputs, **rest), axis


def squeeze(draft: Draft, x: str) -> str:
    ones = [axis for axis, n in enumerate(draft.shapes[x], 1) if n == 1]
    if not ones or len(draft.shapes[x]) < 2:
        x, axis = _unsqueezed(draft, x, draft.whole(1, len(draft.shapes[x]) + 1))
        if draft.chance(0.6):
            x = draft.node(draft.pick(("Relu", "Neg", "Abs")), [x])
        ones = [axis]
    rank = len(draft.shapes[x]) + 1
    axis = draft.pick(ones) - (rank if draft.opset >= 11 and draft.chance(0.4) else 0)
    inputs, rest = draft.listed("Squeeze", [x], "axes", [axis])
    return draft.node("Squeeze", inputs, **rest)


def unsqueeze(draft: Draft, x: str) -> str:
    return _unsqueezed(draft, x, draft.whole(1, len(draft.shapes[x]) + 1))[0]


def tile(draft: Draft, x: str) -> str:
    return draft.node("Tile", [x, draft.integers([1, *(draft.pick((1, 1, 2, 3)) for _ in draft.shapes[x])])])


def transpose(draft: Draft, x: str) -> str:
    if len(draft.shapes[x]) < 2:
        x = image(draft, x)
    order = (1 + draft.random.permutation(len(draft.shapes[x]))).tolist()
    return draft.node("Transpose", [x], perm=[0, *order])


def _reduce(operator: str) -> Make:
    def make(draft: Draft, x: str) -> str:
        if operator == "ReduceLogSum":
            x = positive(draft, x)
        if operator in ("ReduceProd", "ReduceSumSquare") and draft.chance(0.7):
            x = calm(draft, x)
        rank = len(draft.shapes[x]) + 1
        axes = sorted({draft.whole(1, rank - 1) for _ in range(draft.whole(1, 3))})
        if draft.opset >= 11 and draft.chance(0.3):
            axes = [axis - rank for axis in axes]
        keep = draft.pick((None, 1, 0)) if len(axes) < rank - 1 else 1
        inputs, rest = draft.listed(operator, [x], "axes", axes)
        return draft.node(operator, inputs, keepdims=keep, **rest)

    return make


def dropout(draft: Draft, x: str) -> str:
    if draft.knows("Dropout", "ratio"):
        return draft.node("Dropout", [x], ratio=draft.pick((None, 0.3)))
    ratio = [draft.constant(np.float32(0.5))] if draft.chance(0.6) else []
    mode = [draft.constant(False, np.bool_)] if ratio and draft.chance(0.5) else []
    return draft.node("Dropout", [x, *ratio, *mode])


def cast(draft: Draft, x: str) -> str:
    if draft.opset >= 15 and draft.chance(0.3):
        return draft.node("CastLike", [x, weights(draft, (1,))])
    return draft.node("Cast", [x], to=1)


MOVES: Mapping[str, Make] = {
    "Concat": concat, "DepthToSpace": depth_to_space, "SpaceToDepth": space_to_depth, "Expand": expand,
    "Flatten": flatten, "Gather": gather, "Pad": pad, "Reshape": reshape, "Slice": slices, "Split": split,
    "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Tile": tile, "Transpose": transpose,
    **{op: _reduce(op) for op in (
        "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceProd", "ReduceSum", "ReduceSumSquare",
    )},
}  # fmt: skip
VANISHING: Mapping[str, Make] = {"Dropout": dropout, "Cast": cast}
"""Operators that the reader takes away."""
