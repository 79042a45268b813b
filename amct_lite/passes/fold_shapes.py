"""Sizes that are fixed are numbers: who asks a tensor for them gets these, and what is computed from them alone is folded.

Exporters compute the sizes of a Reshape or the indices of a window from the tensors of the moment, thousands of nodes in a Swin
transformer, though all sizes but that of the batch are fixed. As long as they are computed, nothing behind has a known shape.
Only what follows from the inputs counts, not what the file says of other tensors, which may be of another size of image.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from amct_lite import ir
from amct_lite.passes import fold_constants, remove_dead
from amct_lite.passes.findings import Findings
from amct_lite.passes.readers import SIZES
from amct_lite.types import AnyArray, PassReport


def run(model: ir.Model) -> PassReport:
    findings = Findings("fold_shapes")
    while any(map(_asks, model.graph)) and (folded := fold_known(model, _inferred(model))):
        findings.changed += folded
    return findings.report()


def fold_known(model: ir.Model, dims_of: Callable[[ir.Value], ir.Dims | None]) -> int:
    """Put constants in the place of what is read of Shape and Size, as far as `dims_of` knows it, and fold what follows from
    them; returns how many. Shapes inferred anew may then know more."""
    count = 0
    for node in filter(_asks, tuple(model.graph)):
        dims = dims_of(node.inputs[0]) if node.inputs[0] is not None else None
        for asking, array in _answers(node, dims) if dims is not None else ():
            if readers := ir.uses(asking.outputs[0]):
                answer = ir.add_initializer(model.graph, f"{asking.name}.folded", array)
                ir.redirect(asking.outputs[0], answer, readers)
                count += 1
    if count:
        fold_constants.run(model)
        remove_dead.run(model)
    return count


def _inferred(model: ir.Model) -> Callable[[ir.Value], ir.Dims | None]:
    shapes = ir.inferred_shapes(model)
    return lambda value: shapes.get(str(value.name))


def _asks(node: ir.Node) -> bool:
    return node.op_type in SIZES and not node.domain


def _answers(node: ir.Node, dims: ir.Dims) -> list[tuple[ir.Node, AnyArray]]:
    """(node, its result) for the Shape or Size `node`, or for those that pick known sizes from it where others are open."""
    if node.op_type == "Shape":
        dims = dims[ir.attribute(node, "start", 0) : ir.attribute(node, "end", None)]
    sizes = [dim for dim in dims if isinstance(dim, int)]
    if len(sizes) == len(dims):
        return [(node, np.array(sizes if node.op_type == "Shape" else prod(sizes), np.int64))]
    if node.op_type == "Size":
        return []
    picked = [(use.node, _picked(use.node, dims)) for use in ir.uses(node.outputs[0]) if use.idx == 0]
    return [(picking, array) for picking, array in picked if array is not None]


def _picked(node: ir.Node, dims: ir.Dims) -> AnyArray | None:
    """What a Gather or Slice takes of a shape; None where one of these sizes is open, or it is not known which they are."""
    arguments = [array for value in node.inputs[1:] if (array := ir.constant_of(value)) is not None]
    if node.domain or not arguments or len(arguments) < len(node.inputs) - 1:
        return None
    places = np.arange(len(dims))
    if node.op_type == "Gather" and (np.abs(arguments[0] + 0.5) < len(dims)).all():
        chosen = places[arguments[0]]
    elif node.op_type == "Slice" and 2 <= len(arguments) <= 4 and all(array.size == 1 for array in arguments):
        start, end, _axis, step = (*(int(array.item()) for array in arguments), *(0, 1)[len(arguments) - 2 :])
        chosen = places[start:end:step]
    else:
        return None
    sizes = [dims[place] for place in chosen.flat]
    known = all(isinstance(size, int) for size in sizes)
    return np.array(sizes, np.int64).reshape(chosen.shape) if known else None
