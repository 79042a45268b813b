"""What an opset adapter sees of a node, and the few ways in which it may rewrite it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx_ir import Graph, Node, Value

from amct_lite.ir.attributes import attribute
from amct_lite.ir.build import Inserter
from amct_lite.ir.edit import add_initializer, constant_of, insert_after, insert_before, new_node, producer_of
from amct_lite.ir.naming import unique_name
from amct_lite.ir.rewire import redirect, replace_input, replace_node, replace_output
from amct_lite.types import AnyArray


class NotAdaptable(Exception):  # noqa: N818 - an answer of an adapter, no error that a user sees
    """Why this node has no counterpart in the newer opset."""


@dataclass(frozen=True)
class Site:
    """A node to adapt. main: the graph of the model, which tells it from subgraphs and bodies of functions."""

    node: Node
    main: Graph

    def take(self, name: str, default: Any = None) -> Any:
        """Remove an attribute and return its value. Raises ValueError if it refers to one of the function around it."""
        value = attribute(self.node, name, default)
        self.node.attributes.pop(name, None)
        return value

    def known(self, index: int) -> AnyArray | None:
        """The value of an input, if an initializer or a Constant node gives it."""
        value = self.node.inputs[index] if index < len(self.node.inputs) else None
        producer = producer_of(value)
        if producer is not None and producer.op_type == "Constant" and producer.domain == "":
            return None if "value" not in producer.attributes else np.asarray(attribute(producer, "value"))
        return constant_of(value)

    def add_input(self, index: int, name: str, array: AnyArray) -> None:
        """Make input `index` a constant: an initializer in the main graph, elsewhere a Constant node."""
        replace_input(self.node, index, self.constant(name, array))

    def constant(self, name: str, array: AnyArray) -> Value:
        if self.node.graph is self.main:
            return add_initializer(self.main, f"{self.node.name}.{name}", array)
        unique = unique_name(self.graph, f"{self.node.name}.{name}")
        node = new_node("Constant", [], name=unique, attributes={"value": array})
        insert_before(self.node, node)
        return node.outputs[0]

    def before(self, op_type: str, inputs: Sequence[Value | None], **attributes: Any) -> Value:
        """The result of a new node in front of this one."""
        name = unique_name(self.graph, f"{self.node.name}.{op_type.lower()}")
        node = new_node(op_type, inputs, name=name, attributes=attributes)
        insert_before(self.node, node)
        return node.outputs[0]

    def finish_with(self, op_type: str, *others: Value, **attributes: Any) -> None:
        """Pass the node's result on through `op_type`, whose result gets the name and the readers of the node's."""
        result = self.node.outputs[0]
        readers, name = tuple(result.uses()), result.name
        name_of_node = unique_name(self.graph, f"{self.node.name}.{op_type.lower()}")
        node = new_node(op_type, [result, *others], name=name_of_node, attributes=attributes)
        insert_after(self.node, node)
        final = node.outputs[0]
        final.type, final.shape, result.shape = result.type, result.shape, None
        redirect(result, final, readers)
        replace_output(self.graph, result, final)
        result.name, final.name = final.name, name

    def inserter(self) -> Inserter:
        """Writes in front of the node, names begin with its own."""
        return Inserter(self.node, str(self.node.name))

    def become(self, result: Value) -> None:
        """Let `result` stand for the node's first result, and the node go; nobody reads the others."""
        self.node.resize_outputs(1)
        replace_node(self.node, result)

    def inputs(self, count: int) -> list[Value | None]:
        """The first `count` inputs, None for each that is left out."""
        return [*self.node.inputs, *[None] * count][:count]

    @property
    def graph(self) -> Graph:
        assert isinstance(self.node.graph, Graph), "a node that is adapted stands in a graph"
        return self.node.graph

    def dtype(self) -> np.dtype[Any]:
        """Of the first input, as numpy's. Behind a custom operator, that nothing tells the type of, the only floating
        type of the model's inputs and initializers."""
        value = self.node.inputs[0]
        if value is not None and value.dtype is not None:
            return value.dtype.numpy()
        known = {v.dtype for v in (*self.main.inputs, *self.main.initializers.values()) if v.dtype is not None}
        floating = [dtype for dtype in known if dtype.is_floating_point()]
        if len(floating) != 1:
            raise NotAdaptable("the type of its input is not known")
        return floating[0].numpy()

    def unused(self, index: int) -> bool:
        """Whether nobody reads result `index`."""
        if index >= len(self.node.outputs):
            return True
        output = self.node.outputs[index]
        return not output.uses() and not output.is_graph_output()
