"""What stands around a convolution of a finished model: the constants of its own, who wrote its data, who sees its result."""

from __future__ import annotations

from collections.abc import Callable

from amct_lite import ir
from amct_lite.flow.kernels import BOUNDS
from amct_lite.types import AnyArray

GROWN = ".grown"
"""What the name of a tensor ends in that is the one of the float model, with channels more at the end."""
OTHER = ".channels"
"""What the name of a tensor ends in that holds other channels than the one of the float model."""
_PASSING = BOUNDS | {"QuantizeLinear", "DequantizeLinear"}


def own_dequantizer(conv: ir.Node, index: int) -> ir.Node | None:
    """What gives `conv`, and nobody else, its weight or bias."""
    value = conv.inputs[index] if index < len(conv.inputs) else None
    node = value.producer() if value is not None else None
    if value is None or node is None or node.op_type != "DequantizeLinear" or len(ir.uses(value)) != 1:
        return None
    return node if ir.constant_of(node.inputs[0]) is not None else None


def own_weight(conv: ir.Node) -> AnyArray | None:
    """The weight of a convolution as integers, where it is its own."""
    dequantize = own_dequantizer(conv, 1)
    return ir.constant_of(dequantize.inputs[0]) if dequantize is not None else None


def is_dense(conv: ir.Node) -> bool:
    return conv.op_type == "Conv" and own_weight(conv) is not None and ir.attribute(conv, "group", 1) == 1


def has_own_bias(conv: ir.Node) -> bool:
    """Whether the bias of `conv` can grow, if it has one."""
    return len(conv.inputs) < 3 or own_dequantizer(conv, 2) is not None


def change_outputs(conv: ir.Node, change: Callable[[AnyArray], AnyArray], ending: str = OTHER) -> None:
    """Let `change` make others of all arrays that lie along the output channels: weight and bias, which must be the own ones
    of `conv`, their scales and their zero points where each channel has one. ending: GROWN where it only adds some."""
    for index in range(1, len(conv.inputs)):
        dequantize = own_dequantizer(conv, index)
        assert dequantize is not None, "only of its own can be changed"
        graph = dequantize.graph
        assert isinstance(graph, ir.Graph)
        for place, value in enumerate(dequantize.inputs):
            array = ir.constant_of(value)
            if value is not None and array is not None and array.ndim:
                ir.replace_input(dequantize, place, ir.add_initializer(graph, str(value.name), change(array)))
        dequantize.outputs[0].shape = None
    forget_channels(conv, ending)


def forget_channels(conv: ir.Node, ending: str) -> None:
    """What `conv` computes holds other channels than in the float model, or more: its shape is no longer known, and its name
    says so, since tensors of the float model are found by name."""
    for value in private(conv.outputs[0]):
        value.shape = None
        mark(value, ending)


def mark(value: ir.Value, ending: str) -> None:
    """Let the name of `value` end so, once."""
    value.name = f"{str(value.name).removesuffix(ending)}{ending}"


def rounded_by(conv: ir.Node) -> ir.Node | None:
    """The QuantizeLinear that alone sees what `conv` computes, whose kernel is an integer one then."""
    readers = [[use.node for use in ir.uses(value)] for value in private(conv.outputs[0])]
    return next((nodes[0] for nodes in readers if len(nodes) == 1 and nodes[0].op_type == "QuantizeLinear"), None)


def kernel_behind(quantize: ir.Node) -> ir.Node | None:
    """The node whose result, perhaps kept within bounds, `quantize` rounds."""
    value = quantize.inputs[0]
    node = value.producer() if value is not None else None
    while node is not None and node.op_type in BOUNDS:
        value = node.inputs[0]
        node = value.producer() if value is not None else None
    return node


def read_alone(node: ir.Node) -> ir.Node | None:
    """Whose result `node`, and nobody else, reads, rounded and perhaps kept within bounds."""
    value = node.inputs[0]
    front = value.producer() if value is not None else None
    while front is not None and front.op_type in _PASSING:
        value = front.inputs[0]
        front = value.producer() if value is not None else None
    behind = private(front.outputs[0]) if front is not None else ()
    return front if behind and [use.node for use in ir.uses(behind[-1])] == [node] else None


def private(value: ir.Value) -> tuple[ir.Value, ...]:
    """`value` and what is made of it on the way to the layers that read it; empty if it is seen elsewhere, too."""
    found = [value]
    while len(readers := ir.uses(found[-1])) == 1 and readers[0].node.op_type in _PASSING:
        found.append(readers[0].node.outputs[0])
    return () if any(one.is_graph_output() for one in found) else tuple(found)
