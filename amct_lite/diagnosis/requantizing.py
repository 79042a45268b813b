"""Which layers of a deploy model hand their integers on: their AscendDequant meets the next AscendQuant, so that the compiler
can make one requantization of both. And what stands between where they do not meet."""

from __future__ import annotations

from dataclasses import dataclass

from amct_lite import ir

_PASSED = frozenset({"Relu"})
"""What a requantization takes in."""


@dataclass(frozen=True)
class Handover:
    """One layer. reasons: what keeps its AscendDequant apart from AscendQuant; empty where nothing does."""

    name: str
    op_type: str
    reasons: tuple[str, ...]

    @property
    def fused(self) -> bool:
        return not self.reasons


def is_deploy(model: ir.Model) -> bool:
    """Whether this is a model for ATC."""
    return any(node.op_type in {"AscendQuant", "AscendDequant"} for node in model.graph)


def handovers(model: ir.Model) -> tuple[Handover, ...]:
    """A row for each AscendDequant of `model`, in the order of the graph."""
    rows = []
    for node in model.graph:
        if node.op_type == "AscendDequant":
            name = str(node.name).removesuffix(".dequant")
            rows.append(Handover(name, _layer_type(node), _between(node.outputs[0])))
    return tuple(rows)


def _layer_type(dequant: ir.Node) -> str:
    value = dequant.inputs[0]
    node = ir.producer_of(value)
    if node is not None and node.op_type == "Add" and node.inputs[0] is not None:  # a MatMul and its bias
        node = node.inputs[0].producer() or node
    return node.op_type if node is not None else "?"


def _between(value: ir.Value) -> tuple[str, ...]:
    """What reads `value` as float."""
    if value.is_graph_output():
        return (f"its output {value.name!r} leaves the network as float",)
    readers = [use.node for use in ir.uses(value)]
    if len(readers) == 1 and readers[0].op_type in _PASSED:
        return _between(readers[0].outputs[0])
    others = [reader for reader in readers if reader.op_type != "AscendQuant"]
    beside = ", beside an AscendQuant" if len(others) < len(readers) else ""
    return tuple(f"{reader.name} ({reader.op_type}) reads its output as float{beside}" for reader in others)
