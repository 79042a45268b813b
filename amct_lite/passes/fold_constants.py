"""What constants alone decide is computed now, by ONNX Runtime, and becomes an initializer.

In rounds: all nodes that read nothing but constants are cut out as one small model and run in one session; what the
rest of the graph reads of them is put in their place. The ops of `_GROWTH` can make gigabytes from a few numbers, so
they wait until their inputs are initializers and their result can be measured beforehand; hence more than one round.

Left out: random ops, QuantizeLinear and DequantizeLinear (they carry a meaning), sequences and strings, If/Loop/Scan,
other domains and model-local functions. Refused with a reason: a result above LIMIT bytes that is larger than all it is
made of, and what ONNX Runtime cannot compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from amct_lite import ir, runtime
from amct_lite.errors import AmctError
from amct_lite.passes.constants import value_of_tensor
from amct_lite.passes.findings import Findings
from amct_lite.types import AnyArray, PassReport

LIMIT = 1 << 30
_OPTIONS = runtime.RuntimeOptions(threads=1)

_RANDOM = {
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
    "Dropout",
}
_MEANINGFUL = {"Constant", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}
_NOT_OF_TENSORS = {"Optional", "OptionalGetElement", "OptionalHasElement", "SequenceConstruct", "SequenceEmpty"} | {
    "SequenceAt", "SequenceInsert", "SequenceErase", "SequenceLength", "ConcatFromSequence", "SplitToSequence"
}  # fmt: skip
_KEPT = _RANDOM | _MEANINGFUL | _NOT_OF_TENSORS
_COMPUTABLE = frozenset({
    ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BOOL,
    ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64,
    ir.DataType.UINT8, ir.DataType.UINT16, ir.DataType.UINT32, ir.DataType.UINT64,
})  # fmt: skip


def run(model: ir.Model) -> PassReport:
    findings = Findings("fold_constants")
    refused: set[ir.Node] = set()
    while True:
        batch = _foldable(model.graph, refused, findings)
        wanted = _read_outside(batch)
        if not wanted:
            return findings.report()
        sources = sum(array.nbytes for array in _leaves(batch).values())
        tensors: dict[ir.Value, ir.TensorProtocol] = {}
        for value, result in zip(wanted, _computed(model, batch, wanted), strict=True):
            node = value.producer()
            if node is None or node in refused:
                continue
            if isinstance(result, str) or result.nbytes > max(LIMIT, sources):
                refused.add(node)
                findings.refuse(node, result if isinstance(result, str) else _too_large(result.nbytes))
            else:
                origin = _origin(value)
                if origin not in tensors:
                    tensors[origin] = ir.tensor_of(result) if origin.const_value is None else origin.const_value
                _replace(model.graph, value, tensors[origin])
        findings.changed += _remove_unread(model.graph, batch)


def _foldable(graph: ir.Graph, refused: set[ir.Node], findings: Findings) -> tuple[ir.Node, ...]:
    """The nodes that this round computes, in graph order; adds the ones that would grow too much to `refused`."""
    batch: dict[ir.Node, None] = {}
    for node in graph:
        if node in refused or node.domain or node.op_type in _KEPT or ir.bodies(node):
            continue
        inputs = [value for value in node.inputs if value is not None]
        if ir.attribute(node, "to", ir.DataType.FLOAT) not in _COMPUTABLE:
            continue
        arrays = [_array(value) for value in inputs]
        if any(a is None and value.producer() not in batch for a, value in zip(arrays, inputs, strict=True)):
            continue
        if node.op_type in _GROWTH:
            known = [a for a in arrays if a is not None]
            if len(known) < len(inputs):
                continue  # until the next round
            size = _grown_size(node, known)
            if size > max(LIMIT, sum(a.nbytes for a in known)):
                refused.add(node)
                findings.refuse(node, _too_large(size))
                continue
        batch[node] = None
    return tuple(batch)


def _array(value: ir.Value) -> AnyArray | None:
    if value.const_value is None or value.const_value.dtype not in _COMPUTABLE:
        return None
    return ir.constant_of(value)


def _leaves(batch: Iterable[ir.Node]) -> dict[ir.Value, AnyArray]:
    """The constants that the nodes of a batch start from."""
    inputs = (value for node in batch for value in node.inputs if value is not None)
    return {value: array for value in inputs if (array := _array(value)) is not None}


def _read_outside(batch: Sequence[ir.Node]) -> list[ir.Value]:
    """The values of a batch that other nodes or captured bodies read (an output of the model keeps its node)."""
    inside = set(batch)
    outputs = (output for node in batch for output in node.outputs)
    return [output for output in outputs if any(use.node not in inside for use in output.uses())]


def _computed(model: ir.Model, batch: Sequence[ir.Node], wanted: list[ir.Value]) -> list[AnyArray | str]:
    """The arrays of the `wanted` values, or why one of them cannot be had."""
    try:
        return list(_evaluate(model, batch, wanted))
    except AmctError:
        return [_computed_alone(model, batch, value) for value in wanted]  # one bad node must not spoil the others


def _computed_alone(model: ir.Model, batch: Sequence[ir.Node], value: ir.Value) -> AnyArray | str:
    try:
        return _evaluate(model, batch, [value])[0]
    except AmctError as error:
        return f"ONNX Runtime cannot compute it: {error}"


def _needed_for(batch: Sequence[ir.Node], wanted: Sequence[ir.Value]) -> tuple[ir.Node, ...]:
    """The nodes of `batch` that take part in computing `wanted`, in order."""
    needed = set(wanted)
    nodes = []
    for node in reversed(batch):
        if not needed.isdisjoint(node.outputs):
            nodes.append(node)
            needed.update(value for value in node.inputs if value is not None)
    return tuple(reversed(nodes))


def _evaluate(model: ir.Model, batch: Sequence[ir.Node], wanted: Sequence[ir.Value]) -> list[AnyArray]:
    """Run copies of nodes of `batch` as a model without inputs; raises UnsupportedModelError when ORT cannot."""
    batch = _needed_for(batch, wanted)
    copies: dict[ir.Value, ir.Value] = {}
    for value in _leaves(batch):
        tensor = value.const_value
        if tensor is not None:
            copies[value] = value_of_tensor(value.name or "", tensor)
    initializers = tuple(copies.values())
    nodes = []
    for node in batch:
        outputs = [ir.Value(name=output.name) for output in node.outputs]
        inputs = [None if value is None else copies[value] for value in node.inputs]
        nodes.append(ir.Node("", node.op_type, inputs, tuple(node.attributes.values()), outputs=outputs, name=node.name))
        copies.update(zip(node.outputs, outputs, strict=True))
    graph = ir.Graph(
        (),
        [copies[value] for value in wanted],
        nodes=nodes,
        initializers=initializers,
        opset_imports={"": model.graph.opset_imports.get("", 0)},
        name="constants",
    )
    small = ir.Model(graph, ir_version=model.ir_version)
    return runtime.open_session(small, _OPTIONS, optimize=False).run({})


def _origin(value: ir.Value) -> ir.Value:
    """What Identities hand on as `value`. Its tensor is theirs: PyTorch writes one for each further layer that has a weight."""
    node = value.producer()
    if node is None or node.op_type != "Identity" or node.inputs[0] is None:
        return value
    return _origin(node.inputs[0])


def _replace(graph: ir.Graph, value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """All readers of `value` get `tensor`, under the name of `value` unless that names an output of the model."""
    name = value.name or ""
    if value.is_graph_output():
        name = ir.unique_name(graph, name)
    else:
        value.name = None  # the initializer takes it over
    initializer = value_of_tensor(name, tensor)
    graph.register_initializer(initializer)
    ir.redirect(value, initializer, ir.uses(value))


def _remove_unread(graph: ir.Graph, batch: Sequence[ir.Node]) -> int:
    dead = 0
    for node in reversed(batch):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            ir.remove_node(node)
            dead += 1
            continue
        for output in node.outputs:
            if output.name is None:
                output.name = ir.unique_name(graph, f"{node.name}.computed")
    return dead


def _too_large(size: int) -> str:
    return f"its constant result of {size >> 20} MB would bloat the model (at most {LIMIT >> 20} MB are stored)"


def _grown_size(node: ir.Node, inputs: list[AnyArray]) -> int:
    """Bytes of the result; Python integers, which do not overflow. 0 when the inputs make no sense: ORT will say so."""
    try:
        return _GROWTH[node.op_type](node, inputs)
    except (ValueError, IndexError, ArithmeticError):
        return 0


def _product(numbers: AnyArray | Sequence[int]) -> int:
    product = 1
    for number in numbers:
        product *= int(number)
    return product


def _filled_size(node: ir.Node, inputs: list[AnyArray]) -> int:
    value: Any = ir.attribute(node, "value", None)
    return _product(inputs[0]) * (4 if value is None else int(value.dtype.itemsize))


def _expanded_size(node: ir.Node, inputs: list[AnyArray]) -> int:
    shape, target = inputs[0].shape, inputs[1].tolist()
    rank = max(len(shape), len(target))
    pairs = zip((1,) * (rank - len(shape)) + shape, [1] * (rank - len(target)) + target, strict=True)
    return _product([max(a, b) for a, b in pairs]) * inputs[0].itemsize


def _tiled_size(node: ir.Node, inputs: list[AnyArray]) -> int:
    return inputs[0].nbytes * _product(inputs[1])


def _range_size(node: ir.Node, inputs: list[AnyArray]) -> int:
    start, limit, delta = (float(a.reshape(-1)[0]) for a in inputs)
    return max(int(np.ceil((limit - start) / delta)), 0) * inputs[0].itemsize


_GROWTH: dict[str, Callable[[ir.Node, list[AnyArray]], int]] = {
    "ConstantOfShape": _filled_size,
    "Expand": _expanded_size,
    "Tile": _tiled_size,
    "Range": _range_size,
}
