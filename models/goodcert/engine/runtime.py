"""ONNX Runtime on the CPU, kept from rewriting weights."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from goodcert.engine.node_types import require_known
from goodcert.engine.sessions import session_and_graph
from goodcert.engine.threads import at_once

ROWS = 24
"""The most rows of one run: of more, the values of a small network no longer stay in the second-level cache, and
those of a large one take more memory. (S alone on a core is a tenth faster so; M, L, and S under load are not.)"""

SECONDS_WORTH_A_THREAD = 0.001
"""Less work is not worth a hop to another thread: where there are sixteen, they would do little but wake up."""

# Fusions that multiply or add weights together and so round them anew: the graph that runs would no longer
# be the graph that was bounded. Folding is done once, by goodcert.bounds.passes, for both.
REROUNDING_FUSIONS = (
    "ConvAddFusion",
    "ConvBNFusion",
    "ConvMulFusion",
    "GemmSumFusion",
    "MatMulAddFusion",
    "MatMul_BatchNormalization_Fusion",
    "MatMulScaleFusion",
)

# Fusions of several operators into one kernel with an arithmetic of its own: they were bounded one by one.
KERNEL_FUSIONS = (
    "BiasGeluFusion",
    "BiasSoftmaxFusion",
    "FastGeluFusion",
    "GeluFusionL1",
    "GeluFusionL2",
    "LayerNormFusionL1",
    "LayerNormFusionL2",
    "QuickGeluFusion",
    "SimplifiedLayerNormFusion",
    "SkipLayerNormFusion",
    "SwiGluFusion",
)


# Fusions that start a convolution's sum with the other branch of an Add: no longer one rounded addition.
BRANCH_FUSIONS = ("ConvAddActivationFusion", "NchwcTransformer")


class RowRunner:
    """A model, run on rows of a batch. Thread-safe.

    Every run has one thread: with more, ONNX Runtime cuts a matrix product into blocks that depend on the
    size of the batch, and sums in their order. Several threads share the rows instead, so that an image gets
    the same bits in every batch and with any number of threads.
    """

    def __init__(
        self, model: onnx.ModelProto | bytes, threads: int | None, *, sums_branches: bool = False
    ) -> None:
        """threads: None for one per core. sums_branches: whether the model adds two values that both vary, as
        residual networks do."""
        self._session = _session(model, sums_branches)
        self._threads = at_once("cpu", threads)
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="rows") if self._threads > 1 else None
        self._row_seconds = 1.0  # of the fastest run so far, as the others were held up; of none, long
        self.inputs = [value.name for value in self._session.get_inputs()]

    def __call__(self, *inputs: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
        """The outputs for inputs (N, ...), both in the model's order."""
        parts = self._worth(len(inputs[0]))
        if self._pool is None or parts < 2:
            return self._run(inputs)
        return _joined(self._pool.map(self._run, _split(inputs, parts)))

    def _worth(self, rows: int) -> int:
        """How many threads so many rows are worth."""
        return min(self._threads, rows, round(rows * self._row_seconds / SECONDS_WORTH_A_THREAD))

    def _run(self, inputs: Sequence[NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """All rows in the calling thread, in runs of `ROWS`; learns how long a row takes."""
        start, rows = perf_counter(), len(inputs[0])
        outputs = _joined(map(self._once, _split(inputs, -(-rows // ROWS))))
        self._row_seconds = min(self._row_seconds, (perf_counter() - start) / rows)
        return outputs

    def _once(self, inputs: Sequence[NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        return tuple(self._session.run(None, dict(zip(self.inputs, inputs, strict=True))))


def _split(inputs: Sequence[NDArray[np.float32]], parts: int) -> Iterable[Sequence[NDArray[np.float32]]]:
    if parts == 1:
        return [inputs]
    return zip(*(np.array_split(x, parts) for x in inputs), strict=True)


def _joined(runs: Iterable[tuple[NDArray[Any], ...]]) -> tuple[NDArray[Any], ...]:
    first, *others = runs
    return tuple(map(np.concatenate, zip(first, *others, strict=True))) if others else first


def _session(model: onnx.ModelProto | bytes, sums_branches: bool) -> onnxruntime.InferenceSession:
    """Raises EngineError where what runs has operators that the proofs do not know."""
    disabled = [*REROUNDING_FUSIONS, *KERNEL_FUSIONS, *(BRANCH_FUSIONS if sums_branches else ())]
    data, proto = (
        (model, onnx.load_model_from_string(model))
        if isinstance(model, bytes)
        else (model.SerializeToString(), model)
    )
    runtime, runs = session_and_graph(data, disabled=disabled)
    require_known(proto, runs, "all")
    return runtime
