"""Weight scales: AMCT's vectors, and that the MSE search is never worse than min/max."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from corpus import needs_shared
from hypothesis import given
from hypothesis import strategies as st
from reference_data import cases

from amct_lite.errors import ConfigError, NumericsError
from amct_lite.numerics.affine import fake_quantize, quantize
from amct_lite.numerics.axes import to_rows
from amct_lite.types import QParams, QuantSpec
from amct_lite.weights import make_weight_quantizer

METHODS = ("arq", "mse")


def weight_spec(bits: int = 8, *, per_channel: bool = True) -> QuantSpec:
    return QuantSpec(bits, symmetric=True, per_channel=per_channel)


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown weight method 'arc' \(did you mean 'arq'\?\)"):
        make_weight_quantizer("arc")


@needs_shared
@pytest.mark.parametrize("case", cases("arq"), ids=lambda case: f"{case['num_bits']}-{case['channel_wise']}")
def test_arq_is_amcts(case: dict[str, Any]) -> None:
    weight = np.array(case["weight"], dtype=np.float32)
    spec = weight_spec(case["num_bits"], per_channel=case["channel_wise"])
    params = make_weight_quantizer("arq").qparams(to_rows(weight, 0), spec)
    # float32 rounding of the same formula
    np.testing.assert_allclose(params.scales, np.ravel(case["scale"]), rtol=1e-6)
    assert set(params.zero_point) == {0}
    assert (quantize(weight, params, axis=0) == np.array(case["q"])).all()


def test_arq_by_hand() -> None:
    rows = np.array([[-1, 127], [-128, 1], [0, 0]], dtype=np.float32)
    arq = make_weight_quantizer("arq")
    assert arq.qparams(rows, weight_spec()) == QParams.of(np.ones(3), 0)
    assert arq.qparams(rows, weight_spec(per_channel=False)) == QParams.of(128 / 128, 0)


@pytest.mark.parametrize("method", METHODS)
def test_zero_rows_get_scale_one(method: str) -> None:
    params = make_weight_quantizer(method).qparams(np.zeros((2, 3), dtype=np.float32), weight_spec())
    assert params == QParams.of(np.ones(2), 0)


@pytest.mark.parametrize("method", METHODS)
def test_nan_names_its_channel(method: str) -> None:
    rows = np.ones((3, 4), dtype=np.float32)
    rows[1, 2] = np.nan
    with pytest.raises(NumericsError, match="channel 1 is not finite"):
        make_weight_quantizer(method).qparams(rows, weight_spec())


@given(seed=st.integers(0, 1000), bits=st.sampled_from([4, 8]), per_channel=st.booleans())
def test_mse_is_never_worse_than_min_max(seed: int, bits: int, per_channel: bool) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.standard_t(3, size=(5, 60)) * 10.0 ** rng.integers(-4, 4, size=(5, 1))).astype(np.float32)
    spec = weight_spec(bits, per_channel=per_channel)
    axis = 0 if per_channel else None
    errors = []
    for method in METHODS:
        params = make_weight_quantizer(method).qparams(rows, spec)
        difference = rows.astype(np.float64) - fake_quantize(rows, params, axis)
        errors.append((difference**2).sum(axis=1 if per_channel else None))
    # Errors are compared in float32 during the search.
    assert (errors[1] <= errors[0] * (1 + 1e-5)).all()


def test_mse_clips_at_four_bits_where_theory_says() -> None:
    rows = np.random.default_rng(0).normal(size=(1, 200_000)).astype(np.float32)
    params = make_weight_quantizer("mse").qparams(rows, weight_spec(4))
    # The optimal uniform 16-level quantizer of a Gaussian has step 0.335 (Max, 1960); ours has a level at zero.
    assert params.scale[0] == pytest.approx(0.335, rel=0.05)
