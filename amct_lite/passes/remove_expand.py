"""An Expand goes away where all who read its result would repeat the values themselves: sums and products with a tensor that
is as large. A gate of one value a channel (ECA, squeeze and excitation) is often written so."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport

_REPEATING = frozenset({"Add", "Div", "Mul", "Sub"})


def run(model: ir.Model) -> PassReport:
    findings = Findings("remove_expand")
    for node in tuple(model.graph):
        if node.op_type != "Expand" or node.domain or node.outputs[0].is_graph_output() or node.inputs[0] is None:
            continue
        readers = [use.node for use in ir.uses(node.outputs[0])]
        if readers and all(reader.graph is node.graph and _repeats(reader, node) for reader in readers):
            ir.redirect(node.outputs[0], node.inputs[0])
            ir.remove_node(node)
            findings.changed += 1
    return findings.report()


def _repeats(reader: ir.Node, expand: ir.Node) -> bool:
    """Whether the other tensor that `reader` computes with is as large as what `expand` gives."""
    if reader.op_type not in _REPEATING or reader.domain:
        return False
    others = [value for value in reader.inputs if value is not expand.outputs[0]]
    return len(others) == 1 and (_is_measured(others[0], expand) or _has_same_shape(others[0], expand.outputs[0]))


def _is_measured(value: ir.Value | None, expand: ir.Node) -> bool:
    """Whether the shape that `expand` is told is the whole one of `value`."""
    shape = ir.producer_of(expand.inputs[1])
    if shape is None or shape.op_type != "Shape" or {"start", "end"} & set(shape.attributes):
        return False
    return shape.inputs[0] is value


def _has_same_shape(value: ir.Value | None, result: ir.Value) -> bool:
    dims = ir.dims_of(value)
    return dims is not None and None not in dims and dims == ir.dims_of(result)
