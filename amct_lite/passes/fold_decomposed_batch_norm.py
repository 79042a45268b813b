"""Mul, Div, Add and Sub by per-channel constants disappear into the layer in front of them.

That is a BatchNormalization written as small ops, or what follows one:

    layer → (Mul | Div | Add | Sub by a constant)+          layer: Conv, ConvTranspose, Gemm, BatchNormalization

The whole chain becomes one map (`affine_chains`) before it is folded, so no intermediate product is rounded.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes.affine_chains import affine_chain
from amct_lite.passes.channel_affine import CONVOLUTIONS, LAYERS, absorb_after, channels_out
from amct_lite.passes.findings import Findings
from amct_lite.passes.readers import sole_reader
from amct_lite.types import FUSE_ALL, Fusion, PassReport


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
    affine, chain, refused = affine_chain(sole_reader(layer.outputs[0]), layer.outputs[0], channels, rank)
    if refused is not None:
        findings.refuse(*refused)
    if not chain:
        return
    apart = fusion.keeps_apart(*(str(node.name) for node in (layer, *chain)))
    reason = findings.keep_apart(layer, chain[0]) if apart else absorb_after(layer, affine)
    if reason is not None:
        findings.refuse(chain[0], reason)
        return
    ir.redirect(chain[-1].outputs[0], layer.outputs[0])
    for node in reversed(chain):
        ir.remove_node(node)
    findings.changed += len(chain)


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
