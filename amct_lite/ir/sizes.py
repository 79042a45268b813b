"""How large a model is: what its constants count and weigh. Shared storage counts once for each name."""

from __future__ import annotations

from math import prod

from onnx_ir import AttributeType, Model, TensorProtocol

from amct_lite.ir.bodies import every_graph


def parameter_count(model: Model) -> int:
    """Elements of all constants: initializers and Constant nodes, in the main graph, subgraphs and functions."""
    return sum(prod(tensor.shape.numpy()) for tensor in _tensors(model))


def weight_bytes(model: Model) -> int:
    """Bytes of what `parameter_count` counts."""
    return sum(tensor.nbytes for tensor in _tensors(model))


def _tensors(model: Model) -> list[TensorProtocol]:
    graphs = tuple(every_graph(model))
    tensors = [v.const_value for graph in graphs for v in graph.initializers.values() if v.const_value is not None]
    constants = (node.attributes.get("value") for graph in graphs for node in graph if node.op_type == "Constant")
    return tensors + [a.value for a in constants if a is not None and a.type == AttributeType.TENSOR]
