"""Constant nodes become initializers, so that later passes know one kind of constant.

All numeric forms of the attribute are taken (value, value_int(s), value_float(s)). A Constant whose output is an output
of the model stays, because the name of an output belongs to a node; its other readers get an initializer.
Strings and sparse values stay: nothing here computes with them.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.passes.constants import value_of_tensor
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport

_NUMBERS = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}


def run(model: ir.Model) -> PassReport:
    findings = Findings("lift_constants")
    for node in tuple(model.graph):
        if node.op_type != "Constant" or node.domain:
            continue
        tensor = _tensor_of(node)
        if isinstance(tensor, str):
            findings.refuse(node, tensor)
        elif _lift(model.graph, node, tensor):
            findings.changed += 1
    return findings.report()


def _tensor_of(node: ir.Node) -> ir.TensorProtocol | str:
    """The tensor that a Constant node holds, or why it is left alone."""
    for name, attribute in node.attributes.items():
        if name in _NUMBERS:
            return ir.Tensor(np.array(attribute.value, dtype=_NUMBERS[name]))
        if name == "value":
            tensor = attribute.as_tensor()
            return "it holds strings" if tensor.dtype == ir.DataType.STRING else tensor
    return f"it holds {', '.join(node.attributes) or 'nothing'}, not a dense numeric tensor"


def _lift(graph: ir.Graph, node: ir.Node, tensor: ir.TensorProtocol) -> bool:
    """Whether anything changed: the output of a kept node without other readers has nothing to move."""
    output = node.outputs[0]
    kept, uses = output.is_graph_output(), ir.uses(output)
    if kept and not uses:
        return False
    if kept:
        name = ir.unique_name(graph, f"{output.name}.value")
    else:
        name = output.name or ""
        output.name = None  # the initializer takes the name over, and no two values may share one
    initializer = value_of_tensor(name, tensor)
    graph.register_initializer(initializer)
    ir.redirect(output, initializer, uses)
    if not kept:
        ir.remove_node(node)
    return True
