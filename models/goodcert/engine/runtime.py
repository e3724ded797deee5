"""ONNX Runtime on the CPU, kept from rewriting weights."""

import onnx
import onnxruntime

# Fusions that multiply or add weights together and so round them anew: the graph that runs would no longer
# be the graph that was bounded. Folding is done once, by goodcert.bounds.passes, for both.
REROUNDING_FUSIONS = (
    "ConvAddFusion",
    "ConvBNFusion",
    "ConvMulFusion",
    "GemmSumFusion",
    "MatMulAddFusion",
    "MatMulBNFusion",
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
)


# Fusions that start a convolution's sum with the other branch of an Add: no longer one rounded addition.
BRANCH_FUSIONS = ("ConvAddActivationFusion", "NchwcTransformer")


def session(
    model: onnx.ModelProto | bytes, threads: int | None, *, sums_branches: bool = False
) -> onnxruntime.InferenceSession:
    """A session of `model`; threads: None for one per core. Sessions may be run from any thread.

    sums_branches: whether the model adds two values that both vary, as residual networks do.
    """
    disabled = [*REROUNDING_FUSIONS, *KERNEL_FUSIONS, *(BRANCH_FUSIONS if sums_branches else ())]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    # Idle pool threads would burn the cores that decoding and the other session need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    data = model if isinstance(model, bytes) else model.SerializeToString()
    return onnxruntime.InferenceSession(
        data, options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
    )
