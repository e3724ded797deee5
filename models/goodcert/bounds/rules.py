"""The table from operator to rule: what each ONNX operator does to an interval.

A rule takes a node and its constant inputs and returns a transform from intervals to an interval. All that
depends on weights alone, |W| first, is computed when the rule is applied to the node, once. Two ideas cover
nearly everything: centre and radius with the absolute weight for affine operators, both ends through the function
for monotone ones (Gowal et al., On the effectiveness of interval bound propagation, 2018, eq. 6 and 7).
"""

from collections.abc import Mapping

import torch

from goodcert.bounds import (
    activations,
    affine,
    bilinear,
    elementwise,
    movement,
    normalization,
    pooling,
    reductions,
    resize,
    transcendental,
)
from goodcert.bounds.graph import Node
from goodcert.bounds.pooling import WINDOW
from goodcert.bounds.reductions import AXES
from goodcert.bounds.rounding import Rounding, TooManyTerms
from goodcert.bounds.rule import Constants, Rule, Transform, exact, unsupported, varying
from goodcert.bounds.transcendental import increasing


def _with(*attributes: str) -> frozenset[str]:
    return frozenset(attributes)


_KERNEL = WINDOW - {"ceil_mode"} | {"group"}

RULES: Mapping[str, Rule] = {
    # affine
    "AveragePool": Rule(pooling.average_pool, WINDOW | {"count_include_pad"}),
    "BatchNormalization": Rule(affine.batch_norm, _with("epsilon", "momentum", "spatial", "training_mode")),
    "Conv": Rule(affine.conv, _KERNEL),
    "ConvTranspose": Rule(affine.conv_transpose, _KERNEL | {"output_padding", "output_shape"}),
    "Gemm": Rule(bilinear.gemm, _with("alpha", "beta", "transA", "transB"), varies="any"),
    "GlobalAveragePool": Rule(pooling.global_average_pool),
    "MatMul": Rule(bilinear.matmul, varies="any"),
    "ReduceMean": Rule(reductions.reduce_mean, AXES),
    "ReduceSum": Rule(reductions.reduce_sum, AXES),
    # arithmetic
    "Add": Rule(elementwise.add, varies="any"),
    "Div": Rule(elementwise.div, varies="any", partial=True),
    "Mean": Rule(elementwise.average, varies="any"),
    "Mul": Rule(elementwise.mul, varies="any"),
    "Reciprocal": Rule(elementwise.reciprocal, partial=True),
    "ReduceL1": Rule(reductions.reduce_l1, AXES),
    "ReduceL2": Rule(reductions.reduce_l2, AXES),
    "ReduceProd": Rule(reductions.reduce_prod, AXES),
    "ReduceSumSquare": Rule(reductions.reduce_sum_square, AXES),
    "Sub": Rule(elementwise.sub, varies="any"),
    "Sum": Rule(elementwise.total, varies="any"),
    # normalization by what varies
    "GroupNormalization": Rule(normalization.group_norm, _with("epsilon", "num_groups", "stash_type")),
    "InstanceNormalization": Rule(normalization.instance_norm, _with("epsilon")),
    "LRN": Rule(normalization.local_response, _with("alpha", "beta", "bias", "size")),
    "LayerNormalization": Rule(normalization.layer_norm, _with("axis", "epsilon", "stash_type")),
    "RMSNormalization": Rule(normalization.rms_norm, _with("axis", "epsilon", "stash_type")),
    # piecewise linear, and steps
    "Abs": Rule(activations.absolute),
    "Ceil": Rule(exact(torch.ceil)),
    "Clip": Rule(activations.clip, _with("min", "max")),
    "Floor": Rule(exact(torch.floor)),
    "GlobalMaxPool": Rule(pooling.global_max_pool),
    "HardSigmoid": Rule(activations.hard_sigmoid, _with("alpha", "beta")),
    "HardSwish": Rule(transcendental.hard_swish),
    "LeakyRelu": Rule(activations.leaky_relu, _with("alpha")),
    "Max": Rule(elementwise.largest, varies="any"),
    "MaxPool": Rule(pooling.max_pool, WINDOW | {"storage_order"}),
    "Min": Rule(elementwise.smallest, varies="any"),
    "Neg": Rule(activations.negative),
    "PRelu": Rule(activations.prelu),
    "ReduceMax": Rule(reductions.extreme(torch.amax), AXES),
    "ReduceMin": Rule(reductions.extreme(torch.amin), AXES),
    "Relu": Rule(activations.relu),
    "Round": Rule(exact(torch.round)),
    "Sign": Rule(exact(torch.sign)),
    "ThresholdedRelu": Rule(activations.thresholded_relu, _with("alpha")),
    # transcendental
    "Celu": Rule(transcendental.celu, _with("alpha")),
    "Elu": Rule(transcendental.elu, _with("alpha")),
    "Erf": Rule(increasing(transcendental.erf)),
    "Exp": Rule(increasing(torch.exp, 0.0)),
    "Gelu": Rule(transcendental.gelu, _with("approximate")),
    "Log": Rule(transcendental.log, partial=True),
    "LogSoftmax": Rule(transcendental.log_softmax, _with("axis")),
    "Mish": Rule(transcendental.mish),
    "Pow": Rule(transcendental.power, partial=True),
    "ReduceLogSum": Rule(reductions.reduce_log_sum, AXES, partial=True),
    "ReduceLogSumExp": Rule(reductions.reduce_log_sum_exp, AXES),
    "Selu": Rule(transcendental.selu, _with("alpha", "gamma")),
    "Sigmoid": Rule(increasing(transcendental.sigmoid)),
    "Softmax": Rule(transcendental.softmax, _with("axis")),
    "Softplus": Rule(increasing(transcendental.softplus)),
    "Softsign": Rule(increasing(transcendental.softsign)),
    "Sqrt": Rule(transcendental.square_root, partial=True),
    "Swish": Rule(transcendental.swish, _with("alpha")),
    "Tanh": Rule(increasing(torch.tanh)),
    # movements of data
    "Concat": Rule(movement.concat, _with("axis"), varies="any"),
    "DepthToSpace": Rule(movement.depth_to_space, _with("blocksize", "mode")),
    "Expand": Rule(movement.expand),
    "Flatten": Rule(movement.flatten, _with("axis")),
    "Gather": Rule(movement.gather, _with("axis")),
    "Identity": Rule(movement.same),
    "Pad": Rule(movement.pad, _with("mode", "pads", "value")),
    "Resize": Rule(resize.resize, resize.ATTRIBUTES),
    "Reshape": Rule(movement.reshape, _with("allowzero")),
    "Slice": Rule(movement.slices, _with("starts", "ends", "axes")),
    "SpaceToDepth": Rule(movement.space_to_depth, _with("blocksize", "mode")),
    "Split": Rule(movement.split, _with("axis", "split", "num_outputs", "part", "parts")),
    "Squeeze": Rule(movement.squeeze, _with("axes")),
    "Tile": Rule(movement.tile),
    "Transpose": Rule(movement.transpose, _with("perm")),
    "Unsqueeze": Rule(movement.unsqueeze, _with("axes")),
    "Upsample": Rule(resize.upsample, _with("mode", "scales")),
    "Where": Rule(elementwise.select, varies="any"),
}
"""Every operator that is bounded. What the graph reader folds away (Constant, Dropout, Shape and what is computed
from constants) needs no rule."""


def transform_of(node: Node, inputs: Constants, rounding: Rounding) -> Transform:
    """The transform of one node; raises Unsupported, naming node and operator, when no rule covers it.

    inputs: None where the node's input varies, and where an optional one is left out (its name is "").
    """
    rule = RULES.get(node.op)
    if rule is None:
        raise unsupported(node, f"no sound rule is known; supported are {', '.join(sorted(RULES))}")
    unknown = node.attributes.keys() - rule.attributes
    if unknown:
        raise unsupported(node, f"attributes {sorted(unknown)} are not understood")
    places = varying(node, inputs)
    if places != [0] and not (places and rule.varies == "any"):
        raise unsupported(node, f"inputs {places} vary, expected {rule.varies} and constants beside")
    try:
        return rule.make(node, inputs, rounding)
    except TooManyTerms as error:
        raise unsupported(node, str(error)) from error
