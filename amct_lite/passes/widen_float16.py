"""A float16 model becomes float32 inside; its inputs and outputs keep their names and types.

Every value is `half` (float16 as before) or `wide` (float32). Half are the float16 inputs of the model and what an
island produces; all else is wide: float16 initializers, tensors in attributes, Cast targets and dtype attributes are
rewritten. An island is a node whose insides this pass does not touch: If/Loop/Scan, model-local functions, operators of
other domains. A Cast stands wherever one kind meets a reader of the other; bodies read what they captured as float16.

Raises UnsupportedModelError where the type of an island's value is not known, or an input or output of the model is a
sequence or optional of float16.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.errors import UnsupportedModelError
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport

_HALF, _WIDE = ir.DataType.FLOAT16, ir.DataType.FLOAT
_STANDARD_DOMAINS = frozenset({"", "ai.onnx.ml"})
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type", "output_datatype")


def run(model: ir.Model) -> PassReport:
    findings = Findings("widen_float16")
    graph = model.graph
    if not _mentions_half(graph):
        return findings.report()
    ir.infer_shapes(model)
    islands = {node for node in graph if _is_island(node, model)}
    _check_types(graph, islands)
    half = [value for value in _values(graph) if value.dtype == _HALF]
    borders = {node for node in graph if _is_border(node, islands)}
    for node in graph:
        if node not in islands and node not in borders:
            findings.changed += _widen_attributes(node)
    for value in half:
        producer = value.producer()
        if value.is_initializer() and not value.is_graph_input():
            findings.changed += _widen_initializer(graph, value, islands)
        elif producer is None or producer in islands:
            wide = {node for node in _readers(value) - _half_readers(value, islands) if not _is_cast(node)}
            findings.changed += _cast_for(value, wide, _WIDE)
        elif producer not in borders:
            _widen_value(graph, value, islands)
            findings.changed += 1
    return findings.report()


def _mentions_half(graph: ir.Graph) -> bool:
    """Whether float16 enters the main graph anywhere: by an input, a constant, a Cast, or the result of a body."""
    if any(value.dtype == _HALF for value in (*_values(graph), *graph.outputs)):
        return True
    return any(_half_attributes(node) for node in graph)


def _half_attributes(node: ir.Node) -> list[str]:
    names = [name for name in _TYPE_ATTRIBUTES if ir.attribute(node, name, None) == _HALF]
    tensors = (a for a in node.attributes.values() if a.type == ir.AttributeType.TENSOR and not a.is_ref())
    return names + [a.name for a in tensors if a.as_tensor().dtype == _HALF]


def _values(graph: ir.Graph) -> tuple[ir.Value, ...]:
    outputs = (output for node in graph for output in node.outputs)
    return tuple(dict.fromkeys((*graph.inputs, *graph.initializers.values(), *outputs)))


def _is_island(node: ir.Node, model: ir.Model) -> bool:
    return node.domain not in _STANDARD_DOMAINS or node.op_identifier() in model.functions or bool(ir.bodies(node))


def _check_types(graph: ir.Graph, islands: set[ir.Node]) -> None:
    for value in (*graph.inputs, *graph.outputs):
        if value.dtype == _HALF and not isinstance(value.type, ir.TensorType):
            raise UnsupportedModelError(
                f"{value.name!r} is a {value.type}: float16 models are widened to float32, which is possible for "
                "tensors only. Export the model in float32."
            )
    for node in islands:
        for operand in (*node.inputs, *node.outputs):
            if operand is not None and operand.name and operand.type is None:
                raise UnsupportedModelError(
                    f"the type of {operand.name!r} at node {node.name!r} ({node.domain or 'ai.onnx'}.{node.op_type}) "
                    "is not known, so this float16 model cannot be widened to float32. Add it as a value_info to "
                    "the model, or export the model in float32."
                )


def _is_border(node: ir.Node, islands: set[ir.Node]) -> bool:
    """Whether a node is a Cast to float16 that only those read who want float16, as this pass itself inserts them."""
    if not _is_cast(node) or ir.attribute(node, "to", 0) != _HALF:
        return False
    return _readers(node.outputs[0]) == _half_readers(node.outputs[0], islands)


def _widen_attributes(node: ir.Node) -> int:
    names = _half_attributes(node)
    for name in names:
        attribute = node.attributes[name]
        if attribute.type == ir.AttributeType.TENSOR:
            wide = ir.Tensor(attribute.as_tensor().numpy().astype(np.float32))
            node.attributes[name] = ir.Attr(name, ir.AttributeType.TENSOR, wide)
        else:
            ir.set_attribute(node, name, int(_WIDE))
    return len(names)


def _is_cast(node: ir.Node) -> bool:
    """Whether it is a Cast, which reads any type."""
    return node.op_type == "Cast" and not node.domain


def _readers(value: ir.Value) -> set[ir.Node]:
    return {use.node for use in ir.uses(value)}


def _half_readers(value: ir.Value, islands: set[ir.Node]) -> set[ir.Node]:
    """The readers that want float16: islands, and nodes in bodies that capture the value."""
    return {node for node in _readers(value) if node.graph is not value.graph or node in islands}


def _widen_initializer(graph: ir.Graph, value: ir.Value, islands: set[ir.Node]) -> bool:
    """Readers that want float16, and the world outside, keep the initializer; the others get a float32 one."""
    half = _half_readers(value, islands)
    wide = _readers(value) - half
    if value.const_value is None or not wide:
        return False
    name = value.name or ""
    fresh = ir.add_initializer(graph, name, value.const_value.numpy().astype(np.float32))
    _redirect(value, fresh, wide)
    if not half and not value.is_graph_output():
        ir.remove_initializer(value)
        fresh.name = name
    return True


def _widen_value(graph: ir.Graph, value: ir.Value, islands: set[ir.Node]) -> None:
    """`value` is float32 now; one Cast to float16 serves islands, bodies, and the output of the model."""
    value.type = ir.TensorType(_WIDE)
    half = _half_readers(value, islands)
    if not value.is_graph_output():
        _cast_for(value, half, _HALF)
        return
    name = value.name or ""
    positions = [index for index, output in enumerate(graph.outputs) if output is value]
    value.name = ir.unique_name(graph, f"{name}.float32")
    cast = _insert_cast(value, _HALF, name)
    for index in positions:
        graph.outputs[index] = cast
    _redirect(value, cast, half)


def _redirect(value: ir.Value, replacement: ir.Value, readers: set[ir.Node]) -> None:
    ir.redirect(value, replacement, [use for use in ir.uses(value) if use.node in readers])


def _cast_for(value: ir.Value, readers: set[ir.Node], dtype: ir.DataType) -> bool:
    """One Cast of `value` for all of `readers`; whether there are any."""
    if not readers or value.graph is None:
        return False
    name = ir.unique_name(value.graph, f"{value.name}.{'float32' if dtype == _WIDE else 'float16'}")
    _redirect(value, _insert_cast(value, dtype, name), readers)
    return True


def _insert_cast(value: ir.Value, dtype: ir.DataType, output: str) -> ir.Value:
    """A Cast right behind the producer of `value`, or first in the graph; its output gets the name `output`."""
    graph, producer = value.graph, value.producer()
    if graph is None:
        raise ValueError(f"{value.name!r} belongs to no graph")
    name = ir.unique_name(graph, f"{output}.cast")
    cast = ir.new_node("Cast", [value], name=name, attributes={"to": int(dtype)}, outputs=[output])
    if producer is not None:
        ir.insert_after(producer, cast)
    else:
        ir.insert_before(graph[0], cast)
    result = cast.outputs[0]
    result.type = ir.TensorType(dtype)
    result.shape = value.shape.copy() if value.shape is not None else None
    return result
