"""What only moves rounded values gives rounded values: the same pair once more behind it, so that integers are moved."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.exporters.pairs import dequantizers, grid_of, quantizer_in_front
from amct_lite.flow.kernels import KERNELS
from amct_lite.ops import bodies_behind, weights_behind
from amct_lite.ops.pool import dilated


def round_results(node: ir.Node) -> None:
    """Behind a node that only moves rounded values stands the same pair once more: it changes no value."""
    kernel = KERNELS[node.op_type]
    fronts = [quantizer_in_front(node.inputs[index]) for index in kernel.indices(node)] if kernel.taken(node) else [None]
    grid = grid_of(fronts[0])
    if fronts[0] is not None and grid is not None and all(grid_of(front) == grid for front in fronts):
        for index, output in enumerate(node.outputs):
            _round_result(output, f"{node.name}.result{index or ''}", fronts[0])


def _round_result(output: ir.Value, name: str, front: ir.Node) -> None:
    """By the grid of `front`."""
    readers = [use for use in ir.uses(output) if _may_read_pairs(use.node)]
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
            for again in dequantizers(use.node):
                ir.redirect(again.outputs[0], result)
                ir.remove_node(again)
            ir.redirect(use.node.outputs[0], quantize.outputs[0])  # somebody may measure them
            ir.remove_node(use.node)
        else:
            ir.replace_input(use.node, use.idx, result)


def _may_read_pairs(node: ir.Node) -> bool:
    """Not a layer in float: its weights would be quantized unasked. Nor who hands on to the body of an If or Loop, of which
    ONNX Runtime would die, nor a mean with gaps: it would make an integer kernel of that and refuse it."""
    return not (any(weights_behind(node)) or any(bodies_behind(node)) or dilated(node))
