"""Mul and Add by a number a channel, that no layer in front could take, become the BatchNormalization that they are.

    (Mul | Div | Add | Sub by a constant)+          at least a factor and a term, on an image

Keras writes its normalizations so. One node has an integer kernel in ONNX Runtime, and may disappear into the Conv behind it.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.passes.affine_chains import FACTORS, TERMS, affine_chain
from amct_lite.passes.findings import Findings
from amct_lite.types import FUSE_ALL, Fusion, PassReport

_IMAGE = 4
"""The rank that the integer kernels want."""


def run(model: ir.Model, fusion: Fusion = FUSE_ALL) -> PassReport:
    findings = Findings("spell_batch_norm")
    for node in tuple(model.graph):
        if node.graph is not None and node.op_type in FACTORS | TERMS and not node.domain:
            findings.changed += _spell(node, fusion)
    return findings.report()


def _spell(first: ir.Node, fusion: Fusion) -> int:
    """How many nodes from `first` on are one now."""
    image = first.inputs[0 if ir.constant_of(first.inputs[0]) is None else 1]
    dims = ir.dims_of(image) or ()
    if image is None or image.dtype != ir.DataType.FLOAT or len(dims) != _IMAGE or not isinstance(dims[1], int):
        return 0
    affine, chain, _ = affine_chain(first, image, dims[1], _IMAGE)
    types, names = {node.op_type for node in chain}, [str(node.name) for node in chain]
    if not (types & FACTORS and types & TERMS) or fusion.keeps_apart(*names):
        return 0
    with np.errstate(over="ignore"):
        numbers = [array.astype(np.float32) for array in (affine.scale, affine.shift)]
    if not np.isfinite(numbers).all() or all(len(set(array.tolist())) == 1 for array in numbers):
        return 0
    b = Inserter(first, names[0])
    mean, variance = np.zeros_like(numbers[0]), np.ones_like(numbers[0])
    norm = b.op("BatchNormalization", image, *map(b.constant, (*numbers, mean, variance)), epsilon=0.0)
    ir.replace_node(chain[-1], norm)
    for node in reversed(chain[:-1]):
        ir.remove_node(node)
    return len(chain)
