"""What the proofs assume of the world, and what watches it: the table behind docs/assumptions.md.

A watch is a test by its id, a function that runs whenever a model is loaded, by its name, or a command.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Assumption:
    """assumed: the sentence. needed: by which step of which proof. watched: test ids, names of functions that run
    at load, and commands. unwatched: what nobody watches of it, and why; empty if nothing."""

    assumed: str
    needed: str
    watched: tuple[str, ...] = ()
    unwatched: str = ""


_BOUNDS, _ENGINE = "tests/bounds/test_", "tests/engine/test_"
_KERNELS = "tests/engine/checks/test_kernel_check.py::"
_ARITHMETIC = f"{_ENGINE}arithmetic.py::"
_RULES = f"{_BOUNDS}rules.py::test_layer_bounds_contain_what_onnx_runtime_computes"
_CONFORMANCE = f"{_BOUNDS}conformance.py::test_every_case_is_contained_or_refused_by_name"
_SELFCHECK = "goodcert.engine.checks.selfcheck.check"
_BENCH = "goodcert bench transcendental"

ASSUMPTIONS: dict[str, tuple[Assumption, ...]] = {
    "The processor, and the compilers of what runs on it": (
        Assumption(
            "One sum, difference or product of float32 numbers, alone, is rounded to nearest, ties to even, by "
            "NumPy, PyTorch and ONNX Runtime; and a quotient by PyTorch.",
            "rounding.py: the model of every float32 operation, by which elementwise sums and products are "
            "monotone; passes.py folds constants by it.",
            (f"{_ARITHMETIC}test_one_operation_is_rounded_to_nearest_ties_to_even",),
        ),
        Assumption(
            "A float64 number becomes the nearest float32.",
            "ball.py rounds outward from there; transcendental.py pays one unit for it.",
            (
                f"{_ARITHMETIC}test_float64_becomes_the_nearest_float32",
                f"{_BOUNDS}ball.py::test_rounding_down_and_up_enclose_by_neighbours",
            ),
        ),
        Assumption(
            "Subnormal operands are not read as zero. (Subnormal results may be flushed.)",
            "rounding.py, eta: a subnormal weight times 2^60 is no underflow.",
            (f"{_ARITHMETIC}test_subnormal_operands_are_not_read_as_zero",),
        ),
        Assumption(
            "Sums of products in float64 err by gamma of their absolute values, whatever their order.",
            "confidence.py: the last layer; crown.py: everything.",
            (
                f"{_ARITHMETIC}test_sums_of_products_in_float64_err_by_gamma_of_their_absolute_values",
                f"{_BOUNDS}crown.py::test_margins_are_above_the_same_bounds_in_rational_arithmetic",
            ),
        ),
        Assumption(
            "Compilers reorder and contract sums of products at most, and approximate nothing on purpose "
            "(fast-math).",
            "rounding.py covers every order, fused or not, and no more.",
            (
                f"{_ARITHMETIC}test_one_operation_is_rounded_to_nearest_ties_to_even",
                "goodcert.engine.checks.kernel_check.check_prediction",
                _BENCH,
            ),
        ),
        Assumption(
            "Memory and processor do not err.",
            "Every proof.",
            unwatched="A bit that flips in a weight after the checks at load is not found; certificates can be "
            "computed anew elsewhere (`goodcert verify`).",
        ),
    ),
    "ONNX Runtime, which predicts, and on the CPU bounds": (
        Assumption(
            "Conv, ConvTranspose, Gemm and MatMul are sums of float32 products: no Winograd, no FFT, no TF32, no "
            "bfloat16.",
            "rounding.py, step 1; what it does not cover, last paragraph.",
            (
                "goodcert.engine.checks.kernel_check.check_prediction",
                f"{_KERNELS}test_onnx_runtime_passes",
                f"{_KERNELS}test_shortened_operands_are_caught",
            ),
        ),
        Assumption(
            "Into affine layers its optimizer fuses only what is counted, and, with some fusions switched off, it "
            "replaces no operators by a kernel of another arithmetic.",
            "fusion.py counts what any runtime may fuse; node_types.py lists what may be put into a graph.",
            (
                "goodcert.engine.checks.translation.check",
                f"{_BOUNDS}fusion.py::test_what_a_runtime_draws_into_the_sum_of_a_layer_is_enclosed",
                f"{_ENGINE}runtime.py::test_a_fusion_that_rounds_weights_anew_is_disabled",
                f"{_ENGINE}runtime.py::test_what_was_bounded_operator_by_operator_is_run_so",
                f"{_ENGINE}one_graph.py::test_an_addition_is_fused_only_into_the_convolutions_made_for_it",
                f"{_ENGINE}engine.py::test_sum_of_two_branches_is_certified_as_the_runtime_rounds_it",
            ),
        ),
        Assumption(
            "Every operator means what its rule says, and reads the file as we do.",
            "rules.py: a bound is one on what runs.",
            ("goodcert.engine.checks.translation.check", _SELFCHECK, _RULES, _CONFORMANCE),
        ),
        Assumption(
            "Sums over pools, axes and groups pass no more roundings than their rules count, whatever the order.",
            "rounding.py (average pooling, plain sums), reductions.py, normalization.py.",
            (
                _RULES,
                f"{_BOUNDS}adversarial.py::test_reductions_hold_exactly_and_in_float32",
                f"{_BOUNDS}normalization.py::test_every_point_of_a_box_stays_in_its_bounds",
            ),
        ),
        Assumption(
            "Extremes (Relu, Max, MaxPool, ...) and movements of data return bits that they were given.",
            "rounding.py, exact and monotone: no margin is added.",
            (_RULES, _CONFORMANCE),
        ),
        Assumption(
            "The coordinates of Resize err by less than 2^-20 of the length of the axis.",
            "resize.py: where that could pick another neighbour, both count.",
            (f"{_BOUNDS}resize.py::test_nearest_values_are_those_that_onnx_runtime_picks",),
        ),
        Assumption(
            "An image gets the same bits in every batch and with any number of threads.",
            "selfcheck.py, engine.py: `bit_identical`; a certificate says what is served.",
            (
                _SELFCHECK,
                f"{_ENGINE}engine.py::test_an_image_gets_the_same_answer_alone_in_any_batch_and_beside_any_neighbour",
                f"{_ENGINE}engine.py::test_the_number_of_threads_changes_no_bit",
            ),
        ),
        Assumption(
            "The exported bound computes what the same module computes in PyTorch, up to rounding.",
            "one_graph.py.",
            (
                _SELFCHECK,
                f"{_ENGINE}onnx_engine.py::test_margins_are_above_the_rational_ones",
                f"{_ENGINE}onnx_engine.py::test_numbers_are_those_of_eager_pytorch",
            ),
        ),
    ),
    "Kernels of single functions, in ONNX Runtime and PyTorch": (
        Assumption(
            "Exp, Log, Tanh, Sigmoid, Erf, Softplus, Softsign, Elu, Selu, Celu, Gelu, Mish, Swish, HardSwish, "
            "Pow: within 15 u |f| and the absolute term of the table in transcendental.py, at every float32 "
            "input, in every place of a vector.",
            "transcendental.py: the margin of every such rule.",
            (
                "tests/evaluation/test_functions.py::test_kernels_err_by_no_more_than_the_proofs_assume",
                f"{_BOUNDS}transcendental.py::test_bounds_contain_what_onnx_runtime_computes_on_a_dense_grid",
                _BENCH,
            ),
        ),
        Assumption(
            "A float32 root, reciprocal or quotient errs by a unit in the last place (2 u) at most. (Roots of "
            "PyTorch are not rounded to nearest on processors without AVX-512.)",
            "reductions.py (ReduceL2), elementwise.py (Div, Reciprocal), normalization.py, norm.py.",
            ("tests/evaluation/test_functions.py::test_kernels_err_by_no_more_than_the_proofs_assume", _BENCH),
        ),
        Assumption(
            "The exponentials inside Softmax, LogSoftmax and ReduceLogSumExp err by 16 u, their logarithms by "
            "16 u and 2^-21.",
            "transcendental.py, reductions.py: their margins are derived from it.",
            (
                f"{_BOUNDS}transcendental.py::test_softmax_stays_in_its_bounds",
                f"{_BOUNDS}adversarial.py::test_soft_maxima_hold_in_arbitrary_precision_and_in_float32",
                f"{_BOUNDS}adversarial.py::test_the_sum_of_exponentials_may_err_as_much_as_is_assumed_of_them",
            ),
        ),
        Assumption(
            "log(1 + exp(t)), computed as the log-sum-exp of 0 and t, errs by 2^-20 max(0, t) + 2^-20 at most.",
            "joint.py: the head of a joint model.",
            (f"{_BOUNDS}joint.py::test_log_sum_exp_of_0_and_t_errs_by_less_than_is_assumed",),
        ),
        Assumption(
            "The same functions in float64 err by less than 2^-45 of their value; the error function of the "
            "bounds by less than 2^-22.",
            "transcendental.py: f at the ends of a box is taken for exact beside the margin.",
            (
                f"{_ARITHMETIC}test_functions_in_float64_err_by_less_than_2_to_the_minus_45",
                f"{_ARITHMETIC}test_the_error_function_of_the_rules_takes_no_more_than_its_part_of_the_margin",
            ),
            unwatched="On a GPU, where only the self-check at load compares them.",
        ),
    ),
    "PyTorch, which bounds on a GPU, and by linear bounds": (
        Assumption(
            "Its kernels on the GPU are sums of float32 products, too.",
            "rounding.py, step 2.",
            (
                "goodcert.engine.checks.kernel_check.check_bounds",
                "goodcert.engine.device.keep_float32_honest",
                f"{_KERNELS}test_checks_of_a_graph_pass_here",
            ),
        ),
        Assumption(
            "On the CPU a row of a batch of a multiple of 16 rows gets the same bits in every such batch.",
            "torch_engine.py, the reference for the tests.",
            (f"{_ENGINE}onnx_engine.py::test_eager_margins_give_a_row_the_same_bits_in_every_batch",),
        ),
        Assumption(
            "A CUDA graph, replayed, does what was captured.",
            "cuda_graphs.py.",
            (
                _SELFCHECK,
                f"{_ENGINE}cuda_graphs.py::test_replays_give_every_caller_the_margins_of_its_own_boxes",
            ),
        ),
    ),
    "NumPy and Python": (
        Assumption(
            "The exponential in float64, and sums of at most 1024 of them, err by less than 2^-41.",
            "confidence.py, eq. 6: the factor 1 + 2^-40.",
            (
                f"{_ARITHMETIC}test_functions_in_float64_err_by_less_than_2_to_the_minus_45",
                f"{_BOUNDS}confidence.py::test_margins_of_one_point_enclose_its_confidence",
            ),
        ),
        Assumption(
            "Products of matrices of whole numbers are exact in float64 while their partial sums stay below 2^53.",
            "preprocess.py: resizing and grey conversion round once.",
            ("tests/images/test_preprocess.py::test_values_err_by_no_more_than_the_stated_margin",),
        ),
        Assumption(
            "A decimal becomes the nearest float64, and Fraction is exact.",
            "ball.py: epsilon is rounded up.",
            (f"{_BOUNDS}ball.py::test_epsilon_is_rounded_up_to_the_next_float",),
        ),
    ),
    "Decoders of images": (
        Assumption(
            "PNG, BMP and lossless WebP become the pixels that they store.",
            "A certificate of scope `upload` is about these.",
            (
                "tests/images/test_decode.py::test_grey_pixels_come_out_as_they_went_in",
                "tests/images/test_decode.py::test_colour_pixels_come_out_as_they_went_in",
                "tests/images/test_png.py::test_both_ways_judge_alike",
            ),
        ),
        Assumption(
            "JPEG and lossy WebP become the same pixels wherever they are decoded.",
            "`goodcert verify` decodes the image again.",
            ("tests/images/test_decode.py::test_jpeg_is_read_as_pillow_reads_it",),
            unwatched="Other versions of the libraries may round otherwise. The ball is around the pixels that "
            "were decoded here.",
        ),
    ),
    "Where the model is deployed": (
        Assumption(
            "Another machine that runs the model does it in IEEE float32, by kernels of this kind.",
            "A certificate covers every such evaluation, and no other.",
            (_BENCH,),
            unwatched="The checks at load, the tests and the command look at the machine that they run on.",
        ),
    ),
}
"""By whom they are made about."""


def table_markdown() -> str:
    return "\n".join(f"## {whom}\n\n{_table(about)}\n" for whom, about in ASSUMPTIONS.items())


def _table(about: tuple[Assumption, ...]) -> str:
    lines = ["| assumed | needed by | watched by |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {a.assumed} | {a.needed} | {_watches(a)} |" for a in about)])


def _watches(assumption: Assumption) -> str:
    named = ", ".join(f"at load `{w}`" if w.startswith("goodcert.") else f"`{w}`" for w in assumption.watched)
    unwatched = f"**Not watched**: {assumption.unwatched}" if assumption.unwatched else ""
    return ". ".join(filter(None, (named, unwatched)))
