"""A model in words that ATC knows.

ATC looks for the parser of an operator by the operator's name and the model's opset, and stops at a pair that nobody
registered ("No parser is registered for Op"). Those of CANN 8 end at opset 18, those of older releases at 13 or 15;
today's exporters write 20 and more. The parser of ReduceMean reads the axes as an attribute, also in opset 18, where
they are an input: it would take the mean of everything. That of ReduceSum reads the input.
Source: `OriginOpType` and `ParseParamsReduceMean` in the ONNX plugins of CANN.
"""

from __future__ import annotations

from collections.abc import Collection
from math import prod

import numpy as np

from amct_lite import ir, passes
from amct_lite.ir.adapting import Site
from amct_lite.passes.fold_shapes import fold_known

NEWEST_OPSET = 18


def for_atc(model: ir.Model, kept: Collection[str] = ()) -> ir.Model:
    """A copy of `model` (every shape static) of an opset that ATC has parsers for; of its own where that cannot be.

    kept: nodes that must stay, whether or not what they compute is known beforehand.
    """
    older, _ = ir.older_opset(model, NEWEST_OPSET)
    result = ir.clone(older)
    if older is not model:
        _tidy(result)
        result = result if {str(node.name) for node in result.graph}.issuperset(kept) else older
    if not ir.give_axes_as_attribute(result):
        for node in tuple(result.graph):
            if node.op_type == "ReduceMean" and ir.reads_axes(node):
                _as_sum(node)
    return result


def _as_sum(mean: ir.Node) -> None:
    """The mean as a sum, divided by the number of what is summed up."""
    sizes, axes = ir.sizes_of(mean.inputs[0]), ir.constant_of(mean.inputs[1])
    if sizes is None or axes is None or not axes.size:
        return
    site = Site(mean, ir.graph_of(mean))
    mean.op_type = "ReduceSum"
    share = 1 / prod(sizes[axis] for axis in axes.tolist())
    site.finish_with("Mul", site.constant("share", np.asarray(share, site.dtype())))


def obstacles(model: ir.Model) -> tuple[str, ...]:
    """The nodes for which `for_atc` leaves the opset as it is, and why."""
    return ir.older_opset(model, NEWEST_OPSET)[1]


def _tidy(model: ir.Model) -> None:
    """A definition asks for sizes and types, and has steps for cases that are none: all of that is known in a static model."""
    ir.infer_shapes(model)
    while fold_known(model, ir.dims_of):
        ir.infer_shapes(model)
    passes.lift_constants.run(model)
    passes.fold_constants.run(model)
    ir.infer_shapes(model)
    passes.remove_identity.run(model)
    for node in tuple(model.graph):
        if (same := _handed_on(node)) is not None and not node.outputs[0].is_graph_output():
            ir.redirect(node.outputs[0], same)
            ir.remove_node(node)
    passes.remove_dead.run(model)
    ir.state_least_opset(model)


def _handed_on(node: ir.Node) -> ir.Value | None:
    """The input that a Where always takes, or to which an Add adds nothing: no mask, of an Attention."""
    if node.domain or node.op_type not in {"Where", "Add"}:
        return None
    known = [ir.constant_of(value) for value in node.inputs]
    if node.op_type == "Add":
        taken = [node.inputs[1 - index] for index, array in enumerate(known) if array is not None and not array.any()]
    else:
        condition = known[0]
        taken = [node.inputs[1 if condition.all() else 2]] if condition is not None and len(set(condition.flat)) == 1 else []
    fitting = [value for value in taken if value is not None and ir.sizes_of(value) == ir.sizes_of(node.outputs[0])]
    return fitting[0] if fitting else None
