"""Types of values behind operators that onnx does not know: what the operators around these values take and give says them.

Source: the type constraints of ONNX's schemas. All that bears one type variable of a node is of one type.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from onnx_ir import Model, Node, Value

from amct_lite.ir.schemas import schema_of


def spread_types(model: Model) -> bool:
    """Fill in types of the main graph's values from those of their neighbours, forwards and backwards, in place; returns
    whether there was anything to fill in."""
    if not any(value.type is None for node in model.graph for value in node.outputs if value.name):
        return False
    version, found = model.opset_imports[""], False
    nodes = [(node, schema) for node in model.graph if not node.domain and (schema := schema_of(node.op_type, version))]
    while sum(_agree(node, schema) for node, schema in nodes):
        found = True
    return found


def _agree(node: Node, schema: onnx.defs.OpSchema) -> bool:
    """Whether a value of `node` has got a type."""
    pairs = list(_variables(node, schema))
    known = {variable: value.type for variable, value in pairs if value.type is not None}
    open_ = [(value, known[variable]) for variable, value in pairs if value.type is None and variable in known]
    for value, kind in open_:
        value.type = kind
    return bool(open_)


def _variables(node: Node, schema: onnx.defs.OpSchema) -> Iterator[tuple[str, Value]]:
    """The values of `node`, each with the type variable of its place."""
    constrained = {entry.type_param_str for entry in schema.type_constraints}
    for values, places in ((node.inputs, schema.inputs), (node.outputs, schema.outputs)):
        for index, value in enumerate(values):
            place = places[min(index, len(places) - 1)]
            if value is not None and value.name and place.is_homogeneous and place.type_str in constrained:
                yield place.type_str, value
