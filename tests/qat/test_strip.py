"""`calibrate --strip-qdq`: the float model behind a QDQ model is calibrated anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qdq_nets import onnxruntime_form, torch_form
from small_nets import ONE_THREAD, run, saved

from amct_lite.errors import UnsupportedModelError
from amct_lite.loading import load_prepared
from amct_lite.pipeline import quantize

DATA = [{"x": np.random.default_rng(seed).normal(0, 1, (1, 3, 8, 8)).astype(np.float32)} for seed in range(6)]
STRIPPING = replace(ONE_THREAD, strip_qdq=True)


@pytest.mark.parametrize("form", [onnxruntime_form, torch_form])
def test_a_qdq_model_is_calibrated_only_when_told_so(form, tmp_path):
    path = saved(form(), tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"already quantized: it holds .*calibrate --strip-qdq` drops them"):
        quantize(path, DATA, options=ONE_THREAD)
    result = quantize(path, DATA, options=STRIPPING)
    assert {"conv1", "conv2"} <= set(result.record.by_key)
    assert result.exports.deploy is not None


@pytest.mark.parametrize("form", [onnxruntime_form, torch_form])
def test_the_float_model_computes_what_the_qdq_model_did_but_for_rounding(form, tmp_path):
    stripped = load_prepared(saved(form(), tmp_path), qdq="strip").prepared
    assert not any(node.op_type.endswith("quantizeLinear") for node in stripped.graph)
    for feeds in DATA:
        exact, rounded = run(stripped, feeds)[0], run(form(), feeds)[0]
        assert 10 * np.log10((exact**2).sum() / ((exact - rounded) ** 2).sum()) > 22


def test_a_relu_that_only_a_range_stood_for_comes_back(tmp_path):
    source = load_prepared(saved(onnxruntime_form(), tmp_path), qdq="strip")
    assert [node.op_type for node in source.prepared.graph] == ["Conv", "Clip", "Conv"]
    assert "1 activation that the range of a QuantizeLinear stood for is a Clip now" in source.notes


def test_an_activation_that_is_there_gets_no_second_one(tmp_path):
    source = load_prepared(saved(torch_form(), tmp_path), qdq="strip")
    assert "Clip" not in {node.op_type for node in source.prepared.graph}
