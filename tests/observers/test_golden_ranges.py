"""The first layer of AMCT's golden networks: its input is the data, so nothing else takes part."""

from __future__ import annotations

import re

import numpy as np
import pytest
from corpus import SHARED, needs_shared

from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.observers import make_observer
from amct_lite.types import QuantSpec


@needs_shared
@pytest.mark.parametrize(
    ("folder", "method", "symmetric", "tolerance"),
    [
        ("cnn", "ifmr", False, 1e-5),  # the same candidate; float32 rounding
        ("cnn_symmetric", "ifmr", True, 1e-5),
        ("mlp_hfmg", "hfmg", False, 1e-5),
    ],
)
def test_first_layer_is_amcts(folder: str, method: str, symmetric: bool, tolerance: float) -> None:
    golden = SHARED / "reference" / "golden" / folder
    found = re.search(r"scale_d: (\S+)\s+offset_d: (\S+)", (golden / "record.txt").read_text())
    assert found is not None
    with np.load(golden / "data.npz") as batches:
        arrays = [batches[name] for name in batches.files]
    sketch, first = Sketch(arrays[0].shape[1]), 0
    for array in arrays:
        sketch.observe(Observation.of(array, 1), first)
        first += len(array)
    params = make_observer(method, {}).qparams(sketch, QuantSpec(8, symmetric))
    assert params.scale[0] == pytest.approx(float(found[1]), rel=tolerance)
    assert abs(params.zero_point[0] - int(found[2])) <= 1
