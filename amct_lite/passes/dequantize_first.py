"""Rows of codes that are picked of a table and made floats behind that, as this package and others export it, become rows of a
table that is made floats first: then the table is a weight as any other."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.ir.build import Inserter


def dequantize_first(model: ir.Model) -> None:
    """Edit `model`: each DequantizeLinear behind a Gather from a constant matrix of codes goes in front of it."""
    tables: dict[tuple[ir.Value | None, ...], ir.Value] = {}
    for node in tuple(model.graph):
        pick = _picked_of_codes(node)
        if pick is None:
            continue
        rows, values, inputs = pick.outputs[0], node.outputs[0], (pick.inputs[0], *node.inputs[1:])
        if inputs not in tables:
            tables[inputs] = Inserter(pick, f"{pick.name}.table").op("DequantizeLinear", *inputs, axis=1)
        ir.replace_input(pick, 0, tables[inputs])
        rows.type = values.type or ir.TensorType(ir.DataType.FLOAT)
        ir.redirect(values, rows)
        ir.remove_node(node)


def _picked_of_codes(node: ir.Node) -> ir.Node | None:
    """The Gather whose rows alone `node`, a DequantizeLinear, makes floats with a scale for each column, or one for all."""
    pick = ir.producer_of(node.inputs[0]) if node.op_type == "DequantizeLinear" and not node.domain else None
    if pick is None or pick.op_type != "Gather" or pick.domain or ir.attribute(pick, "axis", 0) != 0:
        return None
    codes, scale, dims = ir.constant_of(pick.inputs[0]), ir.constant_of(node.inputs[1]), ir.dims_of(pick.outputs[0])
    if codes is None or codes.ndim != 2 or scale is None or len(ir.uses(pick.outputs[0])) != 1:
        return None
    last = {-1} | ({len(dims) - 1} if dims is not None else set())
    along = scale.size == 1 or ir.attribute(node, "axis", 1) in last
    return pick if along and not pick.outputs[0].is_graph_output() else None
