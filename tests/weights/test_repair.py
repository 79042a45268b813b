"""Scales too small for their bias are raised just enough."""

from __future__ import annotations

import numpy as np
import pytest

from amct_lite.weights import raise_scales


def test_scales_that_fit_stay_bit_for_bit() -> None:
    scales = np.array([0.1, 1e-6], dtype=np.float32)
    raised, repaired = raise_scales(scales, np.array([1.0, -1.0]), 0.01)
    assert (raised == scales).all()
    assert repaired == ()


def test_only_the_overflowing_channel_is_raised_and_just_enough() -> None:
    scales = np.array([0.1, 1e-6, 1.0], dtype=np.float32)
    bias = np.array([1.0, -50.0, 0.0], dtype=np.float32)
    raised, repaired = raise_scales(scales, bias, 0.001)
    assert repaired == (1,)
    assert (raised[[0, 2]] == scales[[0, 2]]).all()
    steps = 50.0 / float(np.float32(raised[1]) * np.float32(0.001))
    assert steps <= 2**30
    assert steps == pytest.approx(2**30, rel=1e-5)  # a millionth of headroom, float32 rounding
    assert scales[1] == np.float32(1e-6)  # the input is not modified


def test_a_single_scale_is_raised_for_the_largest_bias() -> None:
    raised, repaired = raise_scales(np.array([1e-6], dtype=np.float32), np.array([0.0, 50.0]), 0.001)
    assert repaired == (0,)
    assert raised[0] == pytest.approx(50 / 0.001 / 2**30, rel=1e-5)


def test_a_layer_without_bias_values_stays() -> None:
    raised, repaired = raise_scales(np.array([0.5], dtype=np.float32), np.zeros(0), 0.1)
    assert (raised.tolist(), repaired) == ([0.5], ())
