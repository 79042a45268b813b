"""A fingerprint of what a model computes, by which a record or saved statistics know their model again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from onnx_ir import Attr, AttributeType, DataType, Function, Graph, Model, Node, TensorProtocol, Value


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...


def checksum(model: Model) -> str:
    """sha256, in hex, of structure, names, types of inputs and outputs, and weights.

    Independent of doc strings, producer, metadata, inferred shapes, IR version, and of where the weights are stored.
    """
    digest = hashlib.sha256()
    _opsets(digest, model.opset_imports)
    _graph(digest, model.graph)
    for identifier in sorted(model.functions):
        _function(digest, model.functions[identifier])
    return digest.hexdigest()


def _text(digest: _Hash, *words: object) -> None:
    """Each word with its length, so that no two sequences of words look the same."""
    for word in words:
        data = str(word).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)


def _opsets(digest: _Hash, imports: Mapping[str, int]) -> None:
    _text(digest, "opsets", *sorted(imports.items()))


def _graph(digest: _Hash, graph: Graph) -> None:
    _text(digest, "graph", len(graph.inputs), len(graph.initializers), graph.num_nodes(), len(graph.outputs))
    for value in (*graph.inputs, *graph.outputs):
        _text(digest, value.name, value.type, value.shape)
    for name, value in sorted(graph.initializers.items()):
        _text(digest, name)
        if value.const_value is not None:
            _tensor(digest, value.const_value)
    for node in graph:
        _node(digest, node)


def _function(digest: _Hash, function: Function) -> None:
    _text(digest, "function", *function.identifier(), len(function.inputs), len(function.outputs), len(function))
    _opsets(digest, function.opset_imports)
    _text(digest, *(value.name for value in (*function.inputs, *function.outputs)))
    for _, attribute in sorted(function.attributes.items()):
        _attribute(digest, attribute)
    for node in function:
        _node(digest, node)


def _node(digest: _Hash, node: Node) -> None:
    _text(digest, node.name, *node.op_identifier(), len(node.inputs), len(node.outputs), len(node.attributes))
    _text(digest, *(_name(value) for value in (*node.inputs, *node.outputs)))
    for _, attribute in sorted(node.attributes.items()):
        _attribute(digest, attribute)


def _name(value: Value | None) -> str:
    return "" if value is None else value.name or ""


def _attribute(digest: _Hash, attribute: Attr) -> None:
    _text(digest, attribute.name, attribute.type.name, attribute.ref_attr_name or "")
    if attribute.is_ref():
        return
    if attribute.type == AttributeType.GRAPH:
        _graph(digest, attribute.as_graph())
    elif attribute.type == AttributeType.GRAPHS:
        for graph in attribute.as_graphs():
            _graph(digest, graph)
    elif attribute.type == AttributeType.TENSOR:
        _tensor(digest, attribute.as_tensor())
    elif attribute.type == AttributeType.TENSORS:
        for tensor in attribute.as_tensors():
            _tensor(digest, tensor)
    elif attribute.type == AttributeType.SPARSE_TENSOR or attribute.type == AttributeType.SPARSE_TENSORS:
        _text(digest, repr(attribute.value))
    elif isinstance(attribute.value, tuple | list):
        _text(digest, len(attribute.value), *attribute.value)
    else:
        _text(digest, attribute.value)


def _tensor(digest: _Hash, tensor: TensorProtocol) -> None:
    _text(digest, tensor.dtype.name, tuple(tensor.shape))
    if tensor.dtype == DataType.STRING:
        _text(digest, *(word.hex() if isinstance(word, bytes) else word.encode().hex() for word in tensor.numpy().flat))
        return
    array = np.ascontiguousarray(tensor.numpy())
    digest.update(array.reshape(-1).view(np.uint8).data)
