"""One small graph for each kind of quantizable layer, a record for it, and what integers must make of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from integer_reference import average_pool, codes_of, conv, conv_transpose, weight_codes
from passes.graphs import parse

from amct_lite import ir, passes
from amct_lite.types import LayerRecord, QParams, QuantRecord

HEADER = '<ir_version: 8, opset_import: ["": 13]>\n'


@dataclass(frozen=True)
class Case:
    """A graph `g (x[, x2][, w][, b]) => (y)` whose only layer is called `layer`.

    accumulate: (centred codes, weight codes or centred second codes) → accumulators without bias.
    axis: of the output channels in the weight; bias_axis: of the channels in the output. refused: what the Ascend target
    says against it. symmetric: whether the data must have zero point 0.
    """

    id: str
    text: str
    accumulate: Callable
    axis: int = 0
    group: int = 1
    bias_axis: int = -1
    weight: bool = True
    two: bool = False
    refused: str = ""
    symmetric: bool = False
    per_channel: bool = True
    params: dict = field(default_factory=dict)

    def model(self, header: str = HEADER) -> ir.Model:
        constants = "w b" if self.weight else ""
        return named(parse(self.text, constants, header))


def named(model: ir.Model) -> ir.Model:
    """Prepared as the loader does it: nodes named, passes run. The first node that computes is called `layer`."""
    ir.name_nodes(model)
    return passes.prepare(model).model


def layer_node(model: ir.Model) -> ir.Node:
    return next(node for node in model.graph if node.op_type in {"Conv", "ConvTranspose", "Gemm", "MatMul", "AveragePool"})


def data_range(array, bits: int = 8) -> QParams:
    """Narrower than the data, so that some codes saturate; asymmetric."""
    low, high = float(array.min()) * 0.9, float(array.max()) * 0.95
    scale = np.float32((high - low) / (2**bits - 1))
    return QParams.of(scale, int(-(2 ** (bits - 1)) - np.rint(low / scale)), bits)


def symmetric_range(array, bits: int = 8) -> QParams:
    return QParams.of(np.float32(np.abs(array).max() * 0.9 / (2 ** (bits - 1) - 1)), 0, bits)


def channel_scales(weight, axis: int, group: int, per_channel: bool, bits: int = 8):
    top = 2 ** (bits - 1) - 1
    if not per_channel:
        return np.array([np.abs(weight).max() / top], np.float32)
    if axis == 1 and group > 1:
        weight = np.concatenate(np.split(weight, group), axis=1)
    return (np.abs(np.moveaxis(weight, axis, 0)).reshape(weight.shape[axis], -1).max(axis=1) / top).astype(np.float32)


def record_for(case: Case, model: ir.Model, feeds, *, per_channel: bool, bits: int = 8, weight_bits: int = 8) -> QuantRecord:
    node = layer_node(model)
    first = symmetric_range(feeds["x"], bits) if case.symmetric or case.two else data_range(feeds["x"], bits)
    if case.two:
        second = symmetric_range(feeds["x2"])
    elif case.weight:
        scales = channel_scales(weight_of(case, model), case.axis, case.group, per_channel, weight_bits)
        second = QParams.of(scales, 0, weight_bits)
    else:
        second = QParams.of(1.0, 0)
    return QuantRecord((LayerRecord(str(node.name), first, second),))


def weight_of(case: Case, model: ir.Model):
    node = layer_node(model)
    return next(array for value in node.inputs[:2] if (array := ir.constant_of(value)) is not None)


def bias_of(model: ir.Model):
    """The float bias: of the node itself or of the Add behind it; None when there is none."""
    node = layer_node(model)
    if len(node.inputs) > 2:
        return ir.constant_of(node.inputs[2])
    adds = [n for n in model.graph if n.op_type == "Add"]
    return ir.constant_of(adds[0].inputs[1]) if adds else None


def reference(case: Case, model: ir.Model, record: QuantRecord, feeds, quantize=codes_of):
    """(accumulators with bias, what one step of them is worth), both broadcastable to the output."""
    entry = record.layers[0]
    first, second = entry.activation, entry.weight
    centred = quantize(feeds["x"], first.scale[0], first.zero_point[0], first.bits) - first.zero_point[0]
    if case.two:
        total = case.accumulate(centred, quantize(feeds["x2"], second.scale[0], 0))
    elif case.weight:
        codes = weight_codes(weight_of(case, model), second.scale, case.axis, case.group, second.bits)
        total = case.accumulate(centred, codes)
    else:
        total = case.accumulate(centred, None)
    steps = second.scales * first.scales[0]  # float32 times float32
    bias = bias_of(model)
    shape = [1] * total.ndim
    shape[case.bias_axis] = -1
    if bias is not None:
        total = total + np.rint(bias.astype(np.float64) / steps.astype(np.float64)).astype(np.int64).reshape(shape)
    assert np.abs(total).max() < 2**31
    return total, steps.reshape(shape)


def _pool(x, _none, **kwargs):
    return average_pool(x, **kwargs)


def _conv_case(name: str, x: str, w: str, y: str, attributes: str = "", bias: int = 0, **kwargs) -> Case:
    transposed = kwargs.pop("transposed", False)
    keep = {key: kwargs.pop(key) for key in ("refused", "symmetric") if key in kwargs}
    op = "ConvTranspose" if transposed else "Conv"
    given = f", float[{bias}] b" if bias else ""
    reads = ", b" if bias else ""
    text = f"g (float[{x}] x, float[{w}] w{given}) => (float[{y}] y) {{ y = {op} <{attributes}> (x, w{reads}) }}"
    return Case(
        name,
        text,
        partial(conv_transpose if transposed else conv, **kwargs),
        axis=1 if transposed else 0,
        group=kwargs.get("group", 1),
        bias_axis=1,
        **keep,
    )


CASES = [
    _conv_case(
        "conv1d", "2,3,9", "4,3,3", "2,4,5", "strides = [2], pads = [1, 1]", bias=4, strides=[2], pads=[1, 1], refused="3-D"
    ),
    _conv_case("conv2d", "2,3,6,7", "5,3,3,2", "2,5,4,6", bias=5),
    _conv_case("conv2d_no_bias", "1,3,6,6", "4,3,3,3", "1,4,4,4"),
    _conv_case(
        "conv2d_asymmetric_pads",
        "2,3,5,6",
        "4,3,3,3",
        "2,4,2,4",
        "strides = [2, 2], pads = [0, 2, 1, 1]",
        bias=4,
        strides=[2, 2],
        pads=[0, 2, 1, 1],
    ),
    _conv_case("conv2d_dilated", "1,2,8,9", "3,2,3,3", "1,3,4,5", "dilations = [2, 2]", bias=3, dilations=[2, 2]),
    _conv_case(
        "conv2d_same_upper",
        "1,2,7,6",
        "3,2,3,2",
        "1,3,4,3",
        'auto_pad = "SAME_UPPER", strides = [2, 2]',
        bias=3,
        strides=[2, 2],
        same_upper=True,
    ),
    _conv_case(
        "conv2d_group", "2,6,5,5", "4,3,3,3", "2,4,5,5", "group = 2, pads = [1, 1, 1, 1]", bias=4, group=2, pads=[1] * 4
    ),
    _conv_case(
        "conv2d_depthwise", "1,6,6,6", "6,1,3,3", "1,6,6,6", "group = 6, pads = [1, 1, 1, 1]", bias=6, group=6, pads=[1] * 4
    ),
    _conv_case("conv2d_depthwise_multiplier", "1,3,5,5", "6,1,3,3", "1,6,3,3", "group = 3", bias=6, group=3),
    _conv_case(
        "conv3d",
        "1,2,4,5,5",
        "3,2,2,3,3",
        "1,3,3,3,3",
        "pads = [0, 0, 0, 0, 0, 0]",
        bias=3,
        symmetric=True,
    ),
    _conv_case("deconv", "1,3,4,4", "3,5,3,3", "1,5,9,9", "strides = [2, 2]", bias=5, strides=[2, 2], transposed=True),
    _conv_case(
        "deconv_group",
        "2,4,3,4",
        "4,3,3,2",
        "2,6,6,8",
        "group = 2, strides = [2, 2], pads = [1, 0, 0, 0]",
        bias=6,
        group=2,
        strides=[2, 2],
        pads=[1, 0, 0, 0],
        transposed=True,
    ),
    _conv_case(
        "deconv_output_padding",
        "1,2,4,4",
        "2,3,3,3",
        "1,3,8,8",
        "strides = [2, 2], pads = [1, 1, 1, 1], output_padding = [1, 1]",
        strides=[2, 2],
        pads=[1] * 4,
        output_padding=[1, 1],
        transposed=True,
    ),
    _conv_case("deconv1d", "1,2,6", "2,4,3", "1,4,8", bias=4, transposed=True, refused="3-D"),
    _conv_case("deconv3d", "1,2,3,3,3", "2,2,2,2,2", "1,2,4,4,4", bias=2, transposed=True, refused="5-D"),
    Case("gemm", "g (float[3,8] x, float[8,5] w, float[5] b) => (float[3,5] y) { y = Gemm (x, w, b) }", np.matmul, axis=1),
    Case(
        "gemm_trans_b",
        "g (float[3,8] x, float[5,8] w, float[5] b) => (float[3,5] y) { y = Gemm <transB = 1> (x, w, b) }",
        np.matmul,
        axis=1,
    ),
    Case("gemm_no_bias", "g (float[3,8] x, float[8,5] w) => (float[3,5] y) { y = Gemm (x, w) }", np.matmul, axis=1),
    Case("matmul", "g (float[3,8] x, float[8,5] w) => (float[3,5] y) { y = MatMul (x, w) }", np.matmul, axis=1),
    Case(
        "matmul_bias",
        "g (float[2,3,8] x, float[8,5] w, float[5] b) => (float[2,3,5] y) { h = MatMul (x, w) y = Add (h, b) }",
        np.matmul,
        axis=1,
    ),
    Case(
        "matmul_bias_first",
        "g (float[2,3,8] x, float[8,5] w, float[5] b) => (float[2,3,5] y) { h = MatMul (x, w) y = Add (b, h) }",
        np.matmul,
        axis=1,
    ),
    Case("matmul_3d_weight", "g (float[2,3,8] x, float[2,8,5] w) => (float[2,3,5] y) { y = MatMul (x, w) }", np.matmul, axis=2),
    Case(
        "matmul_4d_weight",
        "g (float[2,2,3,8] x, float[2,2,8,5] w) => (float[2,2,3,5] y) { y = MatMul (x, w) }",
        np.matmul,
        axis=3,
        refused="2 or 3 dimensions",
    ),
    Case(
        "matmul_left",
        "g (float[6,5] x, float[4,6] w) => (float[4,5] y) { y = MatMul (w, x) }",
        lambda x, w: w @ x,
        axis=0,
        bias_axis=-2,
        refused="second input",
    ),
    Case(
        "matmul_two",
        "g (float[2,4,6] x, float[2,6,5] x2) => (float[2,4,5] y) { y = MatMul (x, x2) }",
        np.matmul,
        weight=False,
        two=True,
        per_channel=False,
    ),
    Case(
        "pool",
        "g (float[1,3,6,6] x) => (float[1,3,3,3] y) { y = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x) }",
        partial(_pool, kernel=[2, 2], strides=[2, 2]),
        weight=False,
        per_channel=False,
    ),
    *(
        Case(
            f"pool_pads_{include}",
            "g (float[2,2,5,5] x) => (float[2,2,5,5] y) { y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1],"
            f" count_include_pad = {include}> (x) }}",
            partial(_pool, kernel=[3, 3], pads=[1] * 4, count_include_pad=include),
            weight=False,
            per_channel=False,
        )
        for include in (0, 1)
    ),
    Case(
        "pool1d",
        "g (float[1,3,8] x) => (float[1,3,4] y) { y = AveragePool <kernel_shape = [2], strides = [2]> (x) }",
        partial(_pool, kernel=[2], strides=[2]),
        weight=False,
        per_channel=False,
        refused="3-D",
    ),
]
BY_ID = {case.id: case for case in CASES}
