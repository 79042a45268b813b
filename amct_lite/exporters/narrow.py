"""A deploy model in float16 for a source in float16: the inverse of `passes/widen_float16` for what was half before.

A node computes in float16 unless a result of it was float32 in the source, ONNX knows it in float32 only, it makes its type
itself (an attribute), or it is of another domain or holds a body: these stay as they are. A Cast stands wherever a value of
one kind meets a reader of the other; Casts that change nothing go. AscendQuant reads what is there; AscendDequant gives
float16 by dtype 1, or what the record asks of its layer. Constants are rounded to float16.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.types import QuantRecord

FloatTypes = Mapping[str, ir.DataType]
"""Value of the source model → FLOAT16 or FLOAT; empty where the source has no float16."""

_HALF, _WIDE = ir.DataType.FLOAT16, ir.DataType.FLOAT
_FLOATS = frozenset({_HALF, _WIDE})


def asked_types(deploy: ir.Model, record: QuantRecord) -> dict[str, ir.DataType]:
    """AscendDequant → what it is to give, for the layers of `record` with an op_data_type; outputs of the model keep their
    type."""
    types = {entry.key: _HALF if entry.data_type == "FLOAT16" else _WIDE for entry in record.layers if entry.data_type}
    asked = {f"{layer}.dequant": dtype for layer, dtype in types.items()}
    found = {str(node.name): node for node in deploy.graph if node.name in asked}
    return {name: asked[name] for name, node in found.items() if not node.outputs[0].is_graph_output()}


def all_wide(deploy: ir.Model) -> dict[str, ir.DataType]:
    """The types of a source without float16."""
    return {str(value.name): _WIDE for node in deploy.graph for value in node.outputs}


def narrow(deploy: ir.Model, floats: FloatTypes, asked: FloatTypes | None = None) -> ir.Model:
    """A copy of `deploy` that computes in float16 what the source computed in float16. asked: `asked_types`, which decide
    first.

    Raises ExportError where a constant does not fit into float16.
    """
    model = ir.clone(deploy)
    version = ir.opset(model)
    rewrite(model, lambda node: _is_half(node, floats, ir.signature(node, version), asked or {}))
    for node in tuple(model.graph):
        if node.op_type == "Cast" and not node.domain:
            _remove_needless(node)
    return model


def rewrite(model: ir.Model, is_half: Callable[[ir.Node], bool]) -> None:
    """Let the nodes for which `is_half` holds compute in float16, in place; a Cast stands wherever one kind meets the other.

    Raises ExportError, without a remedy, where a constant does not fit into float16.
    """
    writer = _Writer(model)
    for node in tuple(model.graph):
        half = is_half(node)
        writer.feed(node, half)
        if half:
            _give_half(node)
    for value in writer.captured():
        writer.keep_wide_for_bodies(value)
    ir.remove_unused(model)


def _is_half(node: ir.Node, floats: FloatTypes, signature: ir.Signature | None, asked: FloatTypes) -> bool:
    if str(node.name) in asked:
        return asked[str(node.name)] == _HALF
    results = [(index, value) for index, value in enumerate(node.outputs) if value.dtype == _WIDE]
    if any(floats.get(_source_name(node, value)) == _WIDE for _, value in results):
        return False
    if node.op_type == "AscendDequant":
        return True
    if signature is None or ir.bodies(node):
        return False
    return node.op_type == "Cast" or all(signature.gives_half(index) for index, _ in results)


def _source_name(node: ir.Node, value: ir.Value) -> str:
    """AscendDequant gives what its layer gave in the source."""
    layer = node.inputs[0] if node.op_type == "AscendDequant" else None
    return str(value.name if layer is None or value.is_graph_output() else layer.name)


def _give_half(node: ir.Node) -> None:
    if node.op_type == "AscendDequant":
        ir.set_attribute(node, "dtype", 1)
    if node.op_type == "Cast" and ir.attribute(node, "to", 0) == _WIDE:
        ir.set_attribute(node, "to", int(_HALF))
    for value in node.outputs:
        if value.dtype == _WIDE:
            value.type = ir.TensorType(_HALF)


class _Writer:
    """Hands each node its inputs in the type it wants; a value is cast once for all who want it."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._version = ir.opset(model)
        self._cast: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self._was_wide = {v for n in model.graph for v in n.outputs if v.dtype == _WIDE}
        self._original = {v: v.dtype for n in model.graph for v in n.inputs if v is not None}

    def feed(self, node: ir.Node, half: bool) -> None:
        signature = ir.signature(node, self._version)
        for index, value in enumerate(node.inputs):
            if value is None or value.dtype not in _FLOATS or node.op_type in {"Cast", "AscendQuant"}:
                continue
            wanted = self._original[value]
            if signature is not None and wanted in _FLOATS:
                wanted = _HALF if half and signature.takes_half(index) else wanted
            if wanted is not None and value.dtype != wanted:
                ir.replace_input(node, index, self._as(value, wanted))

    def captured(self) -> list[ir.Value]:
        """Values that are float16 now, but that a body reads and knows as float32."""
        return [v for v in self._was_wide if v.dtype == _HALF and any(u.node.graph is not self._graph for u in ir.uses(v))]

    def keep_wide_for_bodies(self, value: ir.Value) -> None:
        inner = [usage for usage in ir.uses(value) if usage.node.graph is not self._graph]
        ir.redirect(value, self._as(value, _WIDE), inner)

    def _as(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        if (value, dtype) not in self._cast:
            array = ir.constant_of(value)
            if array is not None:
                name = f"{value.name}.{dtype.name.lower()}"
                self._cast[value, dtype] = ir.add_initializer(self._graph, name, _rounded(value, array, dtype))
            else:
                self._cast[value, dtype] = _cast_behind(self._graph, value, dtype)
        return self._cast[value, dtype]


def _rounded(value: ir.Value, array: np.ndarray, dtype: ir.DataType) -> np.ndarray:
    with np.errstate(over="ignore"):
        result = array.astype(dtype.numpy())
    if not np.array_equal(np.isfinite(result), np.isfinite(array)):
        largest = float(np.abs(array[np.isfinite(array)]).max())
        raise ExportError(f"the constant {value.name!r} holds {largest:.6g}, which float16 (65504 at most) does not")
    return result


def _cast_behind(graph: ir.Graph, value: ir.Value, dtype: ir.DataType) -> ir.Value:
    name = ir.unique_name(graph, f"{value.name}.{dtype.name.lower()}")
    node = ir.new_node("Cast", [value], name=f"{name}.cast", attributes={"to": int(dtype)}, outputs=[name])
    producer = value.producer()
    if producer is None:
        ir.insert_before(graph[0], node)
    else:
        ir.insert_after(producer, node)
    result = node.outputs[0]
    result.type, result.shape = ir.TensorType(dtype), value.shape
    return result


def _remove_needless(node: ir.Node) -> None:
    """A Cast to the type that is there already; one in front of an output of the model gives its name to what it reads."""
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.dtype != ir.attribute(node, "to", 0) or source.dtype != _HALF:
        return
    if result.is_graph_output():
        if source.is_graph_input() or source.is_graph_output() or source.is_initializer():
            return
        graph, name = ir.graph_of(node), result.name
        ir.replace_output(graph, result, source)
        result.name, source.name = f"{name}.cast", name
    ir.redirect(result, source)
    ir.remove_node(node)
