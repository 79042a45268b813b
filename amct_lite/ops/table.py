"""Gather from a constant table, such as an embedding, for ONNX Runtime's CPU: codes are picked and made floats behind that, so
the table takes a quarter of its bytes, in the file and in memory. It has no data, only a weight."""

from __future__ import annotations

from math import inf, log10

import numpy as np

from amct_lite import ir
from amct_lite.ops.base import OPS, Layer, OpSpec, bind, constant_weight
from amct_lite.ops.unasked import bodies_behind, weights_behind
from amct_lite.types import AnyArray

_FEWEST_NUMBERS = 1 << 16
"""Of fewer there is little to save."""
_POOR_DB = 30.0


def _bind(node: ir.Node) -> Layer | str | None:
    """Only of a matrix, row by row; constants of one dimension, or of integers, are shapes and the like."""
    table = ir.constant_of(node.inputs[0])
    if table is None or table.ndim < 2 or min(table.shape) < 2 or table.dtype.kind != "f":
        return None
    if table.ndim > 2 or ir.attribute(node, "axis", 0) not in {0, -2}:
        return "only whole rows of a matrix are picked as integers"
    weight = constant_weight(node, 0)
    if isinstance(weight, str):
        return weight
    if ir.constant_of(node.inputs[1]) is not None:
        return "what is picked of it never changes"
    return Layer(node, data=(), weight=0, weight_axis=1, channels=weight.shape[1])


def _ort(layer: Layer) -> str | None:
    if layer.weight_array.size < _FEWEST_NUMBERS:
        return f"a table of only {layer.weight_array.size} numbers saves little memory as integers"
    if reader := _reads_floats(layer):
        return f"{reader} reads the floats, which therefore stay, and integers would come on top"
    if (level := _level_db(layer.weight_array)) < _POOR_DB:
        return f"integers would leave half of its rows less than {level:.0f} dB above the noise, to save memory alone"
    if inside := next(bodies_behind(layer.node), ""):
        return f"{inside}, in the body of an If or Loop, would read its rows: ONNX Runtime crashes on such a model"
    reader = next(weights_behind(layer.node), "")
    return f"{reader} multiplies its rows with a weight" if reader else None


def _reads_floats(layer: Layer) -> str:
    """A reader of the table that is no layer, or in the body of an If or Loop; empty where there is none."""
    assert layer.weight_value is not None
    readers = (usage.node for usage in ir.uses(layer.weight_value))
    other = (node for node in readers if node.graph is not layer.node.graph or not isinstance(bind(node), Layer))
    return next((str(node.name) for node in other), "")


def _level_db(table: AnyArray) -> float:
    """Half of the rows are further above the noise than that, with 8 bits and a scale for each column."""
    largest = np.maximum(table.max(axis=0), -table.min(axis=0)).astype(np.float64)
    noise = float(((largest / 127) ** 2).sum() / 12)
    signal = float(np.median(np.einsum("ij,ij->i", table, table)))
    return 10 * log10(signal / noise) if signal > 0 and noise > 0 else inf


def _picked(_layer: Layer) -> str:
    return "its rows are picked, not multiplied, so no other rounding is nearer to them"


OPS.register("Gather")(
    OpSpec(
        "Gather",
        bind=_bind,
        columns=_picked,
        only_ort="tables are stored as integers for ONNX Runtime's CPU only (--target ort)",
        ort=_ort,
    )
)
