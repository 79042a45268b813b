"""The model for ONNX Runtime on CPUs: the fake-quant model, rewritten so that its optimizer finds integer kernels everywhere.

What it computes stays the same, outputs that are codes included. Activations become uint8 (the same grid, every code 128
higher: on x86 the kernels for uint8 data and int8 weights are 2.5 to 4 times faster than those for int8 data), and what stands
between the layers hands integers on.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters import channels, gates, qdq
from amct_lite.exporters.bounds import bound_codes
from amct_lite.exporters.chains import join_moves
from amct_lite.exporters.hard_sigmoids import add_codes
from amct_lite.exporters.means import average
from amct_lite.exporters.moves import name_shuffle, repeat_pixels, spread_channels
from amct_lite.exporters.norms import scale_channels
from amct_lite.exporters.numbers import NUMBERS, give_code
from amct_lite.exporters.pairs import UNSIGNED_SHIFT, dequantizers, grid_of, is_rounded, pair_around, quantizer_in_front
from amct_lite.exporters.reroute import reroute
from amct_lite.exporters.shared_channels import fill_block
from amct_lite.exporters.unfold import unfold
from amct_lite.flow.kernels import BOUNDS, KERNELS, SIZES, is_product
from amct_lite.ir.build import Inserter
from amct_lite.ops import WEIGHTED, weights_behind
from amct_lite.types import QuantRecord

_LOWEST = -128


def export(model: ir.Model, record: QuantRecord) -> ir.Model:
    """A new model; `model` (prepared, opset >= 13) is not modified. Raises ExportError where the record does not fit it."""
    result = qdq.export(model, record)
    _measure_codes(result)
    for transposed in _all(result, "ConvTranspose"):
        unfold(transposed)
    ir.infer_shapes(result)
    for quantize in _all(result, "QuantizeLinear"):
        _make_unsigned(quantize)
    for dequantize in _all(result, "DequantizeLinear"):
        _keep_float_bias(dequantize)
        _spell_zero_point(dequantize)
        _keep_one_extreme(dequantize)
    for reshape in _all(result, "Reshape"):
        name_shuffle(reshape)
    for node in tuple(result.graph):
        if node.op_type in KERNELS and KERNELS[node.op_type].one_grid and KERNELS[node.op_type].taken(node):
            _round_results(node)
    for pad in _all(result, "Pad"):
        _pad_codes(pad)
    for resize in _all(result, "Resize"):
        repeat_pixels(resize)
    for shuffle in _all(result, "DepthToSpace"):
        spread_channels(shuffle)
    join_moves(result.graph)
    for mean in _all(result, "ReduceMean"):
        _pool(mean)
    for pool in _all(result, "AveragePool"):
        average(pool)
    scale_channels(_all(result, "BatchNormalization"))
    for gate in _all(result, "HardSigmoid"):
        add_codes(gate)
    for op_type in NUMBERS:
        for node in _all(result, op_type):
            give_code(node)
    for conv in _all(result, "Conv"):
        fill_block(conv)
    for conv in _all(result, "Conv"):
        _multiply(conv)
    for product in _all(result, "Mul"):
        gates.spread(product)
    reroute(result)
    for bound in BOUNDS:  # behind all that look for pairs: codes that are bounded are none
        for node in _all(result, bound):
            bound_codes(node)
    ir.remove_unused(result)
    channels.align(result)
    ir.remove_unused(result)
    ir.infer_shapes(result)
    return result


def _all(model: ir.Model, op_type: str) -> tuple[ir.Node, ...]:
    return tuple(node for node in model.graph if node.op_type == op_type and not node.domain)


def _make_unsigned(quantize: ir.Node) -> None:
    zero_point = ir.constant_of(quantize.inputs[2]) if len(quantize.inputs) > 2 else None
    if zero_point is None or zero_point.dtype != np.int8 or quantize.outputs[0].is_graph_output():
        return
    moved = Inserter(quantize, str(quantize.name)).constant((zero_point.astype(np.int16) + UNSIGNED_SHIFT).astype(np.uint8))
    for node in (quantize, *dequantizers(quantize)):
        ir.replace_input(node, 2, moved)
    quantize.outputs[0].type = ir.TensorType(ir.DataType.UINT8)


def _measure_codes(model: ir.Model) -> None:
    """Who asks for the shape of a tensor asks its codes: beside a reader of floats, the kernel in front would stay float."""
    asking = [
        (use.node, quantize)
        for quantize in _all(model, "QuantizeLinear")
        for use in ir.uses(quantize.inputs[0])  # type: ignore[arg-type] # present
        if use.node.op_type in SIZES and use.node.graph is quantize.graph
    ]
    for node, quantize in asking:
        ir.replace_input(node, 0, quantize.outputs[0])
    if asking:
        model.graph.sort()  # a shape may have been asked for before there were codes


def _keep_float_bias(dequantize: ir.Node) -> None:
    """The bias Add behind a MatMul has no integer kernel: its bias is stored as the float that the integers stand for. (Of
    matrices, or where all sizes are known, ONNX Runtime makes a Gemm of both, whose integer kernel wants the integers.)"""
    steps, scale = (ir.constant_of(value) for value in dequantize.inputs[:2])
    output = dequantize.outputs[0]
    readers = {use.node.op_type for use in ir.uses(output)}
    if steps is None or scale is None or steps.dtype != np.int32 or readers != {"Add"} or _becomes_gemm(output):
        return
    graph = dequantize.graph
    assert isinstance(graph, ir.Graph)
    ir.redirect(output, ir.add_initializer(graph, f"{output.name}.float", (steps * scale).astype(np.float32)))


def _becomes_gemm(bias: ir.Value) -> bool:
    """Whether what `bias` is added to is a matrix, or all its sizes are known."""
    dims = [ir.dims_of(value) for use in ir.uses(bias) for value in use.node.inputs if value is not None and value is not bias]
    return all(d is not None and (len(d) == 2 or all(isinstance(size, int) for size in d)) for d in dims)


def _spell_zero_point(dequantize: ir.Node) -> None:
    """An absent zero point of a weight means 0, but the fusion into an integer Gemm looks for one."""
    codes, scale = (ir.constant_of(value) for value in dequantize.inputs[:2])
    if codes is None or scale is None or (len(dequantize.inputs) > 2 and dequantize.inputs[2] is not None):
        return
    b = Inserter(dequantize, str(dequantize.name))
    ir.replace_input(dequantize, 2, b.constant(np.zeros(scale.shape, codes.dtype)))


def _keep_one_extreme(dequantize: ir.Node) -> None:
    """Of the weights of -128 that one output sums up, all but the first become -127: kernels on ARM add two products of int8 in
    16 bits, and (-128)(-128) + (-128)(-128) is one more than these hold: what comes out is wrong by half the range. Scales
    decided for this target leave no -128 but among weights that they clip; those of other records do."""
    codes = ir.constant_of(dequantize.inputs[0])
    readers = {(use.node.op_type, ir.attribute(use.node, "transB", 0)) for use in ir.uses(dequantize.outputs[0])}
    if codes is None or codes.dtype != np.int8 or codes.ndim < 2 or len(readers) != 1:
        return
    ((op_type, transposed),) = readers
    if op_type not in WEIGHTED or op_type == "ConvTranspose":  # a float kernel follows
        return
    axis = 0 if op_type == "Conv" or transposed else codes.ndim - 1
    sums = np.moveaxis(codes, axis, 0).reshape(codes.shape[axis], -1)
    crowded = (sums == _LOWEST).sum(axis=1) > 1
    if not crowded.any():
        return
    spread = np.array(sums)
    few = spread[crowded]
    few[(few == _LOWEST) & (np.cumsum(few == _LOWEST, axis=1) > 1)] = _LOWEST + 1
    spread[crowded] = few
    shape = (codes.shape[axis], *np.delete(codes.shape, axis))
    graph = dequantize.graph
    assert isinstance(graph, ir.Graph)
    array = np.ascontiguousarray(np.moveaxis(spread.reshape(shape), 0, axis))
    ir.replace_input(dequantize, 0, ir.add_initializer(graph, f"{dequantize.name}.codes", array))


def _round_results(node: ir.Node) -> None:
    """Behind a node that only moves rounded values stands the same pair once more: it changes no value."""
    fronts = [quantizer_in_front(node.inputs[index]) for index in KERNELS[node.op_type].indices(node)]
    grid = grid_of(fronts[0])
    if fronts[0] is not None and grid is not None and all(grid_of(front) == grid for front in fronts):
        for index, output in enumerate(node.outputs):
            _round_result(output, f"{node.name}.result{index or ''}", fronts[0])


def _round_result(output: ir.Value, name: str, front: ir.Node) -> None:
    """By the grid of `front`. A layer in float does not read the pair: its weights would be quantized unasked."""
    readers = [use for use in ir.uses(output) if not any(weights_behind(use.node))]
    node = output.producer()
    if node is None or (not readers and not output.is_graph_output()):
        return
    scale, zero_point = front.inputs[1:3]
    quantize = ir.new_node("QuantizeLinear", [output, scale, zero_point], name=f"{name}.quantizelinear")
    dequantize = ir.new_node("DequantizeLinear", [quantize.outputs[0], scale, zero_point], name=f"{name}.dequantizelinear")
    ir.insert_after(node, (quantize, dequantize))
    result = dequantize.outputs[0]
    result.type, result.shape = output.type, output.shape  # others ask for its sizes
    if output.is_graph_output():
        ir.redirect(output, result)
        ir.replace_input(quantize, 0, output)
    for use in readers:
        if use.node.op_type == "QuantizeLinear" and grid_of(use.node) == grid_of(front):
            for again in tuple(dequantizers(use.node)):
                ir.redirect(again.outputs[0], result)
                ir.remove_node(again)
            ir.redirect(use.node.outputs[0], quantize.outputs[0])  # somebody may measure them
            ir.remove_node(use.node)
        else:
            ir.replace_input(use.node, use.idx, result)


def _pad_codes(pad: ir.Node) -> None:
    """A Pad with zeros between equal pairs is left to the convolutions behind it; where there are others, it pads the codes
    with their zero point. ONNX Runtime would do it in float."""
    pair = pair_around(pad) if KERNELS["Pad"].taken(pad) else None
    if pair is None or _padded_by_convs(pad, pair[1]):
        return
    front, behind = pair
    inputs = [front.outputs[0], pad.inputs[1], front.inputs[2]]
    padded = ir.new_node("Pad", inputs, name=f"{pad.name}.codes", attributes={"mode": "constant"})
    ir.insert_before(pad, padded)
    for dequantize in tuple(dequantizers(behind)):
        ir.replace_input(dequantize, 0, padded.outputs[0])


def _padded_by_convs(pad: ir.Node, behind: ir.Node) -> bool:
    """Let those who read the padded tensor pad it, if all are convolutions and only pixels are added; whether it was done."""
    widths, results = ir.constant_of(pad.inputs[1]), [node.outputs[0] for node in dequantizers(behind)]
    readers = [use for value in results for use in ir.uses(value)]
    if widths is None or len(pad.inputs) > 3 or not readers or any(value.is_graph_output() for value in results):
        return False
    low, high = np.split(widths, 2)
    explicit = all(ir.attribute(use.node, "auto_pad", "NOTSET") == "NOTSET" for use in readers)
    if low[:2].any() or high[:2].any() or (widths < 0).any() or not explicit:
        return False
    if not all(use.node.op_type == "Conv" and use.idx == 0 for use in readers):
        return False
    for use in readers:
        own = ir.attribute(use.node, "pads", [0] * (len(widths) - 4))
        ir.set_attribute(use.node, "pads", [int(a + b) for a, b in zip(own, (*low[2:], *high[2:]), strict=True)])
    assert pad.inputs[0] is not None
    for value in results:
        ir.redirect(value, pad.inputs[0])
    return True


def _pool(mean: ir.Node) -> None:
    """A mean over height and width, between pairs, is the GlobalAveragePool that has an integer kernel."""
    behind = [use.node.op_type for use in ir.uses(mean.outputs[0])]
    if quantizer_in_front(mean.inputs[0]) is None or behind != ["QuantizeLinear"] or not KERNELS["ReduceMean"].taken(mean):
        return
    if mean.outputs[0].is_graph_output():  # what leaves the network is not rounded
        return
    quantize = ir.uses(mean.outputs[0])[0].node
    b = Inserter(mean, str(mean.name))
    pooled = b.op("GlobalAveragePool", mean.inputs[0])
    if ir.attribute(mean, "keepdims", 1):
        ir.redirect(mean.outputs[0], pooled)
        return
    codes = b.op("QuantizeLinear", pooled, *quantize.inputs[1:3])
    flat = b.op("Flatten", b.op("DequantizeLinear", codes, *quantize.inputs[1:3]))
    ir.redirect(mean.outputs[0], flat)


def _multiply(conv: ir.Node) -> None:
    """A Conv of a single pixel, nobody behind which wants integers, is the Gemm whose integer kernel writes float: what a
    classifier says is not rounded."""
    front = quantizer_in_front(conv.inputs[0])
    scaled = conv.inputs[1].producer() if conv.inputs[1] is not None else None
    weight = ir.constant_of(scaled.inputs[0]) if scaled is not None else None
    if front is None or scaled is None or weight is None or not is_product(conv) or is_rounded(conv.outputs[0]):
        return
    b = Inserter(conv, f"{conv.name}.product")
    flat = b.op("DequantizeLinear", b.op("Flatten", front.outputs[0]), *front.inputs[1:3])
    codes = b.constant(weight.reshape(len(weight), -1))
    matrix = b.op("DequantizeLinear", codes, *scaled.inputs[1:], axis=0)  # other layers may read the one with all dimensions
    product = ir.new_node("Gemm", [flat, matrix, *conv.inputs[2:]], name=str(conv.name), attributes={"transB": 1})
    ir.insert_before(conv, product)
    pixels = b.constant(list(range(2, weight.ndim)), np.int64)
    ir.redirect(conv.outputs[0], b.op("Unsqueeze", product.outputs[0], pixels))
    ir.remove_node(conv)
