"""The affine map between floats and integers, and the rule that makes one from a range.

Rounding is half to even, as numpy, ONNX and the Ascend device do it. Arithmetic is float32 like in the runtimes, so
that what is computed here is what QuantizeLinear and DequantizeLinear compute.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from amct_lite.errors import NumericsError
from amct_lite.types import AnyArray, DoubleArray, FloatArray, QParams, QuantSpec

# AMCT's smallest scale: below it a channel counts as all zero and gets scale 1. It is float32's machine epsilon.
SMALLEST_SCALE = 1.192092896e-07


def quantize(x: AnyArray, params: QParams, axis: int | None = None) -> AnyArray:
    """`clip(round(x / scale) + zero_point, qmin, qmax)` as int8 (up to 8 bits) or int16.

    axis: the axis of `x` that the channels of `params` lie along; None for per-tensor parameters.

    Raises NumericsError if `x` has a NaN, which no integer stands for, or if the channels do not fit.
    Source: AMCT contract, section 5; ONNX QuantizeLinear.
    """
    scale, zero_point = _broadcast(params, x, axis)
    half = 1 << (params.bits - 1)
    # An infinite quotient is clipped like any other value outside the grid.
    with np.errstate(over="ignore"):
        steps = np.divide(x, scale, out=np.empty_like(x, dtype=np.float32), dtype=np.float32, casting="unsafe")
    if np.isnan(steps.min(initial=0)):
        raise NumericsError("cannot quantize an array with NaN values. Look at where the array comes from.")
    np.rint(steps, out=steps)  # in place: weights may be large
    steps += zero_point
    np.clip(steps, -half, half - 1, out=steps)
    return steps.astype(np.int8 if params.bits <= 8 else np.int16)


def dequantize(q: AnyArray, params: QParams, axis: int | None = None) -> FloatArray:
    """`(q - zero_point) * scale` as float32; `axis` as in `quantize`. Source: AMCT contract, section 5."""
    scale, zero_point = _broadcast(params, q, axis)
    # int32 first: int8 minus a zero point leaves int8.
    steps = np.asarray(q, dtype=np.int32) - zero_point.astype(np.int32)
    return steps.astype(np.float32) * scale


def fake_quantize(x: AnyArray, params: QParams, axis: int | None = None) -> FloatArray:
    """`x` as float32 after a trip through the integers."""
    return dequantize(quantize(x, params, axis), params, axis)


def qparams_from_range(low: AnyArray | float, high: AnyArray | float, spec: QuantSpec) -> QParams:
    """Scale and zero point that map [low, high] onto the integer grid of `spec`.

    low, high : numbers or (C,), low <= high. Asymmetric: the range is widened to hold 0, so that 0.0 is exact.
    Symmetric: the larger side fills its half of the grid, qmax steps above zero or -qmin below.
    A scale below 1.192092896e-07 becomes 1 (with the zero point at qmin, or 0 when symmetric).

    Raises NumericsError if a bound is NaN or infinite, or low > high (names the first such channel).
    Source: AMCT contract, section 5, min/max rule.
    """
    lows = np.atleast_1d(np.asarray(low, dtype=np.float64))
    highs = np.atleast_1d(np.asarray(high, dtype=np.float64))
    _check_bounds(lows, highs)
    if spec.symmetric:
        scale = np.where(highs >= -lows, np.abs(highs) / spec.qmax, np.abs(lows) / -spec.qmin).astype(np.float32)
        return QParams.of(np.where(scale < SMALLEST_SCALE, np.float32(1), scale), 0, spec.bits)
    lows, highs = np.minimum(lows, 0), np.maximum(highs, 0)
    scale = ((highs - lows) / (spec.qmax - spec.qmin)).astype(np.float32)
    tiny = scale < SMALLEST_SCALE
    scale = np.where(tiny, np.float32(1), scale)
    zero_point = np.where(tiny, spec.qmin, spec.qmin - np.rint(lows / scale))
    return QParams.of(scale, np.clip(zero_point, spec.qmin, spec.qmax).astype(np.int64), spec.bits)


def real_range(params: QParams) -> tuple[float, float]:
    """What the smallest and the largest code of a per-tensor activation stand for."""
    spec, scale, zero_point = QuantSpec(params.bits), params.scale[0], params.zero_point[0]
    return (spec.qmin - zero_point) * scale, (spec.qmax - zero_point) * scale


def _broadcast(params: QParams, x: AnyArray, axis: int | None) -> tuple[FloatArray, FloatArray]:
    """Scales and zero points as float32, shaped to broadcast along `axis` of `x`."""
    if params.per_tensor:
        return params.scales.reshape(()), params.zero_points.astype(np.float32).reshape(())
    shape = np.shape(x)
    if axis is None or shape[axis] != len(params.scale):
        raise NumericsError(
            f"{len(params.scale)} scales do not fit axis {axis} of an array of shape {shape}. "
            "Give the axis that the channels lie along, or per-tensor parameters."
        )
    target = [1] * len(shape)
    target[axis] = len(params.scale)
    return params.scales.reshape(target), params.zero_points.astype(np.float32).reshape(target)


def _check_bounds(lows: DoubleArray, highs: DoubleArray) -> None:
    bad: NDArray[np.bool_] = ~(np.isfinite(lows) & np.isfinite(highs) & (lows <= highs))
    if bad.any():
        channel = int(np.argmax(bad))
        where = f" of channel {channel}" if bad.size > 1 else ""
        why = "is empty" if np.isfinite(lows[channel]) and np.isfinite(highs[channel]) else "is not finite"
        raise NumericsError(
            f"the range [{lows[channel]}, {highs[channel]}]{where} {why}, so it has no scale. "
            "Look for NaN, infinite or empty data."
        )
