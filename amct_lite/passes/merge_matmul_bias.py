"""MatMul by a constant weight followed by one Add of a constant bias: the pair gets its one canonical form.

    y = Add(MatMul(x, W), b)        W : (…, Cout) constant, b : (Cout,) constant and second operand

The pair counts as one layer with a bias from then on, so the nodes stay two. A bias of shape (1, …, 1, Cout) loses its
leading axes, provided it has no more axes than the product (else the Add would make its output deeper).

Who reads the product for its sizes alone reads the sum: where sizes are fixed later, as for a deploy model, that reader is
gone, and what is a bias there must be one everywhere.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from amct_lite import ir
from amct_lite.passes.constants import set_constant
from amct_lite.passes.findings import Findings
from amct_lite.passes.readers import SIZES, giving_values
from amct_lite.types import AnyArray, PassReport


def run(model: ir.Model) -> PassReport:
    findings = Findings("merge_matmul_bias")
    giving = giving_values(model.graph)
    for node in tuple(model.graph):
        if node.op_type == "MatMul" and not node.domain and ir.constant_of(node.inputs[1]) is not None:
            _merge(node, giving, findings)
    return findings.report()


def _merge(matmul: ir.Node, giving: Container[ir.Node], findings: Findings) -> None:
    """giving: the nodes of the graph of which somebody wants values."""
    weight, product, graph = ir.constant_of(matmul.inputs[1]), matmul.outputs[0], ir.graph_of(matmul)
    if weight is None or weight.ndim < 2 or ir.constant_of(matmul.inputs[0]) is not None:
        return
    uses = ir.uses(product)
    measuring = [use for use in uses if use.node.graph is graph and _measures(use.node, giving)]
    for add, position in uses:
        bias = ir.constant_of(add.inputs[1 - position]) if add.op_type == "Add" and not add.domain else None
        if bias is None or add.graph is not graph:
            continue
        alone = not _measures(add, giving) and len(uses) - len(measuring) == 1
        reason = _refusal(product, weight, bias, alone=alone)
        if reason is not None:
            findings.refuse(add, reason)
        elif _canonicalise(add, position, bias) or measuring:
            findings.changed += 1
            if measuring:
                ir.redirect(product, add.outputs[0], measuring)
                graph.sort()  # a size may be asked for before there is a sum


def _measures(node: ir.Node, giving: Container[ir.Node]) -> bool:
    """Whether `node` is after sizes, not values."""
    return node not in giving or (node.op_type in SIZES and not node.domain)


def _refusal(product: ir.Value, weight: AnyArray, bias: AnyArray, *, alone: bool) -> str | None:
    """alone: nobody else wants values of `product`."""
    if product.is_graph_output() or not alone:
        return f"the product {product.name!r} has another reader, so what is added is not its bias"
    if not np.issubdtype(bias.dtype, np.floating):
        return "what it adds is not of real numbers"
    channels = weight.shape[-1]
    if bias.size != channels or (bias.ndim and bias.shape[-1] != channels):
        return f"its constant of shape {bias.shape} is not one number for each of the {channels} columns of the weight"
    rank = None if product.shape is None else product.shape.rank()
    if bias.ndim > 1 and (rank is None or bias.ndim > rank):
        return f"its constant of shape {bias.shape} may have more axes than the product it is added to"
    return None


def _canonicalise(add: ir.Node, product_position: int, bias: AnyArray) -> bool:
    """Whether anything had to be changed."""
    reshaped, swapped = bias.ndim != 1, product_position == 1
    if reshaped:
        set_constant(add, 1 - product_position, bias.reshape(-1))
    if swapped:
        first, second = add.inputs
        ir.replace_input(add, 0, second)
        ir.replace_input(add, 1, first)
    return reshaped or swapped
