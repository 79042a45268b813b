"""A graph of tokens that grows: values are names, and what is known of their sizes is kept beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from random import Random
from typing import Any

import numpy as np
import onnx
from builder import Builder
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray
Size = int | str
"""A number, or the name of an open dimension."""
Filler = Callable[[Mapping[str, int]], Array]
"""Of an input: the array of one sample, from the open dimensions of that sample."""

OPSETS = (11, 12, 13, 14, 15, 16, 17, 17, 18, 19, 20, 21)


class Net(Builder):
    """A graph that grows. Values are names; `dims` tells the sizes of those that blocks pass on."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.rng = np.random.default_rng(seed)
        self.opset = self.random.choice(OPSETS)
        self.named = self.chance(0.7)
        self.float = np.dtype(np.float16 if self.chance(0.07) else np.float32)
        self.constants = self.random.choice(["initializer", "initializer", "node", "input", "mixed"])
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.fillers: dict[str, Filler] = {}
        self.dims: dict[str, tuple[Size, ...]] = {}
        self.tables: list[tuple[str, int, int]] = []
        self.weights: dict[tuple[int, ...], str] = {}
        self.count = 0
        self.batch: Size = self.random.choice(["batch", "batch", 1, 2])
        self.length: Size = self.random.choice(["length", "length", 16, *(self.random.randint(1, 16) for _ in range(2))])
        self.past = False

    # Chance

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def choose(self, *values: Any) -> Any:
        return self.random.choice(values)

    def shuffled(self, *values: str) -> list[str]:
        return self.random.sample(values, len(values))

    # Names, constants, nodes

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def const(self, array: object, dtype: type | None = None) -> str:
        array = np.asarray(array, dtype)
        if array.dtype == np.float32:
            array = self.floats(array)
        name = self.name("c")
        tensor = numpy_helper.from_array(array, name)
        how = self.constants if self.constants != "mixed" else self.choose("initializer", "node", "input")
        if how == "node":
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        self.initializers.append(tensor)
        if how == "input":
            self.inputs.append(helper.make_tensor_value_info(name, tensor.data_type, array.shape))
        return name

    def floats(self, array: Array) -> Array:
        """In the type of this network."""
        if self.float == np.float32:
            return array
        return np.where(np.isinf(array), array, np.clip(array, -65504, 65504)).astype(self.float)

    def kind(self, kind: int) -> int:
        """What stands for float32 is the type of this network."""
        return TensorProto.FLOAT16 if kind == TensorProto.FLOAT and self.float == np.float16 else kind

    def number(self, value: float, shape: Sequence[int] | None = None) -> str:
        return self.const(np.full(self.choose((), (), (1,), (1, 1)) if shape is None else shape, value, np.float32))

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def weight(self, *shape: int, spread: float | None = None) -> str:
        """Numbers that keep the variance of what they are multiplied with; some have channels of their own size, or zeros."""
        scale = 1 / sqrt(shape[-2] if len(shape) > 1 else 1) if spread is None else spread
        array = self.rng.standard_normal(shape) * scale
        kind = self.random.random()
        if kind < 0.08:
            array[..., self.rng.integers(shape[-1])] *= 30
        elif kind < 0.12:
            array[..., self.rng.integers(shape[-1])] = 0
        elif kind < 0.13:
            array[...] = 0
        return self.const(array, np.float32)

    def ops(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        names = [self.name(op_type.lower()) for _ in range(outputs)]
        title = self.name(f"/{op_type}") if self.named else ""
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=title, **attributes))
        return names

    def known(self, name: str, *dims: Size) -> str:
        self.dims[name] = dims
        return name

    def width(self, name: str) -> int:
        """How many channels there are."""
        channels = self.dims[name][-1]
        assert isinstance(channels, int)
        return channels

    def sizes(self, name: str) -> tuple[Size, Size, int]:
        """Of tokens: batch, length, channels."""
        batch, length, _ = self.dims[name]
        return batch, length, self.width(name)

    def input(self, stem: str, kind: int, dims: tuple[Size, ...], fill: Filler) -> str:
        name = self.name(stem)
        self.inputs.append(helper.make_tensor_value_info(name, self.kind(kind), dims))
        self.fillers[name] = fill
        return self.known(name, *dims)

    def output(self, name: str, kind: int = TensorProto.FLOAT, dims: tuple[Size, ...] | None = None) -> None:
        if name not in {value.name for value in self.outputs}:
            known = self.dims.get(name) if dims is None else dims
            self.outputs.append(helper.make_tensor_value_info(name, self.kind(kind), known))

    def cast(self, value: str, kind: int) -> str:
        return self.op("Cast", value, to=self.kind(kind))

    # Sizes

    def size(self, dim: Size, *, whole: bool = False) -> str:
        """A size as an int64 tensor of shape (1,), or () where it is `whole`."""
        if isinstance(dim, int):
            return self.const(dim if whole else [dim], np.int64)
        source = self.random.choice([name for name, dims in self.dims.items() if dim in dims])
        axis = self.dims[source].index(dim)
        shape = self.op("Shape", source)
        if whole:
            return self.op("Gather", shape, self.const(axis, np.int64))
        return self.cut(shape, axis, axis + 1, 0) if self.chance(0.5) else self.op("Gather", shape, self.ints(axis))

    def reshape(self, value: str, *dims: Size) -> str:
        """As few sizes as can be are computed, or all of them."""
        follow = -1 in dims
        known = not follow and all(isinstance(dim, int) for dim in dims)
        before = self.dims.get(value, ())
        same = [here < len(before) and dim == before[here] for here, dim in enumerate(dims)]
        told = [0 if one else -1 if isinstance(dim, str) else dim for one, dim in zip(same, dims, strict=True)]
        if told.count(-1) == 0 and known and self.chance(0.3):
            told[self.random.randrange(len(told))] = -1
        if told.count(-1) <= 1 and (known or follow or self.chance(0.6)):
            return self.known(self.op("Reshape", value, self.ints(*told)), *dims)
        shape = self.op("Concat", *(self.size(dim) for dim in dims), axis=0)
        return self.known(self.op("Reshape", value, shape), *dims)

    def transpose(self, value: str, *perm: int) -> str:
        result = self.op("Transpose", value, perm=list(perm))
        return self.known(result, *(self.dims[value][axis] for axis in perm)) if value in self.dims else result

    # The end

    def save(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "tokens", self.inputs, self.outputs, self.initializers)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=7 if self.opset < 15 else 8)


def lengths(dims: Sequence[Size], sizes: Mapping[str, int]) -> list[int]:
    """The numbers that `dims` are in a sample of these sizes."""
    return [sizes[dim] if isinstance(dim, str) else dim for dim in dims]
