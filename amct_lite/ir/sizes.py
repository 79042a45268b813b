"""How large a model is: what its constants count and weigh. Shared storage counts once for each name."""

from __future__ import annotations

from math import prod

from onnx_ir import Model, TensorProtocol


def parameter_count(model: Model) -> int:
    """Elements of all initializers of the main graph and of subgraphs."""
    return sum(prod(tensor.shape.numpy()) for tensor in _tensors(model))


def weight_bytes(model: Model) -> int:
    """Bytes of all initializers of the main graph and of subgraphs."""
    return sum(tensor.nbytes for tensor in _tensors(model))


def _tensors(model: Model) -> list[TensorProtocol]:
    graphs = (model.graph, *model.graph.subgraphs())
    return [v.const_value for graph in graphs for v in graph.initializers.values() if v.const_value is not None]
