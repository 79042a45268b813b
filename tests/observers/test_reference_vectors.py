"""AMCT's own numbers for IFMR and HFMG on eight distributions."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from corpus import needs_shared
from reference_data import cases, distributions, document

from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.observers import make_observer
from amct_lite.types import QuantSpec

_OPTIONS = ("max_percentile", "min_percentile", "num_of_bins")


@cache
def sketches() -> dict[str, Sketch]:
    made = {}
    for name, array in distributions().items():
        made[name] = Sketch(1)
        made[name].observe(Observation.of(array.reshape(1, -1), None), 0)
    return made


@needs_shared
@pytest.mark.parametrize("name", sorted(document()["checks"]))
def test_arrays_are_the_ones_meant(name: str) -> None:
    array = distributions()[name]
    # Single values are exact; the sum may be taken in another order.
    np.testing.assert_allclose([array[0], array[1], array.sum(dtype=np.float64)], document()["checks"][name], rtol=1e-7)


@needs_shared
@pytest.mark.parametrize("case", cases("ifmr") + cases("hfmg"), ids=str)
def test_scale_and_offset_are_amcts(case: dict[str, Any]) -> None:
    options = {key: case[key] for key in _OPTIONS if key in case}
    spec = QuantSpec(case["num_bits"], symmetric=not case["asymmetric"])
    params = make_observer(case["algo"], options).qparams(sketches()[case["data"]], spec)
    # IFMR's candidates are 1 % apart and HFMG's ranges a bin of 8192 at least: the same one. The k-th largest value of a
    # sketch lies within a bin of it.
    tolerance = 1e-2 if case.get("max_percentile", 1.0) < 0.999999 else 1e-4 if case["algo"] == "ifmr" else 1e-6
    assert params.scale[0] == pytest.approx(case["scale"], rel=tolerance)
    assert abs(params.zero_point[0] - case["offset"]) <= 1
