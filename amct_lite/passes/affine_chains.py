"""Mul, Div, Add and Sub by constants of a number a channel, one behind the other: together one map y = a·x + t per channel.

For a tensor of rank r a constant must, after broadcasting, be of size 1 on each axis but the channel axis 1, and of size 1 or C
there; it must not add an axis. `c - x` counts, `c / x` does not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from amct_lite import ir
from amct_lite.passes.channel_affine import ChannelAffine
from amct_lite.passes.readers import sole_reader
from amct_lite.types import AnyArray, DoubleArray

FACTORS = frozenset({"Mul", "Div"})
TERMS = frozenset({"Add", "Sub"})


class AffineChain(NamedTuple):
    """nodes: in their order, perhaps none. refused: the node behind them that would go on but for its constant, and why."""

    affine: ChannelAffine
    nodes: tuple[ir.Node, ...]
    refused: tuple[ir.Node, str] | None


def affine_chain(node: ir.Node | None, value: ir.Value, channels: int, rank: int | None) -> AffineChain:
    """What stands behind `value`, which has these channels on axis 1, from its reader `node` on, as long as nobody else reads
    what is between."""
    affine, nodes = ChannelAffine.identity(channels), list[ir.Node]()
    while node is not None and (constant := _operand(node, value)) is not None:
        numbers = _per_channel(constant, channels, rank)
        if isinstance(numbers, str):
            return AffineChain(affine, tuple(nodes), (node, numbers))
        affine = _followed_by(affine, node, numbers, constant_first=node.inputs[1] is value)
        nodes.append(node)
        value = node.outputs[0]
        node = sole_reader(value)
    return AffineChain(affine, tuple(nodes), None)


def _operand(node: ir.Node, value: ir.Value) -> AnyArray | None:
    """The constant of a Mul, Div, Add or Sub of `value` with one, but not of c / x."""
    if node.op_type not in FACTORS | TERMS or node.domain:
        return None
    constant_first = node.inputs[1] is value
    return None if constant_first and node.op_type == "Div" else ir.constant_of(node.inputs[0 if constant_first else 1])


def _per_channel(constant: AnyArray, channels: int, rank: int | None) -> DoubleArray | str:
    """(C,) float64: the constant operand of a node, or why it is not one number per channel."""
    if not np.issubdtype(constant.dtype, np.floating):
        return "its constant is not of real numbers"
    if rank is None or rank < 2:
        return "the rank of its input is not known" if rank is None else "its input has no channel axis"
    padded = (1,) * (rank - constant.ndim) + constant.shape
    if len(padded) > rank or padded[1] not in (1, channels) or constant.size != padded[1]:
        return f"its constant of shape {constant.shape} is not one number for each of the {channels} channels on axis 1"
    return np.broadcast_to(constant.astype(np.float64).reshape(-1), (channels,))


def _followed_by(affine: ChannelAffine, node: ir.Node, c: DoubleArray, *, constant_first: bool) -> ChannelAffine:
    if node.op_type == "Mul":
        return affine.then(c, 0.0)
    if node.op_type == "Add":
        return affine.then(1.0, c)
    if node.op_type == "Sub":
        return affine.then(-1.0, c) if constant_first else affine.then(1.0, -c)
    with np.errstate(all="ignore"):  # a division by zero shows as an infinite weight, and is refused as such
        return affine.then(1.0 / c, 0.0)
