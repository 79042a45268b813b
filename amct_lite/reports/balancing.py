"""Which layers suffer because a few of their input channels are far larger than the others, so that balancing helps them."""

from __future__ import annotations

from collections.abc import Container

from amct_lite import ir
from amct_lite.balance import STRENGTH
from amct_lite.balance.factors import activation_max, tap_of
from amct_lite.balance.fold import foldable
from amct_lite.calibration.store import Statistics
from amct_lite.numerics.balance import balancing_gain_db
from amct_lite.ops import Layer, bind
from amct_lite.plan import ORT

WORTH_DB = 6.0
"""Measured on six networks: a layer that is forecast to gain so much gains 6 dB or more, at its own output."""


def better_balanced(model: ir.Model, statistics: Statistics | None, names: Container[str], target: str) -> frozenset[str]:
    """Those of the layers `names` of `model` (prepared) that balancing would help; none where the data were not seen here.

    For ONNX Runtime those alone whose factors can be folded: a Mul in front would read what its kernels have rounded already,
    and cost more than the layer gains (a page layout detector: 1.65 of float's time instead of 0.16, and 4 dB more, not 17).
    """
    if statistics is None:
        return frozenset()
    layers = [layer for node in model.graph if node.name in names and isinstance(layer := bind(node), Layer)]
    able = [layer for layer in layers if not layer.balance_refusal and (target != ORT or not foldable([layer]))]
    return frozenset(layer.name for layer in able if _gain_db(layer, statistics) >= WORTH_DB)


def balance_options(target: str) -> str:
    """What to pass to balance such layers."""
    return "--balance --balance-fold" if target == ORT else "--balance"


def _gain_db(layer: Layer, statistics: Statistics) -> float:
    sketch = statistics.sketches.get(tap_of(layer))
    if sketch is None:
        return 0.0
    tame = sketch if statistics.trusted else sketch.robust()[0]
    return balancing_gain_db(activation_max(tame), layer.input_rows(layer.weight_array), STRENGTH)
