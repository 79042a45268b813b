"""LSTM, for ONNX Runtime's CPU: int8 weights, and data that its kernel rounds to uint8 itself, anew for each run and step.

Weight layouts (ONNX): W (directions, 4·hidden, inputs), of the data; R (directions, 4·hidden, hidden), of the hidden state. A
row of either belongs to one gate of one direction.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.ops.base import OPS, Layer, OpSpec, constant_data, constant_weight

_FEWEST_WEIGHTS = 20_000
"""Of both together, for each direction. With fewer, rounding the data at each step takes longer than the products save: 5,760
weights take 1.17 to 1.28 of the time in float, 15,360 0.8 to 1.12, 26,624 0.8 to 0.92 (ONNX Runtime 1.31, 1 and 2 threads, one
sequence; `tools/bench/kernels.py lstm`)."""


def _bind(node: ir.Node) -> Layer | str:
    weight, recurrence = constant_weight(node, 1), constant_weight(node, 2)
    if isinstance(weight, str) or isinstance(recurrence, str):
        return weight if isinstance(weight, str) else f"of the hidden state, {recurrence}"
    if constant_data(node):
        return "its data input is a constant"
    if ir.attribute(node, "layout", 0):
        return "its data have the batch first (layout 1), which ONNX Runtime does not take"
    result = next((index for index, value in enumerate(node.outputs) if value.name), 0)
    directions, rows = weight.shape[:2]
    return Layer(
        node,
        weight=1,
        weight_axis=1,
        channels=directions * rows,
        group=directions,
        recurrence=2,
        result=result,
    )


def _ort(layer: Layer) -> str | None:
    count = (layer.weight_array.size + layer.recurrence_array.size) // layer.group
    return f"with only {count} weights an int8 LSTM is no faster than a float one" if count < _FEWEST_WEIGHTS else None


def _is_uneven(layer: Layer) -> bool:
    """Whether one scale for all rows errs more than twice as much as one for each, which takes up to a third longer."""
    for weight in (layer.weight_array, layer.recurrence_array):
        largest = np.abs(layer.rows(weight)).max(axis=1).astype(np.float64) ** 2
        if largest.max() > 2 * largest.mean():
            return True
    return False


def _inside(_layer: Layer) -> str:
    return "its products are made inside of its kernel, where nothing can be learned from them"


OPS.register("LSTM")(
    OpSpec(
        "LSTM",
        bind=_bind,
        only_ort="only ONNX Runtime's CPU (--target ort) has an int8 kernel for LSTM",
        columns=_inside,
        ort=_ort,
        per_channel_on_ort=_is_uneven,
        bias=3,
    )
)
