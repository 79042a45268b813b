"""Making initializers, and changing one for one reader only."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.types import AnyArray


def value_of_tensor(name: str, tensor: ir.TensorProtocol) -> ir.Value:
    """A value that holds `tensor` (of any type, numpy has it or not) and belongs to no graph yet."""
    shape = ir.Shape(tensor.shape.numpy())
    return ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)


def set_constant(node: ir.Node, index: int, array: AnyArray) -> None:
    """Make the constant input `index` of `node` hold `array`, and leave every other reader's constant as it was.

    A constant that only this input reads is replaced under its own name; a shared one stays, and `node` gets a copy.
    """
    value = node.inputs[index]
    graph = node.graph
    if value is None or graph is None or value.name is None:
        raise ValueError(f"input {index} of {node.name!r} is not a constant of a graph")
    fresh = ir.add_initializer(graph, value.name, array)
    ir.replace_input(node, index, fresh)
    take_name(fresh, value)


def take_name(fresh: ir.Value, old: ir.Value) -> None:
    """Drop the initializer `old` and give its name to `fresh`, if nobody reads `old` any more."""
    name = old.name
    if old.graph is None or name is None or old.uses() or old.is_graph_output() or old.is_graph_input():
        return
    ir.remove_initializer(old)
    fresh.name = name


def number_of(value: ir.Value | None) -> float | None:
    """The number of a floating point constant that is one, whatever its rank."""
    constant = ir.constant_of(value)
    return float(constant.item()) if constant is not None and constant.size == 1 and constant.dtype.kind == "f" else None
