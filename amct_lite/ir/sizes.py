"""How large a model is: what its constants count and weigh. Shared storage counts once for each name."""

from __future__ import annotations

from itertools import chain
from math import prod

from onnx_ir import AttributeType, Model, TensorProtocol


def parameter_count(model: Model) -> int:
    """Elements of all constants: initializers and Constant nodes, in the main graph, subgraphs and functions."""
    return sum(prod(tensor.shape.numpy()) for tensor in _tensors(model))


def weight_bytes(model: Model) -> int:
    """Bytes of what `parameter_count` counts."""
    return sum(tensor.nbytes for tensor in _tensors(model))


def _tensors(model: Model) -> list[TensorProtocol]:
    graphs = (model.graph, *model.graph.subgraphs())
    tensors = [v.const_value for graph in graphs for v in graph.initializers.values() if v.const_value is not None]
    nodes = chain(model.graph.all_nodes(), *(function.all_nodes() for function in model.functions.values()))
    constants = (node.attributes.get("value") for node in nodes if node.op_type == "Constant")
    return tensors + [a.as_tensor() for a in constants if a is not None and a.type == AttributeType.TENSOR]
