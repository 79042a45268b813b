"""Where the last bit of a float decides: comparisons, roundings, the choice of the largest.

Behind them two models that are both right may differ by a whole step, or go on with other rows. So the guided model takes
their results from the deploy model, as it takes codes, and what goes into them is compared instead.
"""

from __future__ import annotations

from dataclasses import dataclass

from amct_lite import ir

STEPS = frozenset(
    {"ArgMax", "ArgMin", "Cast", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "Hardmax", "Less", "LessOrEqual"}
    | {"Round", "Sign", "ThresholdedRelu", "TopK"}
)


@dataclass(frozen=True)
class Step:
    """A node that both models have. reads: the floats that go in: what to call them, their name in the deploy model and in the
    guided one. results: name in the deploy model, and the input of the guided one that takes its place. decided: names of
    results, which are not to be compared."""

    reads: tuple[tuple[str, str, str], ...]
    results: tuple[tuple[str, str], ...]
    decided: tuple[str, ...]


def guide_steps(guided: ir.Model, executed: ir.Model) -> tuple[Step, ...]:
    """Let `guided` go on from what the steps of `executed` (the deploy model in executable form) give. What the result names is
    an output of its model afterwards, or an input."""
    twins = {str(node.name): node for node in executed.graph if _decides(node)}
    pairs = [(twins[name], node) for node in tuple(guided.graph) if (name := str(node.name)) in twins]
    return tuple(_guide(guided, executed, twin, node) for twin, node in pairs if twin.op_type == node.op_type)


def _decides(node: ir.Node) -> bool:
    """A Cast to another float decides nothing."""
    if node.op_type not in STEPS or node.domain or not _may_be_float(node.inputs[0]):
        return False
    known = all(value.dtype is not None for value in node.outputs)
    return known and not (node.op_type == "Cast" and _may_be_float(node.outputs[0]))


def _may_be_float(value: ir.Value | None) -> bool:
    """Nodes that were put in to make a deploy model executable do not say the types of their results."""
    return value is not None and value.dtype in {None, ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE}


def _guide(guided: ir.Model, executed: ir.Model, twin: ir.Node, node: ir.Node) -> Step:
    reads = [
        (ours, theirs)
        for ours, theirs in zip(twin.inputs, node.inputs, strict=True)
        if ours is not None and theirs is not None and _may_be_float(ours) and ours.producer() and theirs.producer()
    ]
    for ours, theirs in reads:
        _watch(executed, ours)
        _watch(guided, theirs)
    results = []
    for ours, theirs in zip(twin.outputs, node.outputs, strict=True):
        if ours.name and ir.uses(theirs):
            assert ours.dtype is not None
            given = ir.new_input(guided, f"{theirs.name}.given", ours.dtype, unsized(ir.dims_of(ours)))
            ir.redirect(theirs, given, ir.uses(theirs))
            _watch(executed, ours)
            results.append((str(ours.name), str(given.name)))
    what = f"what {node.name} ({node.op_type}) reads"
    names = tuple((what, str(ours.name), str(theirs.name)) for ours, theirs in reads)
    return Step(names, tuple(results), tuple(str(value.name) for value in node.outputs))


def _watch(model: ir.Model, value: ir.Value) -> None:
    if not value.is_graph_output():
        model.graph.outputs.append(value)


def unsized(dims: tuple[object, ...] | None) -> tuple[None, ...] | None:
    """The shape to declare for an input of the guided model: its rank alone. Behind some poolings onnx infers other sizes than
    ONNX Runtime gives, which would contradict each other within one model."""
    return None if dims is None else (None,) * len(dims)
