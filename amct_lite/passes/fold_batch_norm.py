"""An inference BatchNormalization disappears into the layer in front of it, or into the Conv behind it.

    Conv | ConvTranspose | Gemm → BatchNormalization        folded back, if nobody else reads the layer's output
    BatchNormalization → Conv without padding               folded forward, if nobody else reads the normalized values

The algebra is that of `channel_affine`. A weight that several layers share is copied for the layer that changes.
Left alone, with the reason: layers that are to stay apart (`Fusion`), training mode, statistics that are not constant, another
reader, zero padding behind, and a fold that would make a weight infinite or NaN.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes.channel_affine import (
    LAYERS,
    ChannelAffine,
    absorb_after,
    absorb_before,
    batch_norm_affine,
)
from amct_lite.passes.findings import Findings
from amct_lite.passes.readers import sole_reader
from amct_lite.types import FUSE_ALL, Fusion, PassReport


def run(model: ir.Model, fusion: Fusion = FUSE_ALL) -> PassReport:
    findings = Findings("fold_batch_norm")
    norms = [node for node in model.graph if node.op_type == "BatchNormalization" and not node.domain]
    reasons: dict[ir.Node, str] = {}
    for node in norms:
        reason = _fold_back(node, fusion, findings)
        if reason is None:
            findings.changed += 1
        else:
            reasons[node] = reason
    # From the back: of two normalizations in a row in front of a Conv the second has to go first.
    for node in reversed(tuple(reasons)):
        if _reads_forward(node):
            reason = _fold_forward(node, fusion, findings)
            if reason is None:
                findings.changed += 1
                del reasons[node]
            else:
                reasons[node] = reason
    for node, reason in reasons.items():
        findings.refuse(node, reason)
    return findings.report()


def _fold_back(node: ir.Node, fusion: Fusion, findings: Findings) -> str | None:
    affine = batch_norm_affine(node)
    if isinstance(affine, str):
        return affine
    layer = _producer(node)
    if layer is None:
        return "neither a Conv, ConvTranspose or Gemm in front of it nor a Conv behind it can take it"
    if sole_reader(layer.outputs[0]) is not node:
        return f"the output of {layer.name!r} has another reader"
    if fusion.keeps_apart(str(layer.name), str(node.name)):
        return findings.keep_apart(layer, node)
    reason = absorb_after(layer, affine)
    if reason is None:
        ir.redirect(node.outputs[0], layer.outputs[0])
        ir.remove_node(node)
    else:  # a pair that looks like all others: worth a word
        findings.notes.append(f"{node.name} (BatchNormalization) is not folded: {reason}")
    return reason


def _reads_forward(node: ir.Node) -> bool:
    """Whether the normalization stands alone in front of a Conv, and no layer stands in front of it."""
    reader = sole_reader(node.outputs[0])
    return (
        _producer(node) is None
        and reader is not None
        and reader.op_type == "Conv"
        and not reader.domain
        and reader.inputs[0] is node.outputs[0]
    )


def _fold_forward(node: ir.Node, fusion: Fusion, findings: Findings) -> str | None:
    affine = batch_norm_affine(node)
    conv, source = sole_reader(node.outputs[0]), node.inputs[0]
    if not isinstance(affine, ChannelAffine) or conv is None or source is None:
        return str(affine)
    if fusion.keeps_apart(str(conv.name), str(node.name)):
        return findings.keep_apart(conv, node)
    reason = absorb_before(conv, affine)
    if reason is None:
        ir.replace_input(conv, 0, source)
        ir.remove_node(node)
    return reason


def _producer(node: ir.Node) -> ir.Node | None:
    """The layer that makes the values to normalize, if it is one that can take the normalization."""
    source = node.inputs[0]
    layer = ir.producer_of(source)
    return layer if layer is not None and layer.op_type in LAYERS and not layer.domain else None
