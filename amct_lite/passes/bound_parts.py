"""A Relu or Clip behind a Concat or Transpose stands in front of it, where the layers are that it then goes with.

    Relu(Concat(a, b))    → Concat(Relu(a), Relu(b))
    Relu(Transpose(a))    → Transpose(Relu(a))

Left alone: where a part, or all of them without the bound, are seen elsewhere, too.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport

BOUNDS = frozenset({"Relu", "Clip"})
"""They keep a tensor within bounds, and vanish into its range where it is rounded and nobody reads the one in front."""
_MOVING = frozenset({"Concat", "Transpose"})


def run(model: ir.Model) -> PassReport:
    findings = Findings("bound_parts")
    for node in tuple(model.graph):
        source = node.inputs[0] if node.op_type in BOUNDS and not node.domain else None
        mover = ir.producer_of(source)
        if mover is not None and _moves_for(node, mover):
            _bound_parts(node, mover)
            findings.changed += 1
    return findings.report()


def _moves_for(bound: ir.Node, mover: ir.Node) -> bool:
    """Whether `mover` moves, for `bound` alone, what was computed for it alone."""
    if mover.op_type not in _MOVING or mover.domain or mover.graph is not bound.graph:
        return False
    others = [value for value in bound.inputs[1:] if value is not None]
    return all(ir.constant_of(value) is not None for value in others) and all(
        value is not None and value.producer() is not None and len(ir.uses(value)) == 1 and not value.is_graph_output()
        for value in (*mover.inputs, mover.outputs[0])
    )


def _bound_parts(bound: ir.Node, mover: ir.Node) -> None:
    """The result keeps its name: who compares tensors by name finds the same values."""
    for index, part in enumerate(mover.inputs):
        attributes = {name: ir.attribute(bound, name) for name in bound.attributes}
        name = ir.unique_name(ir.graph_of(bound), f"{bound.name}.part{index}")
        fresh = ir.new_node(bound.op_type, [part, *bound.inputs[1:]], name=name, attributes=attributes)
        if part is not None:
            fresh.outputs[0].type, fresh.outputs[0].shape = part.type, part.shape
        ir.insert_before(mover, fresh)
        ir.replace_input(mover, index, fresh.outputs[0])
    ir.replace_node(bound, mover.outputs[0])
