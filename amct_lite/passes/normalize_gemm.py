"""Gemm gets one form: Y = A·B + C with B (K, N) and C (N,).

    Y = alpha·A'·B' + beta·C  →  transB and alpha go into a constant B, beta and broadcasting into a constant C

Layers that share a weight and ask for the same change go on sharing the changed one. Left alone, with the reason:
transA, an alpha or beta in front of something that is not constant, a C that differs from row to row.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.passes.constants import set_constant, take_name
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport

Shared = dict[tuple[ir.Value, bool, float], ir.Value]


def run(model: ir.Model) -> PassReport:
    findings = Findings("normalize_gemm")
    shared: Shared = {}
    for node in tuple(model.graph):
        if node.op_type != "Gemm" or node.domain:
            continue
        if ir.attribute(node, "transA", 0):
            findings.refuse(node, "its first operand is transposed (transA=1)")
            continue
        weight_changed = _normalize_weight(node, shared, findings)
        bias_changed = _normalize_bias(node, findings)
        findings.changed += weight_changed or bias_changed
    for (old, _, _), fresh in shared.items():
        take_name(fresh, old)
    return findings.report()


def _normalize_weight(node: ir.Node, shared: Shared, findings: Findings) -> bool:
    transposed = bool(ir.attribute(node, "transB", 0))
    alpha = float(ir.attribute(node, "alpha", 1.0))
    if not transposed and alpha == 1.0:
        return False
    value, weight = node.inputs[1], ir.constant_of(node.inputs[1])
    if value is None or node.graph is None or weight is None or not np.issubdtype(weight.dtype, np.floating):
        findings.refuse(node, f"its weight is not a constant of real numbers (transB={int(transposed)}, alpha={alpha})")
        return False
    key = (value, transposed, alpha)
    if key not in shared:
        scaled = (weight.astype(np.float64) * alpha).astype(weight.dtype) if alpha != 1.0 else weight
        array = np.ascontiguousarray(scaled.T) if transposed else scaled
        shared[key] = ir.add_initializer(node.graph, f"{value.name}", array)
    ir.replace_input(node, 1, shared[key])
    ir.set_attribute(node, "transB", 0)
    ir.set_attribute(node, "alpha", 1.0)
    return True


def _normalize_bias(node: ir.Node, findings: Findings) -> bool:
    beta = float(ir.attribute(node, "beta", 1.0))
    if len(node.inputs) < 3 or node.inputs[2] is None:
        if beta != 1.0:
            ir.set_attribute(node, "beta", 1.0)
        return beta != 1.0
    bias, weight = ir.constant_of(node.inputs[2]), ir.constant_of(node.inputs[1])
    if bias is None or not np.issubdtype(bias.dtype, np.floating):
        if beta != 1.0:
            findings.refuse(node, f"its bias is not a constant of real numbers (beta={beta})")
        return False
    changed = beta != 1.0
    if changed:
        bias = (bias.astype(np.float64) * beta).astype(bias.dtype)
    if weight is not None:
        columns = weight.shape[0 if ir.attribute(node, "transB", 0) else 1]
        if bias.size == 1 or bias.shape in ((columns,), (1, columns)):
            changed = changed or bias.shape != (columns,)
            bias = np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (columns,)))
        else:
            findings.refuse(node, f"its bias of shape {bias.shape} is not one number for each of the {columns} columns")
    if changed:
        set_constant(node, 2, bias)
        ir.set_attribute(node, "beta", 1.0)
    return changed
