"""Nodes that hand on their input unchanged go away: only those of which that is certain.

    Identity · Dropout in inference mode, mask unread · Cast to the type the input has · Transpose that permutes nothing
    Pad by zero · Expand to the shape the input has · Concat, Sum, Max, Min, Mean of one input

So do dilations of 1 in an AveragePool, which the integer kernel of ONNX Runtime does not even take as such.

A node between an input (or a constant) of the model and an output of the model stays: the output needs a producer of
its own. So does a node between two outputs.
"""

from __future__ import annotations

from collections.abc import Callable

from amct_lite import ir
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport


def run(model: ir.Model) -> PassReport:
    findings = Findings("remove_identity")
    for node in tuple(model.graph):
        if node.op_type == "AveragePool" and set(ir.attribute(node, "dilations", ())) == {1}:
            del node.attributes["dilations"]
            findings.changed += 1
        hands_on = _HANDS_ON.get(node.op_type)
        if hands_on is None or node.domain or not hands_on(node):
            continue
        source, output = node.inputs[0], node.outputs[0]
        if source is None or not _may_stand_for(source, output):
            continue
        ir.redirect(output, source)
        ir.remove_node(node)
        findings.changed += 1
    return findings.report()


def _may_stand_for(source: ir.Value, output: ir.Value) -> bool:
    """Whether `source` can take the place of `output`, which includes its name where that is the model's."""
    return not output.is_graph_output() or (source.producer() is not None and not source.is_graph_output())


def _is_inference_dropout(node: ir.Node) -> bool:
    if any(mask.uses() or mask.is_graph_output() for mask in node.outputs[1:]):
        return False
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return True
    training = ir.constant_of(node.inputs[2])
    return training is not None and not training.any()


def _is_cast_to_same(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.dtype is not None and source.dtype == ir.attribute(node, "to", 0)


def _is_transpose_of_nothing(node: ir.Node) -> bool:
    permutation: list[int] = ir.attribute(node, "perm", [])
    return bool(permutation) and permutation == sorted(permutation)


def _is_pad_by_zero(node: ir.Node) -> bool:
    pads = ir.constant_of(node.inputs[1])
    return pads is not None and not pads.any()


def _is_expand_to_same(node: ir.Node) -> bool:
    sizes = ir.sizes_of(node.inputs[0])
    return sizes is not None and sizes == ir.sizes_of(node.outputs[0])


def _has_one_input(node: ir.Node) -> bool:
    return len(node.inputs) == 1


_HANDS_ON: dict[str, Callable[[ir.Node], bool]] = {
    "Identity": _has_one_input,
    "Dropout": _is_inference_dropout,
    "Cast": _is_cast_to_same,
    "Transpose": _is_transpose_of_nothing,
    "Pad": _is_pad_by_zero,
    "Expand": _is_expand_to_same,
    "Concat": _has_one_input,
    "Sum": _has_one_input,
    "Max": _has_one_input,
    "Min": _has_one_input,
    "Mean": _has_one_input,
}
