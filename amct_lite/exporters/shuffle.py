"""A pixel shuffle spelled as Reshape, Transpose and Reshape becomes a DepthToSpace, which moves the same values.

ONNX Runtime transposes six axes value by value: DepthToSpace takes a third of the time.
"""

from __future__ import annotations

from collections.abc import Mapping

from amct_lite import ir
from amct_lite.exporters.pairs import grid_of, quantizer_in_front

_MODES: Mapping[tuple[int, ...], tuple[str, int]] = {(0, 1, 4, 2, 5, 3): ("CRD", 1), (0, 3, 4, 1, 5, 2): ("DCR", 3)}
"""Order of the axes → ONNX's word for it, and the axis of the channels that remain."""


def name_shuffles(model: ir.Model) -> None:
    """In place. `model`: its shapes are known where they can be."""
    for node in tuple(model.graph):
        if node.op_type == "Reshape" and not node.domain:
            _name_shuffle(node)


def _name_shuffle(join: ir.Node) -> None:
    transpose = _alone_in_front(join, "Transpose")
    split = _alone_in_front(transpose, "Reshape") if transpose is not None else None
    if transpose is None or split is None:
        return
    fronts = [quantizer_in_front(node.inputs[0]) for node in (split, transpose, join)]
    grid, *others = [grid_of(front) for front in fronts if front is not None] or [None]
    if others and (fronts[0] is None or grid is None or set(others) != {grid}):
        return
    mode, channel = _MODES.get(tuple(ir.attribute(transpose, "perm", [])), ("", 0))
    parts, whole = _sizes(split.outputs[0]), _sizes(join.outputs[0])
    if not mode or parts is None:
        return
    channels, height, width = parts[channel - 1], *parts[3:]
    block = parts[1]
    if sorted(parts[:3]) != sorted([channels, block, block]):
        return
    if _sizes(split.inputs[0]) != [channels * block**2, height, width] or whole != [channels, height * block, width * block]:
        return
    attributes = {"blocksize": block, "mode": mode}
    shuffle = ir.new_node("DepthToSpace", split.inputs[:1], name=f"{join.name}.shuffle", attributes=attributes)
    ir.insert_before(join, shuffle)
    ir.redirect(join.outputs[0], shuffle.outputs[0])


def _alone_in_front(node: ir.Node, op_type: str) -> ir.Node | None:
    """The node of that type whose result `node`, and nobody else, reads, rounded or not."""
    value = node.inputs[0]
    while value is not None and len(ir.uses(value)) == 1 and not value.is_graph_output():
        front = value.producer()
        if front is None or front.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            return front if front is not None and front.op_type == op_type and not front.domain else None
        value = front.inputs[0]
    return None


def _sizes(value: ir.Value | None) -> list[int] | None:
    """Of all axes but the first, where they are known; that of the batch follows from them."""
    dims = ir.dims_of(value) if value is not None else None
    sizes = [size for size in (dims or ())[1:] if isinstance(size, int)]
    return sizes if dims is not None and len(sizes) == len(dims) - 1 else None
