"""Writes nodes into a graph at one place, in the order in which they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from onnx_ir import DataType, Graph, Node, Value

from amct_lite.ir.edit import add_initializer, append, graph_of, insert_after, insert_before, new_node
from amct_lite.ir.naming import unique_name

_AXES_AS_INPUT = 18


class Inserter:
    """Each call inserts one node before `anchor` and returns its first output; names start with `prefix`."""

    def __init__(self, anchor: Node, prefix: str) -> None:
        self._graph = graph_of(anchor)
        self._place: Callable[[Node], None] = partial(insert_before, anchor)
        self._prefix = prefix

    @classmethod
    def at_end(cls, graph: Graph, prefix: str) -> Inserter:
        """One that appends to `graph`."""
        inserter = cls.__new__(cls)
        inserter._graph, inserter._place, inserter._prefix = graph, partial(append, graph), prefix
        return inserter

    @classmethod
    def behind(cls, anchor: Node, prefix: str) -> Inserter:
        """One that inserts right behind `anchor`, each node behind the one before."""
        inserter = cls(anchor, prefix)
        last = anchor

        def place(node: Node) -> None:
            nonlocal last
            insert_after(last, node)
            last = node

        inserter._place = place
        return inserter

    @property
    def opset(self) -> int:
        """The version of ONNX's own operators that the graph follows."""
        return self._graph.opset_imports[""]

    def op(self, op_type: str, *inputs: Value | None, domain: str = "", **attributes: Any) -> Value:
        """One node; `attributes` by their ONNX names."""
        name = unique_name(self._graph, f"{self._prefix}.{op_type.lower()}")
        node = new_node(op_type, inputs, name=name, domain=domain, attributes=attributes)
        self._place(node)
        return node.outputs[0]

    def constant(self, array: ArrayLike, dtype: Any = None) -> Value:
        """An initializer."""
        return add_initializer(self._graph, f"{self._prefix}.constant", np.asarray(array, dtype))

    def reduced(self, op_type: str, value: Value | None, axes: list[int], **attributes: Any) -> Value:
        """`value` through ReduceMean, ReduceMax or another that has its axes as an input since opset 18; not ReduceSum."""
        if self.opset < _AXES_AS_INPUT:
            return self.op(op_type, value, axes=axes, **attributes)
        return self.op(op_type, value, self.constant(axes, np.int64), **attributes)

    def positions(self, value: Value | None, axis: int) -> Value:
        """0, 1, 2 … along `axis` of `value`, int64."""
        count = self.op("Gather", self.op("Shape", value), self.constant(axis, np.int64))
        return self.op("Range", self.constant(0, np.int64), count, self.constant(1, np.int64))

    def cast(self, value: Value, to: DataType) -> Value:
        return self.op("Cast", value, to=int(to))
