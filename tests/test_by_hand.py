"""The scale of one array by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from amct_lite.by_hand import qparams
from amct_lite.errors import AmctError, ConfigError, DataError, NumericsError


def test_default_is_ifmr() -> None:
    array = np.random.default_rng(0).normal(size=(3, 400))
    assert qparams(array) == qparams(array, "ifmr", max_percentile=0.999999)
    assert qparams(array) != qparams(array, "minmax")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.int64])
def test_any_real_dtype_is_taken(dtype: Any) -> None:
    scale, zero_point = qparams(np.array([-100, 0, 27], dtype=dtype), "minmax")
    assert scale == pytest.approx(127 / 255, rel=1e-6)  # float32 rounding
    assert zero_point == -128 + 201
    assert isinstance(scale, float)
    assert isinstance(zero_point, int)


def test_lists_scalars_widths_and_symmetry() -> None:
    assert qparams([-127.0, 5.0], "minmax", bits=8, symmetric=True) == (pytest.approx(127 / 128), 0)
    assert qparams(15, "minmax", bits=4) == (1.0, -8)


@pytest.mark.parametrize("method", ["ifmr", "hfmg", "kl", "minmax", "mse", "percentile"])
def test_all_zeros_get_scale_one(method: str) -> None:
    assert qparams(np.zeros(10), method) == (1.0, -128)


@pytest.mark.parametrize(
    ("array", "options", "error", "message"),
    [
        ([], {}, DataError, r"shape \(0,\) has no values"),
        (["a"], {}, DataError, "dtype <U1 has no scale"),
        ([1j], {}, DataError, "dtype complex128"),
        ([1.0, np.nan], {}, NumericsError, "has NaN"),
        ([1e39], {}, NumericsError, "has infinite values"),
        ([1.0], {"bits": 3}, ConfigError, "bits = 3 is not supported"),
        ([1.0], {"method": "max"}, ConfigError, "unknown range method 'max'"),
        ([1.0], {"step": 1}, ConfigError, "has no option 'step'"),
    ],
)
def test_what_has_no_scale_says_why(array: Any, options: dict[str, Any], error: type[AmctError], message: str) -> None:
    with pytest.raises(error, match=message):
        qparams(array, **options)
