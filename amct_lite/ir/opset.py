"""Raising a model to a newer opset.

Every node of the graph, of its subgraphs and of its functions is looked up in onnx's own operator schemas. Where the
newer schema takes the node as it is, nothing happens; where it does not, an adapter (`adapters`) rewrites the node;
where there is none, the model is refused.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx_ir import Graph, Model, Node

from amct_lite.errors import UnsupportedModelError
from amct_lite.ir.adapters import ADAPTERS
from amct_lite.ir.adapting import NotAdaptable, Site
from amct_lite.ir.schemas import schema_of
from amct_lite.ir.shapes import infer_shapes


def opset(model: Model) -> int:
    """The version of ONNX's own operators that the model follows."""
    return model.opset_imports[""]


def raise_opset(model: Model, minimum: int) -> tuple[Model, str | None]:
    """A model of at least opset `minimum` that computes the same, and what to tell the user, None if there is nothing.

    `model` is not modified; it is returned itself when it is new enough. Its functions are raised to the opset that it has
    then. Names of inputs, outputs and nodes stay;
    what is an attribute in the older opset and an input in the newer becomes an initializer `<node>.<attribute>`.
    Raises UnsupportedModelError that names the nodes which cannot be carried over.
    """
    before = opset(model)
    after = max(before, minimum)
    if before == after and all(f.opset_imports.get("", after) >= after for f in model.functions.values()):
        return model, None
    result = model.clone()
    infer_shapes(result)
    problems = _raise_nodes(result.graph.all_nodes(), result.graph, before, after)
    for function in result.functions.values():
        version = function.opset_imports.get("", before)
        problems += _raise_nodes(function.all_nodes(), result.graph, version, after)
        function.opset_imports[""] = max(version, after)
    if problems:
        raise UnsupportedModelError(
            f"the model has opset {before} and cannot be raised to {after}: {'; '.join(problems[:5])}"
            f"{f' and {len(problems) - 5} more' if len(problems) > 5 else ''}. "
            f"Export the model again for opset {after}."
        )
    result.opset_imports[""] = after
    result.ir_version = max(result.ir_version, _ir_version_for(after))
    return result, None if before == after else f"raised from opset {before} to {after}"


def _ir_version_for(version: int) -> int:
    return int(onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", version)]))


def _raise_nodes(nodes: Iterable[Node], main: Graph, before: int, after: int) -> list[str]:
    """Problems, one for each node that cannot be carried over."""
    problems = []
    for node in tuple(nodes):
        if node.domain == "" and before < after and (problem := _raise_node(Site(node, main), before, after)):
            problems.append(f"{node.name or 'a node'} ({node.op_type}): {problem}")
    return problems


def _raise_node(site: Site, before: int, after: int) -> str | None:
    node = site.node
    old = schema_of(node.op_type, before)
    if old is None:
        return f"opset {before} has no such operator (it may be an experimental one that was removed)"
    adapted = False
    for change in range(before + 1, after + 1):  # step by step: an adapter may turn the node into another operator
        adapt = ADAPTERS.get((node.op_type, change))
        if adapt is not None:
            adapted = True
            try:
                adapt(site)
            except (NotAdaptable, ValueError) as reason:
                return str(reason)
    new = schema_of(node.op_type, after)
    if new is None or new.deprecated:
        return f"opset {after} has no such operator any more"
    return _misfit(node, old, new) or (None if adapted else _changed(old, new))


def _misfit(node: Node, old: onnx.defs.OpSchema, schema: onnx.defs.OpSchema) -> str | None:
    """Why `schema` does not take the node. An attribute that `old` does not know either makes no difference."""
    unknown = [name for name in node.attributes if name in old.attributes and name not in schema.attributes]
    if unknown:
        return f"opset {schema.since_version} has no attribute {unknown[0]!r}"
    missing = [name for name, entry in schema.attributes.items() if entry.required and name not in node.attributes]
    if missing:
        return f"opset {schema.since_version} needs an attribute {missing[0]!r}"
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        return f"opset {schema.since_version} takes another number of inputs than {len(node.inputs)}"
    if len(node.outputs) > schema.max_output:
        return f"opset {schema.since_version} has fewer outputs than {len(node.outputs)}"
    return None


def _changed(old: onnx.defs.OpSchema, new: onnx.defs.OpSchema) -> str | None:
    """What the newer version gives another meaning: an input's place, or an attribute's default."""
    for one, other in zip(old.inputs, new.inputs, strict=False):
        if one.name.lower() != other.name.lower():
            return f"its input {one.name!r} is {other.name!r} in opset {new.since_version}"
    for name, entry in old.attributes.items():
        other_entry = new.attributes.get(name)
        if other_entry is not None and entry.default_value != other_entry.default_value:
            return f"its attribute {name!r} has another default in opset {new.since_version}"
    return None
