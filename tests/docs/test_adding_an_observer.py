"""docs/adding-an-observer.md: its block, put beside the other observers, can be used by name everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fences import ROOT, added, blocks

import amct_lite
from amct_lite.observers import OBSERVERS

DIGITS = ROOT / "samples" / "digits"


@pytest.fixture(autouse=True)
def with_toy(tmp_path: Path) -> Iterator[None]:
    (source,) = blocks("docs/adding-an-observer.md", "python")
    with added("amct_lite.observers", "absmax", source, tmp_path, OBSERVERS):
        yield
    assert "absmax" not in OBSERVERS.names()


def test_range_reaches_as_far_below_zero_as_above() -> None:
    # [-3, 3] in 255 steps; 0 lies at -128 - round(-3 / (6 / 255)) = -128 + 127.5, half to even
    scale, zero_point = amct_lite.qparams(np.array([-1.0, 3.0]), "absmax")
    assert scale == np.float32(6 / 255)
    assert zero_point in {-1, 0}


def test_option_widens_the_range() -> None:
    narrow, _ = amct_lite.qparams(np.array([-1.0, 3.0]), "absmax", symmetric=True)
    wide, _ = amct_lite.qparams(np.array([-1.0, 3.0]), "absmax", symmetric=True, margin=2)
    assert narrow == np.float32(3 / 127)
    assert wide == np.float32(6 / 127)


def test_zeros_have_scale_one() -> None:
    assert amct_lite.qparams(np.zeros(5), "absmax", symmetric=True) == (1.0, 0)


def test_bad_options_are_refused_with_their_names() -> None:
    with pytest.raises(amct_lite.AmctError, match=r"absmax: margin = 9 must be a number in \(0, 4\]"):
        amct_lite.qparams(np.ones(3), "absmax", margin=9)
    with pytest.raises(amct_lite.AmctError, match=r"range method 'absmax' has no option 'margn' \(did you mean 'margin'\?\)"):
        amct_lite.qparams(np.ones(3), "absmax", margn=1)


def test_main_job_uses_it_by_name() -> None:
    config = amct_lite.QuantConfig(algorithm="absmax", options={"margin": 1.1})
    result = amct_lite.quantize(DIGITS / "digits.onnx", DIGITS / "calibration", config)
    first = result.record.layers[0]
    # the images lie in 0..1, so the first layer's range is 1.1 to both sides
    assert first.activation.scale[0] == pytest.approx(2.2 / 255, rel=1e-6)
    assert {tensor.algorithm for tensor in result.plan.tensors} == {"absmax"}


def test_saved_calibration_is_decided_anew_with_it(tmp_path: Path) -> None:
    model = DIGITS / "digits.onnx"
    amct_lite.quantize(model, DIGITS / "calibration").save(tmp_path / "d")
    config = amct_lite.QuantConfig(algorithm="absmax", bias_correction="analytic")
    again = amct_lite.quantize(model, config=config, statistics=tmp_path / "d_calibration.npz")
    assert again.record.layers[0].activation.scale[0] == pytest.approx(2 / 255, rel=1e-6)
