"""Every kernel that the proofs trust is as they need it, at some thousand inputs; the command tries all."""

import mpmath
import numpy as np
import pytest

from functions import TRUE
from goodcert.bounds.rules import RULES
from goodcert.evaluation.accuracy import REFERENCE, numbers, order_of, reference_error, spread
from goodcert.evaluation.findings import Finding
from goodcert.evaluation.functions import FUNCTIONS
from goodcert.evaluation.kernels import kernels
from goodcert.evaluation.sweep import Sweep, every_place, sweep

STRIDE = 2**19 - 1
"""Some eight thousand inputs, or four where none is negative."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_kernels_err_by_no_more_than_the_proofs_assume(name: str) -> None:
    function = FUNCTIONS[name]
    ran = kernels(function)
    (done,) = sweep(function, ran, STRIDE, Sweep.start(len(ran)))
    for kernel, tally, worst in zip(ran, done.tallies, done.worst, strict=True):
        where = every_place(function, kernel, worst.x[worst.share.argsort()[-10:]], STRIDE)
        assert Finding(name, kernel.runtime, STRIDE, tally, where, 0.0).holds, (kernel.runtime, tally, where)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_in_float64_are_those_of_arbitrary_precision(name: str) -> None:
    assert reference_error(FUNCTIONS[name], spread(FUNCTIONS[name], 400)) < REFERENCE / 2**10


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() & TRUE.keys()))
def test_true_values_are_those_of_the_tests_of_the_rules(name: str) -> None:
    with mpmath.workdps(40):
        for x in (mpmath.mpf(0.3), mpmath.mpf(2), mpmath.mpf(9), mpmath.mpf(-0.7))[
            : 3 if name in ("Log", "Sqrt") else 4
        ]:
            assert abs(FUNCTIONS[name].true(x) - TRUE[name](x)) < 1e-35


def test_every_operator_with_a_margin_of_its_own_is_tried() -> None:
    """Softmax and its relatives are made of the exponential and the logarithm; their rules say how."""
    derived = {"LogSoftmax", "ReduceLogSum", "ReduceLogSumExp", "Softmax"}
    trusting = {op for op, rule in RULES.items() if rule.make.__module__.endswith("transcendental")}
    assert trusting - derived <= {function.operator for function in FUNCTIONS.values()}


def test_inputs_of_a_stride_have_all_last_bits() -> None:
    x = numbers(np.array(order_of(FUNCTIONS["Exp"], STRIDE)))
    assert set((x.view(np.uint32) % 16).tolist()) == set(range(16))
