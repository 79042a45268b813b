"""Mul, Div, Add and Sub by per-channel constants disappear into the layer in front of them.

That is a BatchNormalization written as small ops, or what follows one:

    layer → (Mul | Div | Add | Sub by a constant)+          layer: Conv, ConvTranspose, Gemm, BatchNormalization

The whole chain becomes one map y = a·x + t per channel (see `channel_affine`) before it is folded, so no intermediate
product is rounded. For an output of rank r a constant must, after broadcasting, be of size 1 on each axis but the
channel axis 1, and of size 1 or C there; it must not add an axis. `c - x` counts, `c / x` does not.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.passes.channel_affine import CONVOLUTIONS, LAYERS, ChannelAffine, absorb_after, channels_out
from amct_lite.passes.findings import Findings
from amct_lite.passes.readers import sole_reader
from amct_lite.types import FUSE_ALL, DoubleArray, Fusion, PassReport

_OPS = frozenset({"Mul", "Div", "Add", "Sub"})


def run(model: ir.Model, fusion: Fusion = FUSE_ALL) -> PassReport:
    findings = Findings("fold_decomposed_batch_norm")
    for layer in tuple(model.graph):
        if layer.op_type in LAYERS | {"BatchNormalization"} and not layer.domain:
            _fold_chain(layer, fusion, findings)
    return findings.report()


def _fold_chain(layer: ir.Node, fusion: Fusion, findings: Findings) -> None:
    channels, rank = channels_out(layer), _rank(layer)
    if channels is None or _trains(layer):
        return
    affine, chain = ChannelAffine.identity(channels), list[ir.Node]()
    value = layer.outputs[0]
    while (node := _constant_reader(value)) is not None:
        constant = _per_channel(node, value, channels, rank)
        if isinstance(constant, str):
            findings.refuse(node, constant)
            break
        affine = _followed_by(affine, node, constant, constant_first=node.inputs[1] is value)
        chain.append(node)
        value = node.outputs[0]
    if not chain:
        return
    apart = fusion.keeps_apart(*(str(node.name) for node in (layer, *chain)))
    reason = findings.keep_apart(layer, chain[0]) if apart else absorb_after(layer, affine)
    if reason is not None:
        findings.refuse(chain[0], reason)
        return
    ir.redirect(value, layer.outputs[0])
    for node in reversed(chain):
        ir.remove_node(node)
    findings.changed += len(chain)


def _constant_reader(value: ir.Value) -> ir.Node | None:
    """The only reader of `value`, if it is a Mul, Div, Add or Sub with a constant, but not c / x."""
    node = sole_reader(value)
    if node is None or node.op_type not in _OPS or node.domain:
        return None
    constant_first = node.inputs[1] is value
    if ir.constant_of(node.inputs[0 if constant_first else 1]) is None:
        return None
    return None if constant_first and node.op_type == "Div" else node


def _per_channel(node: ir.Node, value: ir.Value, channels: int, rank: int | None) -> DoubleArray | str:
    """(C,) float64: the constant operand of `node`, or why it is not one number per channel."""
    constant = ir.constant_of(node.inputs[0 if node.inputs[1] is value else 1])
    if constant is None or not np.issubdtype(constant.dtype, np.floating):
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


def _rank(layer: ir.Node) -> int | None:
    """Of the layer's output."""
    if layer.op_type in CONVOLUTIONS:
        weight = ir.constant_of(layer.inputs[1])
        return None if weight is None else weight.ndim
    if layer.op_type == "Gemm":
        return 2
    shape = layer.outputs[0].shape
    return None if shape is None else shape.rank()


def _trains(layer: ir.Node) -> bool:
    """Whether it is a BatchNormalization whose further outputs depend on its scale and bias staying what they are."""
    return layer.op_type == "BatchNormalization" and len(layer.outputs) > 1
