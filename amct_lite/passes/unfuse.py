"""What ONNX Runtime fused in a model that it optimized and wrote becomes operators of ONNX again, which hold layers:

    FusedConv, FusedGemm          Conv or Gemm, the tensor added to it, its activation
    FusedMatMul                   Transpose, MatMul, Mul
    BiasGelu, FastGelu, Gelu      Add, and a Gelu as exporters write it
    QuickGelu                     x · Sigmoid(alpha · x)
    SkipLayerNormalization        Add and LayerNormalization (opset 17)

Refused: transposed batches; results of a normalization beside the first and the sum. Source: ONNX Runtime's contrib operators.
"""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

import numpy as np

from amct_lite import ir
from amct_lite.ir.adapting import NotAdaptable, Site
from amct_lite.ir.build import Inserter
from amct_lite.passes.findings import Findings
from amct_lite.types import AnyArray, PassReport

_DOMAIN = "com.microsoft"
_LAYER_NORM_OPSET = 17
_PARAMETERS = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta")}
"""Activation → the attributes that its numbers are; those of Clip are inputs, others have none."""


def run(model: ir.Model) -> PassReport:
    findings = Findings("unfuse")
    fused = [node for node in model.graph if node.domain == _DOMAIN and node.op_type in _WRITE]
    if fused:
        ir.infer_shapes(model)
    for node in fused:
        site = Site(node, model.graph)
        try:
            site.dtype()  # every number is written in it: not known, nothing is begun
            _WRITE[node.op_type](site)
            findings.changed += 1
        except NotAdaptable as reason:
            findings.refuse(node, str(reason))
    if findings.changed:
        count = "1 operator" if findings.changed == 1 else f"{findings.changed} operators"
        findings.notes.append(f"{count} that ONNX Runtime fused stand apart again")
    return findings.report()


def _conv(site: Site) -> None:
    params = list(site.take("activation_params", ()))
    _activated(site, site.take("activation", ""), params)
    added = site.node.inputs[3] if len(site.node.inputs) > 3 else None
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
    b = Inserter(site.node, str(site.node.name))
    half, one, root = (b.constant(_like(site, number)) for number in (0.5, 1.0, sqrt(2)))
    ratio = b.op("Add", b.op("Erf", b.op("Div", x, root)), one)
    ir.replace_node(site.node, b.op("Mul", b.op("Mul", x, ratio), half))


def _fast_gelu(site: Site) -> None:
    x = _biased(site)
    b = Inserter(site.node, str(site.node.name))
    half, one, three, cubic, root = (b.constant(_like(site, number)) for number in (0.5, 1.0, 3.0, 0.044715, sqrt(2 / pi)))
    inner = b.op("Mul", b.op("Add", x, b.op("Mul", b.op("Pow", x, three), cubic)), root)
    ratio = b.op("Add", b.op("Tanh", inner), one)
    ir.replace_node(site.node, b.op("Mul", b.op("Mul", x, ratio), half))


def _quick_gelu(site: Site) -> None:
    x, alpha = site.node.inputs[0], ir.attribute(site.node, "alpha", 1.702)
    b = Inserter(site.node, str(site.node.name))
    scaled = x if alpha == 1.0 else b.op("Mul", x, b.constant(_like(site, alpha)))
    ir.replace_node(site.node, b.op("Mul", x, b.op("Sigmoid", scaled)))


def _skip_layer_norm(site: Site) -> None:
    if site.graph.opset_imports[""] < _LAYER_NORM_OPSET:
        raise NotAdaptable(f"LayerNormalization is of opset {_LAYER_NORM_OPSET}")
    if not (site.unused(1) and site.unused(2)):
        raise NotAdaptable("its mean or deviation is read")
    if not site.unused(3) and site.node.outputs[3].is_graph_output():
        raise NotAdaptable("its sum is an output of the model")
    x, skip, gamma, *rest = site.node.inputs
    beta, bias = (*rest, None, None)[:2]
    b = Inserter(site.node, str(site.node.name))
    total = b.op("Add", x, skip)
    if bias is not None:
        total = b.op("Add", total, bias)
    result = b.op("LayerNormalization", total, gamma, beta, epsilon=ir.attribute(site.node, "epsilon", 1e-12))
    if not site.unused(3):
        ir.redirect(site.node.outputs[3], total)
    site.node.resize_outputs(1)
    ir.replace_node(site.node, result)


def _biased(site: Site) -> ir.Value | None:
    """What a Gelu is of."""
    x, bias = (*site.node.inputs, None)[:2]
    return x if bias is None else Inserter(site.node, str(site.node.name)).op("Add", x, bias)


def _like(site: Site, number: float) -> AnyArray:
    return np.asarray(number, site.dtype())


def _becomes(node: ir.Node, op_type: str) -> None:
    node.domain, node.op_type = "", op_type


_WRITE: dict[str, Callable[[Site], None]] = {
    "FusedConv": _conv,
    "FusedGemm": _gemm,
    "FusedMatMul": _matmul,
    "BiasGelu": _gelu,
    "Gelu": _gelu,
    "FastGelu": _fast_gelu,
    "QuickGelu": _quick_gelu,
    "SkipLayerNormalization": _skip_layer_norm,
}
