"""Operators between the layers for which ONNX Runtime has integer kernels on the CPU: one row each.

Each was seen to become an integer kernel when a DequantizeLinear stands in front of every data input and a QuantizeLinear
behind it (ONNX Runtime 1.31); `tests/flow/test_kernel_facts.py` asks the installed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from amct_lite import ir
from amct_lite.ops.pool import dilated
from amct_lite.passes.channel_affine import ChannelAffine, batch_norm_affine
from amct_lite.passes.constants import number_of
from amct_lite.passes.take_apart import line_of

_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Kernel:
    """An operator with an integer kernel.

    data: indices of its data inputs, None for all. number: one of them may be a constant number instead. one_grid: it only
    moves values, so what goes in and out must have one scale. taken: whether this node is of the form that has the kernel.
    """

    data: tuple[int, ...] | None = (0,)
    number: bool = False
    one_grid: bool = False
    taken: Callable[[ir.Node], bool] = field(default=lambda _node: True)

    def indices(self, node: ir.Node) -> tuple[int, ...]:
        """The indices of the data inputs of `node`."""
        if self.data is not None:
            return self.data
        return tuple(i for i, value in enumerate(node.inputs) if not (self.number and number_of(value) is not None))


def has_number(node: ir.Node) -> bool:
    """Whether `node` computes with a constant number."""
    return KERNELS[node.op_type].number and any(number_of(value) is not None for value in node.inputs)


def _usable_number(node: ir.Node) -> bool:
    """No number, or one that a code can stand for, as can its reciprocal: it becomes a scale."""
    numbers = [number for value in node.inputs if (number := number_of(value)) is not None]
    return all(_SMALLEST <= abs(number) <= 1 / _SMALLEST for number in numbers)


def _by_number(node: ir.Node) -> bool:
    """A tensor, less or divided by a number: the sum or product with another number."""
    return number_of(node.inputs[1]) is not None and _usable_number(node)


def _nearest(node: ir.Node) -> bool:
    return ir.attribute(node, "mode", "nearest") == "nearest"


def _one_output(node: ir.Node) -> bool:
    return len([output for output in node.outputs if output.name]) == 1


def _spatial_mean(node: ir.Node) -> bool:
    """A mean over all that lies behind the channels of an image: a GlobalAveragePool in other words."""
    axes = ir.attribute(node, "axes", None)
    if axes is None and len(node.inputs) > 1:
        constant = ir.constant_of(node.inputs[1])
        axes = None if constant is None else constant.tolist()
    dims = ir.dims_of(node.inputs[0])
    return axes is not None and dims is not None and sorted(a % len(dims) for a in axes) == [2, 3] and len(dims) == 4


def _scales_channels(node: ir.Node) -> bool:
    """An image, each channel of which is multiplied by a number and moved by another: a depthwise Conv in other words."""
    affine, dims = batch_norm_affine(node), ir.dims_of(node.outputs[0])
    if not isinstance(affine, ChannelAffine) or dims is None or len(dims) != 4:
        return False
    return bool(np.isfinite(affine.scale).all() and np.isfinite(affine.shift).all())


def _rising(node: ir.Node) -> bool:
    """A HardSigmoid that is what a sum with a positive number saturates to, but for its scale."""
    return min(line_of(node)) > 0


def _zero_padding(node: ir.Node) -> bool:
    """A Pad with zeros, which are the zero point among the codes."""
    value = node.inputs[2] if len(node.inputs) > 2 else None
    constant = ir.constant_of(value)
    zeros = value is None or (constant is not None and not constant.any())
    return ir.attribute(node, "mode", "constant") == "constant" and zeros


KERNELS: Mapping[str, Kernel] = {
    "Add": Kernel(data=None, number=True, taken=_usable_number),
    "Mul": Kernel(data=None, number=True, taken=_usable_number),
    "Sub": Kernel(number=True, taken=_by_number),
    "Div": Kernel(number=True, taken=_by_number),
    "AveragePool": Kernel(taken=lambda node: not dilated(node)),
    "BatchNormalization": Kernel(taken=_scales_channels),
    "GlobalAveragePool": Kernel(),
    "HardSigmoid": Kernel(taken=_rising),
    "LeakyRelu": Kernel(),
    "ReduceMean": Kernel(taken=_spatial_mean),
    "Sigmoid": Kernel(),
    "Concat": Kernel(data=None, one_grid=True),
    "DepthToSpace": Kernel(one_grid=True),
    "Flatten": Kernel(one_grid=True),
    "MaxPool": Kernel(one_grid=True, taken=_one_output),
    "Pad": Kernel(one_grid=True, taken=_zero_padding),
    "Reshape": Kernel(one_grid=True),
    "Resize": Kernel(one_grid=True, taken=_nearest),
    "Slice": Kernel(one_grid=True),
    "Split": Kernel(one_grid=True),
    "Squeeze": Kernel(one_grid=True),
    "Transpose": Kernel(one_grid=True),
    "Unsqueeze": Kernel(one_grid=True),
}
INTEGERS_ONLY = frozenset({"Conv", "ConvTranspose"})
"""Layers whose integer kernel cannot write float. (A ConvTranspose becomes a Conv.)"""


def joins_channels(node: ir.Node) -> bool:
    """Whether `node` is a Concat of images one behind the other, channel by channel."""
    dims = ir.dims_of(node.outputs[0])
    rank = len(dims) if dims is not None else 0
    return node.op_type == "Concat" and not node.domain and rank == 4 and ir.attribute(node, "axis", 0) % rank == 1


def is_product(conv: ir.Node) -> bool:
    """Whether `conv` sees a single pixel, as a classifier behind a global pooling does: then it is a matrix product."""
    before, kernel, behind = map(ir.dims_of, (*conv.inputs[:2], conv.outputs[0]))
    if before is None or kernel is None or behind is None or ir.attribute(conv, "group", 1) != 1:
        return False
    pads: list[int] = ir.attribute(conv, "pads", [])
    return not any(pads) and all(size == 1 for size in (*before[2:], *kernel[2:], *behind[2:]))


def integers_only(layer: ir.Node) -> bool:
    """Whether `layer`, as it is exported, has an integer kernel that cannot write float."""
    return layer.op_type in INTEGERS_ONLY and not is_product(layer)
