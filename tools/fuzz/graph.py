"""A graph that is run while it grows: what ONNX Runtime refuses never becomes a part of it.

Each node is computed as it is added, on one sample. So those who draw a graph know shapes and values of all tensors so far,
need no rules of their own for either, and everything drawn is valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from builder import Builder
from onnx import helper, numpy_helper

Feeds = dict[str, np.ndarray]
LARGEST = 1e4
"""Of values: a graph that grows beyond is no network."""

_IR_VERSIONS = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
"""Of ONNX's own operators → of the file, as they were published."""


class RefusedError(Exception):
    """ONNX Runtime does not take this, or its values are no numbers a network computes with."""


class Graph(Builder):
    """Nodes added one by one, all random choices from one generator."""

    def __init__(self, rng: np.random.Generator, opset: int) -> None:
        self.rng = rng
        self.opset = opset
        self.values: dict[str, np.ndarray] = {}
        self.weights: list[str] = []
        self._inputs: list[str] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, np.ndarray] = {}
        self._settled: set[str] = set()
        self._count = 0

    def __len__(self) -> int:
        return len(self._nodes)

    # what is there

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def tensors(self, wanted: Callable[[np.ndarray], bool]) -> list[str]:
        """The float tensors that depend on an input, oldest first."""
        made = [*self._inputs, *(name for node in self._nodes for name in node.output if name)]
        made = [name for name in made if name not in self._settled]
        return [name for name in made if self.values[name].dtype == np.float32 and wanted(self.values[name])]

    def pick(self, rank: int | None = 4, wanted: Callable[[np.ndarray], bool] = lambda _array: True) -> str:
        """A tensor, a recent one as a rule. Raises RefusedError where there is none."""
        found = self.tensors(lambda array: (rank is None or array.ndim == rank) and wanted(array))
        if not found:
            raise RefusedError("no such tensor")
        return found[max(0, len(found) - 1 - int(self.rng.geometric(0.6)) + 1)]

    # choices

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def choose(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def either_way(self, left: str, right: str) -> tuple[str, str]:
        return (left, right) if self.chance(0.6) else (right, left)

    # what is added

    def input(self, name: str, array: np.ndarray) -> str:
        self._inputs.append(name)
        self.values[name] = array
        return name

    def constant(self, array: Any, dtype: Any = np.float32) -> str:
        """A constant; `model` decides how it is stored."""
        name = self._name("c")
        self._constants[name] = self.values[name] = np.asarray(array, dtype)
        return name

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def ops(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Attributes that are None are left out. Raises RefusedError."""
        names = [self._name(op_type.lower()) for _ in range(outputs)]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        node = helper.make_node(op_type, list(inputs), names, **attributes)
        results = self._run(node, inputs)
        if any(array.size == 0 or not _is_tame(array) for array in results):
            raise RefusedError(f"{op_type} gives nothing of use")
        node.name = "" if self.chance(0.2) else f"{op_type}_{len(self._nodes)}"
        self._nodes.append(node)
        self.values.update(zip(names, results, strict=True))
        if {*_reads(node)} <= {"", *self._constants, *self._settled}:
            self._settled.update(names)
        return names

    def attempt(self, step: Callable[[Graph], object]) -> None:
        """`step` as a whole, or nothing of it."""
        before, values = len(self._nodes), dict(self.values)
        constants, weights = dict(self._constants), list(self.weights)
        try:
            step(self)
        except RefusedError:
            del self._nodes[before:]
            self.values, self._constants, self.weights = values, constants, weights

    # what becomes of it

    def model(self, open_axes: Mapping[str, Mapping[int, str]]) -> onnx.ModelProto:
        """open_axes: input → axis → name of a size that the model leaves open."""
        stored, first, listed = self._stored()
        nodes = [*first, *self._nodes]
        if self.chance(0.05):
            for node in nodes:
                node.name = "same"
        inputs = [_info(name, self.values[name], open_axes.get(name, {})) for name in self._inputs]
        inputs += [_info(name, self.values[name], {}) for name in listed]
        outputs = [_info(name, self.values[name], None) for name in self._outputs()]
        graph = helper.make_graph(nodes, "fuzz", inputs, outputs, stored)
        ir_version = _IR_VERSIONS[self.opset]
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir_version)

    def _outputs(self) -> list[str]:
        """Most of what nobody reads, and now and then something that is read, too."""
        read = {name for node in self._nodes for name in _reads(node)}
        made = [name for node in self._nodes for name in node.output]
        ends = [name for name in made if name not in read]
        inside = [name for name in made if name in read and self.chance(0.06)]
        kept = [name for name in ends if name == ends[-1] or self.chance(0.85)]
        return [*kept, *inside]

    def _stored(self) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto], list[str]]:
        """(initializers, Constant nodes, initializers that are inputs as well)."""
        initializers, nodes, listed = [], [], []
        way = self.choose("initializer", "initializer", "input", "node", "mixed")
        used = {name for node in self._nodes for name in _reads(node)}
        for name, array in self._constants.items():
            chosen = self.choose("initializer", "input", "node") if way == "mixed" else way
            tensor = numpy_helper.from_array(array, name)
            if name not in used:
                continue
            if chosen == "node":
                nodes.append(helper.make_node("Constant", [], [name], value=tensor))
                continue
            initializers.append(tensor)
            if chosen == "input" and array.ndim > 0:
                listed.append(name)
        return initializers, nodes, listed

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def _run(self, node: onnx.NodeProto, inputs: Sequence[str]) -> list[np.ndarray]:
        read = sorted({*_reads(node)} - {""})
        given = [name for name in read if name not in self._constants]
        graph = helper.make_graph(
            [node],
            "node",
            [_info(name, self.values[name], {}) for name in given],
            [onnx.ValueInfoProto(name=name) for name in node.output],
            [numpy_helper.from_array(self._constants[name], name) for name in read if name in self._constants],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)
        try:
            session = open_session(model, optimize=False)
            return session.run(None, {name: self.values[name] for name in given})
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise RefusedError(str(error)) from error


def open_session(model: onnx.ModelProto | bytes | str, *, optimize: bool = True) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_both_ways(model: onnx.ModelProto, feeds: Sequence[Feeds]) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """Of each sample the outputs, without ONNX Runtime's optimizations and with them.

    Raises RefusedError where ONNX or ONNX Runtime does not take the model.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
        plain, fast = open_session(model, optimize=False), open_session(model)
        for sample in feeds:
            yield plain.run(None, sample), fast.run(None, sample)
    except Exception as error:  # their exceptions have no common base
        raise RefusedError(str(error)) from error


def _reads(node: onnx.NodeProto) -> list[str]:
    """Its own inputs, and what its bodies read from outside."""
    names = list(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = {name for body in attribute.g.node for name in body.output}
            inner |= {held.name for held in (*attribute.g.initializer, *attribute.g.input)}
            names += [name for body in attribute.g.node for name in _reads(body) if name not in inner]
    return names


def _is_tame(array: np.ndarray) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all() and np.abs(array).max() <= LARGEST)


def _info(name: str, array: np.ndarray, open_axes: Mapping[int, str] | None) -> onnx.ValueInfoProto:
    """open_axes None: of unknown shape, but for the rank."""
    dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
    if open_axes is None:
        return helper.make_tensor_value_info(name, dtype, [None] * array.ndim)
    return helper.make_tensor_value_info(name, dtype, [open_axes.get(axis, size) for axis, size in enumerate(array.shape)])
