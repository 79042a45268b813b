"""Operators that are written differently from opset to opset, for graphs of all kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class Builder(ABC):
    """Adds nodes one by one. Values are names."""

    opset: int

    @abstractmethod
    def ints(self, *values: int) -> str:
        """A constant of int64, in one dimension."""

    @abstractmethod
    def ops(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """A node; the names of its outputs."""

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output; its name."""
        return self.ops(op_type, *inputs, **attributes)[0]

    def with_axes(self, op_type: str, value: str, axes: Sequence[int], *, since: int, **attributes: Any) -> str:
        """since: the opset that made an input of the axes."""
        if self.opset < since:
            return self.op(op_type, value, axes=list(axes), **attributes)
        return self.op(op_type, value, self.ints(*axes), **attributes)

    def unsqueeze(self, value: str, *axes: int) -> str:
        return self.with_axes("Unsqueeze", value, axes, since=13)

    def squeeze(self, value: str, *axes: int) -> str:
        return self.with_axes("Squeeze", value, axes, since=13)

    def reduce(self, op_type: str, value: str, axes: Sequence[int], *, keepdims: int = 1) -> str:
        return self.with_axes(op_type, value, axes, since=13 if op_type == "ReduceSum" else 18, keepdims=keepdims)

    def mean(self, value: str, *axes: int, keepdims: int = 1) -> str:
        return self.reduce("ReduceMean", value, axes, keepdims=keepdims)

    def split(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        if self.opset < 13:
            return self.ops("Split", value, outputs=len(sizes), axis=axis, split=list(sizes))
        return self.ops("Split", value, self.ints(*sizes), outputs=len(sizes), axis=axis)

    def cut(self, value: str, start: int, stop: int, axis: int) -> str:
        return self.op("Slice", value, self.ints(start), self.ints(stop), self.ints(axis))
