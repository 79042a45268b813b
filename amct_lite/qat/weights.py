"""The scales of a weight that was quantized before the model was prepared, such that its codes stay what they were.

W = codes · s                   as the model has it
W' = a[c] · W                   after a normalization was folded into the layer (a: a factor an output channel)
scale of W'[c] = |a[c]| · s[c]  so that round(W' / scale) = ± codes, which is checked and not assumed
"""

from __future__ import annotations

import numpy as np

from amct_lite.numerics.affine import quantize
from amct_lite.ops import Layer
from amct_lite.qat.constants import Coded
from amct_lite.types import AnyArray, QParams
from amct_lite.weights import raise_scales

_SAME = 1e-5
"""A folded weight is stored as float32: its elements are products of code and scale but for a few roundings."""


def weight_params(layer: Layer, weight: AnyArray, coded: Coded | None, activation: QParams) -> tuple[QParams, str] | str:
    """Scales of a weight of `layer` (prepared) and a note, or why it cannot be taken."""
    if coded is None:
        return "the model does not quantize its weight"
    if reason := _refusal(weight.shape, coded):
        return reason
    codes, scales = layer.rows(coded.signed_codes), layer.rows(coded.scale)
    if (scales != scales[:, :1]).any():
        return "the scales of its weight do not lie along its output channels"
    values, own = layer.rows(weight), scales[:, 0]
    note = "uint8 weight codes moved down by 128" if coded.dtype == "UINT8" else ""
    if np.array_equal(values, codes.astype(np.float32) * scales):
        params = QParams.of(own[:1] if coded.per_tensor else own, 0)
    else:
        factor = _factors(values, codes)
        if ((codes == -128) & (factor < 0)[:, None]).any():
            return "a normalization turns the sign of a weight of code -128, and there is no code 128"
        codes = codes * np.sign(factor).astype(np.int64)[:, None]
        params = QParams.of(np.where(factor == 0, own, np.abs(factor)), 0)
        if not np.allclose(values, codes * params.scales[:, None].astype(np.float64), rtol=_SAME, atol=0):
            return "what was folded into its weight changes more than a factor a channel"
        note = "scales times those of the normalization that was folded in"
    if not np.array_equal(quantize(values, params, axis=None if params.per_tensor else 0), codes):
        return "its scales are too small for float32 to give the same codes again"
    bias = layer.bias_array
    if bias is not None and raise_scales(params.scales, bias, activation.scale[0])[1]:
        return "its bias does not fit into int32 with these scales"
    return params, note


def _refusal(shape: tuple[int, ...], coded: Coded) -> str:
    if coded.dtype not in {"INT8", "UINT8"}:
        return f"its weight is quantized to {coded.dtype.lower()}, only 8 bits are taken"
    middle = 128 if coded.dtype == "UINT8" else 0
    if (coded.zero_point != middle).any():
        wrong = int(coded.zero_point[coded.zero_point != middle].reshape(-1)[0])
        return f"its {coded.dtype.lower()} weight has zero point {wrong}, which must be {middle}: an int8 weight has none"
    if coded.codes.shape != shape:
        return f"its weight was quantized with shape {coded.codes.shape} and has {shape} now"
    return ""


def _factors(values: AnyArray, codes: AnyArray) -> AnyArray:
    """(C,) float64: what one code stands for, with its sign; 0 for a channel of zeros."""
    largest = np.abs(codes).argmax(axis=1)[:, None]
    peak = np.take_along_axis(codes, largest, axis=1)[:, 0]
    number = np.take_along_axis(values, largest, axis=1)[:, 0].astype(np.float64)
    factors: AnyArray = np.divide(number, peak, out=np.zeros(len(peak)), where=peak != 0)
    return factors
