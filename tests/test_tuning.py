"""Layers that are faster in float go back to it: chosen by a fake timer, exported for real."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net
from test_fallback import uneven

from amct_lite import ir, tuning
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.pipeline import quantize
from amct_lite.public import load_config
from amct_lite.search.islands import LayerTime
from amct_lite.tuning import REASON, Tuned, tune

ORT = QuantConfig(target="ort")
SLOW = {"conv1": 50.0, "conv2": 20.0}
"""What these save in float; the others lose."""


def source() -> ir.Model:
    return ir.load_bytes(net().SerializeToString())


def clock(_exact: ir.Model, _integer: ir.Model, names: Collection[str], *_how: object) -> Sequence[LayerTime]:
    return [LayerTime(name, 100 + SLOW.get(name, -30), 100) for name in names]


def integer_layers(model: ir.Model) -> list[str]:
    found = [node for node in model.graph if node.op_type == "Conv"]
    reads = {str(node.name): node.inputs[1].producer() for node in found if node.inputs[1] is not None}
    return [name for name, producer in reads.items() if producer is not None]


Tuning = Callable[[float], tuple[Tuned, list[tuple[list[str], list[str]]]]]


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> Tuning:
    """Tunes by a fake timer and races that are won by this gain; returns these races, too."""

    def run(gain: float) -> tuple[Tuned, list[tuple[list[str], list[str]]]]:
        races = []

        def race(now: ir.Model, then: ir.Model, *_how: object) -> float:
            races.append((integer_layers(now), integer_layers(then)))
            return 1 - gain

        monkeypatch.setattr(tuning, "_profile", clock)
        monkeypatch.setattr(tuning, "_compare", race)
        return tune(source(), images(4), ORT, options=ONE_THREAD), races

    return run


def test_what_gains_goes_back_to_float_with_the_reason(tuned: Tuning) -> None:
    found, races = tuned(0.2)
    assert races == [(["conv1", "conv2", "conv3"], ["conv3"])]  # the last, whose result leaves the network, has floats
    assert found.in_float == ("conv1", "conv2")
    assert {skip.node: skip.reason for skip in found.result.report.skips}["conv1"] == REASON
    assert found.result.exports.deploy is not None
    assert integer_layers(found.result.exports.deploy) == ["conv3"]


def test_what_gains_less_than_three_percent_stays_quantized(tuned: Tuning) -> None:
    found, races = tuned(0.02)
    assert len(races) == 1
    assert found.in_float == ()
    assert len(found.result.record.by_key.keys() & {"conv1", "conv2", "conv3", "conv4"}) == 4


def test_the_configuration_that_is_written_gives_the_same_model_without_measuring(tuned: Tuning, tmp_path: Path) -> None:
    found, _ = tuned(0.2)
    found.save(tmp_path / "net")
    content = json.loads((tmp_path / "net_tuning.json").read_text(encoding="utf-8"))
    assert content == {
        "subject": asdict(found.result.report.subject),
        "in_float": ["conv1", "conv2"],
        "races": [{"layers": ["conv1", "conv2"], "ratio": pytest.approx(0.8), "kept": True}],
    }
    again = quantize(source(), images(4), load_config(tmp_path / "net_config.json"), options=ONE_THREAD)
    again.save(tmp_path / "again")
    for suffix in ("ort_model.onnx", "fake_quant_model.onnx", "record.txt"):
        assert (tmp_path / f"again_{suffix}").read_bytes() == (tmp_path / f"net_{suffix}").read_bytes(), suffix


def test_real_times_are_taken_for_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[LayerTime] = []
    profile = tuning._profile

    def watched(*given: object) -> Sequence[LayerTime]:
        seen.extend(profile(*given))  # type: ignore[arg-type]
        return seen

    monkeypatch.setattr(tuning, "_profile", watched)
    monkeypatch.setattr(tuning, "_compare", lambda *_given: 1.0)
    tune(source(), images(4), ORT, options=ONE_THREAD)
    assert [layer.name for layer in seen] == ["conv1", "conv2", "conv3", "conv4"]
    assert all(layer.integer > 0 and layer.exact > 0 for layer in seen)


def test_what_falls_back_to_float_in_any_case_is_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It would be another model that is tuned."""
    timed: list[list[str]] = []
    races: list[tuple[list[str], list[str]]] = []

    def clock(_exact: ir.Model, _integer: ir.Model, names: Collection[str], *_how: object) -> Sequence[LayerTime]:
        timed.append(list(names))
        return [LayerTime(name, 150 if name == "c3" else 70, 100) for name in names]

    def race(now: ir.Model, then: ir.Model, *_how: object) -> float:
        races.append((integer_layers(now), integer_layers(then)))
        return 0.5

    monkeypatch.setattr(tuning, "_profile", clock)
    monkeypatch.setattr(tuning, "_compare", race)
    model, data = uneven(), images(8, size=(8, 8))
    found = tune(model, data, ORT, options=ONE_THREAD)
    assert timed == [["c1", "c3"]]
    assert races == [(["c3"], [])], "c1, which floats are read of, has floats"
    assert found.in_float == ("c3",)
    reasons = {skip.node: skip.reason for skip in found.result.report.skips}
    assert reasons["c3"] == REASON
    assert reasons["c2"].startswith("8 bits would leave its output")
    found.save(tmp_path / "net")
    quantize(model, data, load_config(tmp_path / "net_config.json"), options=ONE_THREAD).save(tmp_path / "again")
    assert (tmp_path / "again_ort_model.onnx").read_bytes() == (tmp_path / "net_ort_model.onnx").read_bytes()


TEXT = """net (int64[2,7] ids, float[9,1,16] x) => (float[2,7,16] y, float[9,1,1,128] z) {
  [embed] e = Gather (table, ids) [norm] n = LayerNormalization (e, gamma, beta) [fc] y = MatMul (n, w)
  [lstm] z = LSTM <hidden_size = 128> (x, lw, lr, lb) }"""


def test_a_table_and_an_lstm_go_back_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a table the kernels count that make floats of its rows."""
    rng = np.random.default_rng(0)
    ones, table = np.ones(48, np.float32), rng.standard_normal((1500, 48)).astype(np.float32)
    weights = {"table": table, "w": (48, 16), "lw": (1, 512, 16), "lr": (1, 512, 128), "lb": (1, 1024)}
    model = ir.load_bytes(net(TEXT, gamma=ones, beta=ones, **weights).SerializeToString())
    samples = [{"ids": rng.integers(0, 1500, (2, 7)), "x": np.float32(rng.standard_normal((9, 1, 16)))} for _ in range(2)]
    seen: list[list[str]] = []

    def clock(exact: ir.Model, integer: ir.Model, names: Collection[str], *how: object) -> Sequence[LayerTime]:
        times = profile(exact, integer, names, *how)  # type: ignore[arg-type]
        seen.append([layer.name for layer in times])
        return [LayerTime(layer.name, 1.0, 2.0 if layer.name == "fc" else 0.5) for layer in times]

    profile = tuning._profile
    monkeypatch.setattr(tuning, "_profile", clock)
    monkeypatch.setattr(tuning, "_compare", lambda *_given: 0.9)
    found = tune(model, samples, ORT, options=ONE_THREAD)
    assert seen == [["embed", "fc", "lstm"]]
    assert found.in_float == ("embed", "lstm")
    assert [entry.key for entry in found.result.record.layers] == ["fc"]
    assert found.result.exports.deploy is not None
    assert "LSTM" in {node.op_type for node in found.result.exports.deploy.graph}


def test_other_targets_are_not_tuned() -> None:
    with pytest.raises(ConfigError, match=r"the target is ascend. Pass --target ort"):
        tune(source(), images(4), QuantConfig(), options=ONE_THREAD)


def test_a_saved_calibration_alone_has_no_sample_to_run() -> None:
    statistics = quantize(source(), images(4), ORT, options=ONE_THREAD).statistics
    with pytest.raises(CalibrationError, match="timed on a sample"):
        tune(source(), None, ORT, statistics=statistics, options=ONE_THREAD)
