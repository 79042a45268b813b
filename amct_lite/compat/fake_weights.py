"""Weights as the quantized model will have them, in a model that still computes in float.

AMCT calibrates so: the activations it sees carry the weights' rounding error. Rounding is idempotent, therefore the model
that is written also serves to make the integers from. The weights of ConvTranspose stay as they are, as in AMCT's own
calibration models; and so do all where a rounding is to be learned, which starts from the float network.
"""

from __future__ import annotations

from collections.abc import Mapping

from amct_lite import ir
from amct_lite.decide import weight_qparams
from amct_lite.numerics.affine import fake_quantize
from amct_lite.ops import Layer, bind
from amct_lite.types import QParams, QuantPlan

_LEFT_IN_FLOAT = frozenset({"ConvTranspose"})


def weight_factors(model: ir.Model, plan: QuantPlan) -> dict[str, QParams]:
    """Layer → the factors of its constant weight."""
    return {
        planned.name: weight_qparams(planned, layer)
        for planned, layer in zip(plan.layers, _bound(model, [planned.name for planned in plan.layers]), strict=True)
        if planned.weight is not None
    }


def insert_fake_weights(model: ir.Model, weights: Mapping[str, QParams]) -> None:
    """Round the weights of these layers, in place; other readers of a weight keep it."""
    for layer, params in zip(_bound(model, list(weights)), weights.values(), strict=True):
        _round(model, layer, params)
    ir.remove_unused(model)


def _bound(model: ir.Model, names: list[str]) -> list[Layer]:
    nodes = {str(node.name): node for node in model.graph}
    layers = [bind(nodes[name]) for name in names]
    assert all(isinstance(layer, Layer) for layer in layers)  # the plan holds no others
    return [layer for layer in layers if isinstance(layer, Layer)]


def _round(model: ir.Model, layer: Layer, params: QParams) -> None:
    if layer.op_type in _LEFT_IN_FLOAT or layer.weight is None:
        return
    array = layer.weight_array
    rows = fake_quantize(layer.rows(array), params, axis=None if params.per_tensor else 0)
    rounded = layer.from_rows(rows, array.shape)
    value = layer.weight_value
    assert value is not None
    if len(ir.uses(value)) == 1:  # keeps its name, so that what is exported is named as from the float model
        ir.replace_constant(value, rounded)
    else:
        ir.replace_input(layer.node, layer.weight, ir.add_initializer(model.graph, f"{layer.name}.rounded_weight", rounded))
