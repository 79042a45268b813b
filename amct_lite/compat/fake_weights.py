"""Weights as the quantized model will have them, in a model that still computes in float.

AMCT calibrates so: the activations it sees carry the weights' rounding error. Rounding is idempotent, therefore the model
that is written also serves to make the integers from. The weights of ConvTranspose stay as they are, as in AMCT's own
calibration models.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.decide import weight_qparams
from amct_lite.exporters.integers import quantized_layers
from amct_lite.numerics.affine import fake_quantize
from amct_lite.ops import Layer, bind
from amct_lite.record import UNIT_WEIGHT
from amct_lite.types import QParams, QuantPlan, QuantRecord

_LEFT_IN_FLOAT = frozenset({"ConvTranspose"})


def insert_fake_weights(model: ir.Model, plan: QuantPlan) -> dict[str, QParams | None]:
    """Replace the weights of the layers of `plan`, in place; other readers of a weight keep it.

    Returns layer → its weight factors; None for a product of two variable tensors, whose factors come from data.
    """
    nodes = {str(node.name): node for node in model.graph}
    weights: dict[str, QParams | None] = {}
    for planned in plan.layers:
        if planned.weight is None:
            weights[planned.name] = None if len(planned.data) > 1 else UNIT_WEIGHT
            continue
        layer = bind(nodes[planned.name])
        assert isinstance(layer, Layer)
        params = weight_qparams(planned, layer)
        weights[planned.name] = params
        _round(model, layer, params)
    ir.remove_unused(model)
    return weights


def insert_known_weights(model: ir.Model, record: QuantRecord) -> None:
    """The same with the weight factors of `record`, which fits the model."""
    for item in quantized_layers(model, record):
        if item.layer.weight is not None:
            _round(model, item.layer, item.weight)
    ir.remove_unused(model)


def _round(model: ir.Model, layer: Layer, params: QParams) -> None:
    if layer.op_type in _LEFT_IN_FLOAT or layer.weight is None:
        return
    array = layer.weight_array
    rows = fake_quantize(layer.rows(array), params, axis=None if params.per_tensor else 0)
    replaced = ir.add_initializer(model.graph, f"{layer.name}.weight", layer.from_rows(rows, array.shape))
    ir.replace_input(layer.node, layer.weight, replaced)
