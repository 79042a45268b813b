"""What is decided anew from the same statistics is what a calibration of its own would have decided."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from small_nets import ONE_THREAD, images, net, saved

from amct_lite import biases, ir, pipeline
from amct_lite.calibrated import Calibrated
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError
from amct_lite.judging import Score
from amct_lite.reports import checks

ORT = QuantConfig(target="ort", bias_correction="analytic")
LAYERS = ("conv1", "conv2", "conv3", "conv4")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(net(), tmp_path_factory.mktemp("calibrated"))


@pytest.fixture(scope="module")
def calibrated(model: Path) -> Calibrated:
    return pipeline.calibrate(model, images(), ORT, options=ONE_THREAD)


@pytest.mark.parametrize("skipped", [*combinations(LAYERS, 1), *combinations(LAYERS, 2)])
def test_with_more_layers_skipped_tensors_keep_their_ranges(
    calibrated: Calibrated, model: Path, skipped: tuple[str, ...]
) -> None:
    settings = replace(ORT, skip=skipped)
    fresh = pipeline.calibrate(model, images(), settings, options=ONE_THREAD)
    again = calibrated.decided_for(settings).decision.record
    assert [entry.key for entry in again.layers] == [entry.key for entry in fresh.decision.record.layers]
    for mine, theirs in zip(again.layers, fresh.decision.record.layers, strict=True):
        assert mine.activation.zero_point == theirs.activation.zero_point
        # Where channels are told apart, sums run in another order.
        assert mine.activation.scale == pytest.approx(theirs.activation.scale, rel=1e-6)
        assert mine.weight == theirs.weight


def test_a_saved_calibration_serves_with_more_layers_skipped(calibrated: Calibrated, model: Path) -> None:
    settings = replace(ORT, skip=("conv2",))
    result = pipeline.quantize(model, config=settings, statistics=calibrated.calibration.statistics, options=ONE_THREAD)
    assert "conv2" not in result.record.by_key


def test_layers_that_were_skipped_before_have_no_statistics(calibrated: Calibrated, model: Path) -> None:
    fewer = pipeline.calibrate(model, images(), replace(ORT, skip=("conv1",)), options=ONE_THREAD)
    with pytest.raises(CalibrationError, match=r"holds nothing about tensor 'x'.*with other layers skipped"):
        fewer.decided_for(ORT)


def test_models_made_to_judge_biases_are_those_that_are_exported(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` builds and runs the quantized model to judge its correction: neither happens again."""
    decided = pipeline.calibrate(model, images(32), QuantConfig(bias_correction="auto"), options=ONE_THREAD)
    settled = decided.with_biases(ONE_THREAD.runtime)
    again = replace(settled, settled=None).exports()
    exports = settled.exports()
    assert exports.fake_quant is settled.settled.fake_quant
    assert [ir.to_bytes(m) for m in (exports.fake_quant, exports.deploy, exports.alone)] == [
        ir.to_bytes(m) for m in (again.fake_quant, again.deploy, again.alone)
    ]
    feeds, outputs = settled.calibration.feeds, settled.calibration.outputs
    fresh = checks.compared(again, feeds, outputs, ONE_THREAD.runtime)
    monkeypatch.setattr(checks, "open_session", None)
    assert checks.compared(exports, feeds, outputs, ONE_THREAD.runtime) == fresh
    assert fresh.samples == checks.COMPARED_SAMPLES


@pytest.mark.parametrize(("better", "correction"), [(True, "full"), (False, "analytic")])
def test_auto_takes_the_full_correction_only_where_it_is_clearly_better(
    model: Path, monkeypatch: pytest.MonkeyPatch, better: bool, correction: str
) -> None:
    monkeypatch.setattr(Score, "is_good", lambda _score: False)
    monkeypatch.setattr(Score, "clearly_above", lambda _score, _other: better)
    decided = pipeline.calibrate(model, images(4), QuantConfig(bias_correction="auto"), options=ONE_THREAD)
    settled = decided.with_biases(ONE_THREAD.runtime)
    assert settled.calibration.statistics.bias_correction == correction
    assert (settled.calibration.statistics.bias_shifts is not None) == better
    assert ir.to_bytes(settled.exports().fake_quant) == ir.to_bytes(replace(settled, settled=None).exports().fake_quant)


def test_where_the_analytic_correction_is_good_no_other_is_measured(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Score, "is_good", lambda _score: True)
    monkeypatch.setattr(biases, "measure_shifts", None)
    settled = pipeline.calibrate(model, images(4), QuantConfig(), options=ONE_THREAD).with_biases(ONE_THREAD.runtime)
    assert settled.calibration.statistics.bias_correction == "analytic"


def test_a_narrowed_decision_has_models_of_its_own(model: Path) -> None:
    auto = QuantConfig(bias_correction="auto")
    settled = pipeline.calibrate(model, images(32), auto, options=ONE_THREAD).with_biases(ONE_THREAD.runtime)
    assert settled.settled is not None
    narrowed = (settled.without({"conv2": "too sensitive"}), settled.decided_for(replace(auto, skip=("conv2",))))
    for other in narrowed:
        named = {node.name: node for node in other.exports("generic").fake_quant.graph}
        assert named["conv2"].inputs[1].producer() is None, "its weight is the float one"
        assert named["conv3"].inputs[1].producer().op_type == "DequantizeLinear"
