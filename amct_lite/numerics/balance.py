"""How far each input channel of a layer is divided so that its activation and its weight are equally hard to quantize."""

from __future__ import annotations

import numpy as np

from amct_lite.types import DoubleArray, FloatArray

SMALLEST = 2.0**-23
"""Factors lie in [SMALLEST, 1 / SMALLEST] (contract, section 4)."""


def balance_factors(activation_max: FloatArray, weight_max: FloatArray, strength: float) -> FloatArray:
    """(C,) float32: the activation is divided by these, the weight multiplied.

    activation_max, weight_max : (C,) largest magnitudes of an input channel, >= 0 and finite. strength : in (0, 1), the
    share of the activation's range that moves into the weight.

        f = activation_max^s / weight_max^(1-s)

    A channel without activation gets the factor that lifts its weight to the largest balanced one, a channel without weight
    the one that lifts its activation so; one with neither, and all where no channel has both, get 1.
    Source: the AMCT contract, section 5 (the factor of SmoothQuant, Xiao et al., ICML 2023, equation 4).
    """
    activation, weight = activation_max.astype(np.float64), weight_max.astype(np.float64)
    factors: DoubleArray = np.ones(activation.shape)
    both = (activation > 0) & (weight > 0)
    if not both.any():
        return factors.astype(np.float32)
    factors[both] = activation[both] ** strength / weight[both] ** (1 - strength)
    no_activation = (activation == 0) & (weight > 0)
    factors[no_activation] = (weight[both] * factors[both]).max() / weight[no_activation]
    no_weight = (weight == 0) & (activation > 0)
    factors[no_weight] = activation[no_weight] / (activation[both] / factors[both]).max()
    return np.clip(factors, SMALLEST, 1 / SMALLEST).astype(np.float32)


def balancing_gain_db(activation_max: FloatArray, weight_rows: FloatArray, strength: float) -> float:
    """How much less of its data's rounding a layer passes on when it is balanced, in dB; below 0: more.

    activation_max : (C,) largest magnitudes of an input channel. weight_rows : (C, n) what each channel is multiplied with.

    One scale for all channels makes a rounding error as large as the largest channel wants it, and the weights pass it on:

        noise ~ max(activation_max)^2 · Σ weight_rows^2        balanced: with activation_max / f and weight_rows · f
    """
    rows = weight_rows.astype(np.float64)
    factors = balance_factors(activation_max, np.abs(weight_rows).max(axis=1, initial=0.0), strength).astype(np.float64)
    plain = activation_max.max(initial=0.0) ** 2 * np.square(rows).sum()
    balanced = (activation_max / factors).max(initial=0.0) ** 2 * np.square(rows * factors[:, None]).sum()
    return float(10 * np.log10(plain / balanced)) if plain > 0 and balanced > 0 else 0.0
