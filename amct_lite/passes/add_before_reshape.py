"""A bias behind a Reshape that splits the columns of a product is added in front of it, where it is the bias of that layer.

    MatMul(x, W) → Reshape to (…, heads, size) → Add(heads, size)          Keras writes its attention so

What is added to each element stays the same: the last axes of the result, together, are the columns.
"""

from __future__ import annotations

from math import prod

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.passes.findings import Findings
from amct_lite.passes.readers import sole_reader
from amct_lite.types import AnyArray, PassReport


def run(model: ir.Model) -> PassReport:
    findings = Findings("add_before_reshape")
    for node in tuple(model.graph):
        if node.op_type == "MatMul" and not node.domain:
            findings.changed += _swap(node)
    return findings.report()


def _swap(matmul: ir.Node) -> bool:
    weight, reshape = ir.constant_of(matmul.inputs[1]), sole_reader(matmul.outputs[0])
    add = sole_reader(reshape.outputs[0]) if reshape is not None and reshape.op_type == "Reshape" else None
    if weight is None or reshape is None or add is None or add.op_type != "Add" or add.outputs[0].is_graph_output():
        return False
    bias = ir.constant_of(add.inputs[1 if add.inputs[0] is reshape.outputs[0] else 0])
    terms = None if bias is None else _by_column(bias, ir.dims_of(reshape.outputs[0]) or (), weight.shape[-1])
    if terms is None:
        return False
    b = Inserter(reshape, str(matmul.name))
    ir.replace_input(reshape, 0, b.op("Add", matmul.outputs[0], b.constant(terms)))
    ir.redirect(add.outputs[0], reshape.outputs[0])
    ir.remove_node(add)
    return True


def _by_column(bias: AnyArray, dims: ir.Dims, columns: int) -> AnyArray | None:
    """What `bias`, added to a tensor of sizes `dims`, adds to each of the columns that its last axes were; None where that is
    not the same for all rows, or not known.
    """
    shape = (1,) * (len(dims) - bias.ndim) + bias.shape
    for axis in range(len(dims) - 2, -1, -1):
        sizes = [dim for dim in dims[axis:] if isinstance(dim, int)]
        if len(sizes) < len(dims) - axis:
            return None
        if prod(sizes) == columns:
            same = len(shape) == len(dims) and prod(shape[:axis]) == 1
            return np.ascontiguousarray(np.broadcast_to(bias.reshape(shape[axis:]), sizes)).reshape(-1) if same else None
    return None
