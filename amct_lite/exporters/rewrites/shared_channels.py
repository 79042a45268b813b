"""Channels that layers share become a multiple of sixteen, as many as the depthwise kernel takes at a time; no value changes.

Between a convolution that writes them and those that sum them up, all that treats channels one by one takes channels of zeros
along: an activation of two nodes, and the gate of squeeze and excitation with its own layers. A sum of two tensors does not:
along a residual connection the layers of a whole stage would compute more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from amct_lite import ir
from amct_lite.exporters.pairs import PAIR
from amct_lite.exporters.rewrites.convs import (
    GROWN,
    add_inputs,
    add_outputs,
    has_own_bias,
    is_dense,
    is_depthwise,
    mark,
    missing_channels,
    own_weight,
)
from amct_lite.exporters.rewrites.neighbours import rounded_by
from amct_lite.passes.bound_parts import BOUNDS

_FIRST_ONLY = BOUNDS | PAIR
"""All but their first input must be numbers, so that they treat all channels alike."""
_ALIKE = _FIRST_ONLY | {"Add", "AveragePool", "GlobalAveragePool", "HardSigmoid", "LeakyRelu", "MaxPool", "Mul", "Sigmoid"}


@dataclass
class _Shared:
    """writers: layers whose output channels they are, each once, the depthwise ones among them. readers: the dense
    convolutions that sum them up. values: all tensors that hold them."""

    writers: dict[ir.Node, None] = field(default_factory=dict)
    readers: dict[ir.Node, None] = field(default_factory=dict)
    values: dict[ir.Value, None] = field(default_factory=dict)


def fill_block(conv: ir.Node) -> None:
    """`conv`: one in a model all of whose pairs are written."""
    missing, group = missing_channels(conv), ir.attribute(conv, "group", 1)
    shared = _shared_with(conv) if missing and rounded_by(conv) is not None else None
    if shared is None:
        return
    sizes = {value: ir.dims_of(value) for value in shared.values}
    for writer in shared.writers:
        add_outputs(writer, missing)
        if not is_dense(writer):
            ir.set_attribute(writer, "group", group + missing)
    for reader in shared.readers:
        add_inputs(reader, missing)
    for value, dims in sizes.items():
        mark(value, GROWN)
        value.shape = None if dims is None else ir.Shape([dims[0], group + missing, *dims[2:]])


def _shared_with(conv: ir.Node) -> _Shared | None:
    """All that holds the channels of the depthwise `conv`; None if somebody sees them who would see more."""
    found, known, waiting = _Shared(), set[ir.Node](), [conv]
    while waiting:
        node = waiting.pop()
        if node in known:
            continue
        known.add(node)
        values = _values_of(node, ir.attribute(conv, "group", 1))
        if values is None or node.graph is not conv.graph:
            return None
        if node.op_type == "Conv":
            found.writers[node] = None
        for value in values:
            producer = value.producer()
            if producer is None or value.is_graph_output():
                return None
            found.values[value] = None
            summing = [use.node for use in ir.uses(value) if use.idx == 0 and is_dense(use.node)]
            found.readers |= dict.fromkeys(summing)
            waiting += [producer, *(use.node for use in ir.uses(value) if use.node not in summing)]
    return found


def _values_of(node: ir.Node, count: int) -> tuple[ir.Value, ...] | None:
    """The tensors of `count` channels that go into `node`, but for those that it sums up, and that come out of it; None where
    it does not treat channels one by one, or has no constants of its own."""
    if node.domain or len(node.outputs) != 1:
        return None
    data = _data_of_conv(node, count) if node.op_type == "Conv" else _data_of(node)
    return None if data is None else (*data, *node.outputs)


def _data_of_conv(conv: ir.Node, count: int) -> tuple[ir.Value, ...] | None:
    weight = own_weight(conv)
    if weight is None or len(weight) != count or not has_own_bias(conv):
        return None
    if is_depthwise(conv):
        return _tensors(conv.inputs[:1])
    return () if is_dense(conv) else None


def _data_of(node: ir.Node) -> tuple[ir.Value, ...] | None:
    first = 1 if node.op_type in _FIRST_ONLY else len(node.inputs)
    data, others = _tensors(node.inputs[:first]), _tensors(node.inputs[first:])
    return None if node.op_type not in _ALIKE or others or (node.op_type == "Add" and len(data) > 1) else data


def _tensors(values: Sequence[ir.Value | None]) -> tuple[ir.Value, ...]:
    return tuple(value for value in values if value is not None and not _is_number(value))


def _is_number(value: ir.Value) -> bool:
    """Whether it is one constant number, as it is or as a code."""
    producer = value.producer()
    source = producer.inputs[0] if producer is not None and producer.op_type == "DequantizeLinear" else value
    constant = ir.constant_of(source)
    return constant is not None and constant.size == 1
