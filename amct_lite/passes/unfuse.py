"""What ONNX Runtime fused in a model that it optimized and wrote becomes operators of ONNX again, which hold layers:

    FusedConv, FusedGemm          Conv or Gemm, the tensor added to it, its activation
    FusedMatMul                   Transpose, MatMul, Mul
    BiasGelu, FastGelu, Gelu      Add, and a Gelu as exporters write it
    QuickGelu                     x · Sigmoid(alpha · x)
    normalizations                `normalizations` says what of
    attention, ONNX's own too     `attentions`; ONNX Runtime takes the same time for its parts

Refused: transposed batches. Source: ONNX Runtime's contrib operators.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import numpy as np

from amct_lite import ir
from amct_lite.ir.adapting import NotAdaptable, Site
from amct_lite.passes import attentions, normalizations
from amct_lite.passes.findings import Findings
from amct_lite.types import AnyArray, PassReport

_DOMAIN = "com.microsoft"
_PARAMETERS = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}
"""Activation → the attributes that its numbers are; those of Clip are inputs, others have none."""


def run(model: ir.Model) -> PassReport:
    findings = Findings("unfuse")
    left = [node for node in model.graph if _is_fused(node, ir.opset(model))]
    types, refused = {node: node.op_type for node in left}, dict[ir.Node, str]()
    while left:
        ir.infer_shapes(model)  # what was written may tell more of what is behind
        refused = {node: reason for node in left if (reason := _write(Site(node, model.graph)))}
        left = list(refused) if len(refused) < len(left) else []
    for node, reason in refused.items():
        findings.refuse(node, reason)
    findings.changed = len(types) - len(refused)
    if findings.changed:
        names = sorted({op_type for node, op_type in types.items() if node not in refused})
        count = "1 fused operator stands" if findings.changed == 1 else f"{findings.changed} fused operators stand"
        findings.notes.append(f"{count} apart ({', '.join(names)}): their parts are called after them")
    return findings.report()


def _is_fused(node: ir.Node, version: int) -> bool:
    newer = node.op_type == "LayerNormalization" and version >= normalizations.LAYER_NORM_OPSET
    return (node.domain, node.op_type) in _WRITE and not newer


def _write(site: Site) -> str:
    """Why it stays, empty where it does not."""
    try:
        site.dtype()  # every number is written in it: not known, nothing is begun
        _WRITE[site.node.domain, site.node.op_type](site)
    except NotAdaptable as reason:
        return str(reason)
    return ""


def _conv(site: Site) -> None:
    params = list(site.take("activation_params", ()))
    _activated(site, site.take("activation", ""), params)
    added = site.inputs(4)[3]
    site.node.resize_inputs(min(len(site.node.inputs), 3))
    if added is not None:
        site.finish_with("Add", added)
    _becomes(site.node, "Conv")


def _gemm(site: Site) -> None:
    params = [site.take(f"activation_{name}", None) for name in ("alpha", "beta", "gamma")]
    _activated(site, site.take("activation", ""), [value for value in params if value is not None])
    _becomes(site.node, "Gemm")


def _activated(site: Site, activation: str, params: list[float]) -> None:
    if activation == "Clip":
        bounds = zip(("min", "max"), params, strict=False)
        site.finish_with("Clip", *(site.constant(name, _like(site, value)) for name, value in bounds))
    elif activation:
        site.finish_with(activation, **dict(zip(_PARAMETERS.get(activation, ()), params, strict=False)))


def _matmul(site: Site) -> None:
    if any(ir.attribute(site.node, name, 0) for name in ("transBatchA", "transBatchB")):
        raise NotAdaptable("its batches are transposed")
    turned = [index for index, name in enumerate(("transA", "transB")) if ir.attribute(site.node, name, 0)]
    ranks = {index: len(ir.dims_of(site.node.inputs[index]) or ()) for index in turned}
    if 0 in ranks.values():
        raise NotAdaptable("the rank of what it transposes is not known")
    for index, rank in ranks.items():
        order = [*range(rank - 2), rank - 1, rank - 2] if rank > 1 else [0]
        ir.replace_input(site.node, index, site.before("Transpose", [site.node.inputs[index]], perm=order))
    alpha = ir.attribute(site.node, "alpha", 1.0)
    site.node.attributes.clear()
    if alpha != 1.0:
        site.finish_with("Mul", site.constant("alpha", _like(site, alpha)))
    _becomes(site.node, "MatMul")


def _gelu(site: Site) -> None:
    x = _biased(site)
    b = site.inserter()
    half, one, root = (b.constant(_like(site, number)) for number in (0.5, 1.0, sqrt(2)))
    ratio = b.op("Add", b.op("Erf", b.op("Div", x, root)), one)
    ir.replace_node(site.node, b.op("Mul", b.op("Mul", x, ratio), half))


def _fast_gelu(site: Site) -> None:
    x = _biased(site)
    b = site.inserter()
    half, one, three, cubic, root = (b.constant(_like(site, number)) for number in (0.5, 1.0, 3.0, 0.044715, sqrt(2 / pi)))
    inner = b.op("Mul", b.op("Add", x, b.op("Mul", b.op("Pow", x, three), cubic)), root)
    ratio = b.op("Add", b.op("Tanh", inner), one)
    ir.replace_node(site.node, b.op("Mul", b.op("Mul", x, ratio), half))


def _quick_gelu(site: Site) -> None:
    x, alpha = site.node.inputs[0], ir.attribute(site.node, "alpha", 1.702)
    b = site.inserter()
    scaled = x if alpha == 1.0 else b.op("Mul", x, b.constant(_like(site, alpha)))
    ir.replace_node(site.node, b.op("Mul", x, b.op("Sigmoid", scaled)))


def _biased(site: Site) -> ir.Value | None:
    """What a Gelu is of."""
    x, bias = site.inputs(2)
    return x if bias is None else site.inserter().op("Add", x, bias)


def _like(site: Site, number: float) -> AnyArray:
    return np.asarray(number, site.dtype())


def _becomes(node: ir.Node, op_type: str) -> None:
    node.domain, node.op_type = "", op_type


_WRITE: dict[tuple[str, str], Callable[[Site], None]] = {
    (_DOMAIN, "FusedConv"): _conv,
    (_DOMAIN, "FusedGemm"): _gemm,
    (_DOMAIN, "FusedMatMul"): _matmul,
    (_DOMAIN, "BiasGelu"): _gelu,
    (_DOMAIN, "Gelu"): _gelu,
    (_DOMAIN, "FastGelu"): _fast_gelu,
    (_DOMAIN, "QuickGelu"): _quick_gelu,
    (_DOMAIN, "SkipLayerNormalization"): normalizations.skip_layer_norm,
    (_DOMAIN, "SkipSimplifiedLayerNormalization"): normalizations.skip_rms_norm,
    ("", "SimplifiedLayerNormalization"): normalizations.rms_norm,
    ("", "LayerNormalization"): normalizations.layer_norm,
    (_DOMAIN, "EmbedLayerNormalization"): normalizations.embedding_norm,
    (_DOMAIN, "Attention"): attentions.contrib_attention,
    (_DOMAIN, "MultiHeadAttention"): attentions.multi_head_attention,
    ("", "Attention"): attentions.attention,
}
