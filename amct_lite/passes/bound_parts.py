"""A Relu or Clip behind a Concat stands in front of it, where the layers are that it then goes with.

    Relu(Concat(a, b)) → Concat(Relu(a), Relu(b))

Left alone: where a part, or all of them without the bound, are seen elsewhere, too.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport

BOUNDS = frozenset({"Relu", "Clip"})
"""They keep a tensor within bounds, and vanish into its range where it is rounded and nobody reads the one in front."""


def run(model: ir.Model) -> PassReport:
    findings = Findings("bound_parts")
    for node in tuple(model.graph):
        source = node.inputs[0] if node.op_type in BOUNDS and not node.domain else None
        concat = ir.producer_of(source)
        if concat is not None and _is_joined_for(node, concat):
            _bound_parts(node, concat)
            findings.changed += 1
    return findings.report()


def _is_joined_for(bound: ir.Node, concat: ir.Node) -> bool:
    """Whether `concat` joins, for `bound` alone, what was computed for it alone."""
    if concat.op_type != "Concat" or concat.domain or concat.graph is not bound.graph:
        return False
    others = [value for value in bound.inputs[1:] if value is not None]
    return all(ir.constant_of(value) is not None for value in others) and all(
        value is not None and value.producer() is not None and len(ir.uses(value)) == 1 and not value.is_graph_output()
        for value in (*concat.inputs, concat.outputs[0])
    )


def _bound_parts(bound: ir.Node, concat: ir.Node) -> None:
    """The result keeps its name: who compares tensors by name finds the same values."""
    for index, part in enumerate(concat.inputs):
        attributes = {name: ir.attribute(bound, name) for name in bound.attributes}
        name = ir.unique_name(ir.graph_of(bound), f"{bound.name}.part{index}")
        fresh = ir.new_node(bound.op_type, [part, *bound.inputs[1:]], name=name, attributes=attributes)
        if part is not None:
            fresh.outputs[0].type, fresh.outputs[0].shape = part.type, part.shape
        ir.insert_before(concat, fresh)
        ir.replace_input(concat, index, fresh.outputs[0])
    ir.replace_node(bound, concat.outputs[0])
