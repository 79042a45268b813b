"""How far one array is from another. Sums are float64; each measure has an answer for zero and for identical arrays.

An infinity that both have in the same place is no difference, and NaN in the same place neither; where one array alone has
such a value the error is infinite. What is left is measured on the other values.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from amct_lite.errors import NumericsError
from amct_lite.types import AnyArray, DoubleArray

# Values taken to float64 at a time: the copies stay in cache however large the tensors are.
_CHUNK = 1 << 16


def mse(reference: AnyArray, other: AnyArray) -> float:
    """Mean of the squared difference; 0.0 for empty arrays."""
    _, _, _, error = sums(reference, other)
    return error / reference.size if reference.size else 0.0


def cosine(reference: AnyArray, other: AnyArray) -> float:
    """Cosine of the angle between the two as vectors: 1.0 when both are zero, 0.0 when only one is."""
    square, product, other_square, _ = sums(reference, other)
    if square == 0 or other_square == 0:
        return 1.0 if square == other_square else 0.0
    # Two roots: the product of the squares may leave float64's range.
    return max(-1.0, min(1.0, product / (math.sqrt(square) * math.sqrt(other_square))))


def cosine_from_error(square: float, other_square: float, error: float) -> float:
    """`cosine` of two arrays a and b of which Σa², Σb² and Σ(a-b)² are known, to float32's few digits only.

    From 1 - cos = (Σ(a-b)² - (|a|-|b|)²) / (2 |a| |b|): where a and b are close, Σab would have to be known to more digits
    than 1 - cos has zeros.
    """
    if square == 0 or other_square == 0:
        return 1.0 if square == other_square else 0.0
    a, b = math.sqrt(square), math.sqrt(other_square)
    return max(-1.0, min(1.0, 1 - (error - (a - b) ** 2) / (2 * a * b)))


def sqnr_db(reference: AnyArray, other: AnyArray) -> float:
    """Energy of `reference` over that of the difference, in dB: inf when identical, -inf for noise on a zero signal."""
    square, _, _, error = sums(reference, other)
    return sqnr_db_from_sums(square, error)


def sqnr_db_from_sums(square: float, error: float) -> float:
    """`sqnr_db` of two arrays a and b of which Σa² and Σ(a-b)² are known."""
    if error == 0:
        return math.inf
    return 10 * math.log10(square / error) if square and math.isfinite(error) else -math.inf


def sums(a: AnyArray, b: AnyArray) -> tuple[float, float, float, float]:
    """Σa², Σab, Σb², Σ(a-b)². Raises NumericsError for arrays of different shapes."""
    if a.shape != b.shape:
        raise NumericsError(f"cannot compare an array of shape {a.shape} with one of shape {b.shape}.")
    total = np.zeros(4)
    flat, other = a.reshape(-1), b.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        x = flat[start : start + _CHUNK].astype(np.float64)
        y = other[start : start + _CHUNK].astype(np.float64)
        parts = _products(x, y)
        total += parts if np.isfinite(parts).all() else _products_of_numbers(x, y)
    return float(total[0]), float(total[1]), float(total[2]), float(total[3])


def _products(x: DoubleArray, y: DoubleArray) -> DoubleArray:
    with np.errstate(invalid="ignore"):  # infinities are seen in the result
        difference = x - y
    # Not BLAS products: their threads would fight with those of the runtime for the cores.
    pairs = ((x, x), (x, y), (y, y), (difference, difference))
    return np.array([np.einsum("i,i->", left, right) for left, right in pairs])


def _products_of_numbers(x: DoubleArray, y: DoubleArray) -> DoubleArray:
    """`_products` where both are finite; the error is infinite where they are not finite in different ways."""
    finite = np.isfinite(x) & np.isfinite(y)
    parts = _products(np.where(finite, x, 0.0), np.where(finite, y, 0.0))
    if not (finite | same_where_not_finite(x, y)).all():
        parts[3] = np.inf
    return parts


def same_where_not_finite(x: AnyArray, y: AnyArray) -> NDArray[np.bool_]:
    """Where both have the same infinity, or both have NaN."""
    same: NDArray[np.bool_] = (np.isinf(x) & (x == y)) | (np.isnan(x) & np.isnan(y))
    return same


def softmax_divergence(reference: AnyArray, other: AnyArray) -> tuple[float, int]:
    """(Σ KL(softmax(reference) ‖ softmax(other)) in nats, number of distributions); (0, 0) where there are no classes.

    Classes lie on axis 1 of images (rank 4 and more), else on the last; an array of rank 1 is one distribution. Where all
    rows of `reference` are probabilities already they are taken as they are.
    """
    axis = 1 if reference.ndim > 3 else -1
    if reference.ndim == 0 or reference.shape[axis] < 2:
        return 0.0, 0
    p, q = (np.moveaxis(array.astype(np.float64), axis, -1).reshape(-1, array.shape[axis]) for array in (reference, other))
    if (p >= 0).all() and np.allclose(p.sum(axis=1), 1, atol=1e-3):
        log_p, log_q = (np.log(np.maximum(array, np.finfo(np.float32).tiny)) for array in (p, q))
    else:
        log_p, log_q = _log_softmax(p), _log_softmax(q)
        p = np.exp(log_p)
    # Never below 0, which rounding alone makes of equal distributions.
    return max(0.0, float((p * (log_p - log_q)).sum())), len(p)


def _log_softmax(x: DoubleArray) -> DoubleArray:
    shifted = x - x.max(axis=1, keepdims=True)
    result: DoubleArray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
