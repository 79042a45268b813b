"""From files or from memory, a page says what the run said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from page.conftest import EVIL, copy_of
from small_nets import ONE_THREAD, images, net, saved

from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.page.gather import page_of, read_page
from amct_lite.pipeline import quantize
from amct_lite.reports.reading import read_report
from amct_lite.result import QuantizeResult

Run = tuple[QuantizeResult, Path]


def test_a_report_reads_back_as_it_was(run: Run) -> None:
    result, prefix = run
    assert read_report(Path(f"{prefix}_report.json")) == result.report


def test_files_and_memory_give_the_same_page_but_for_rounded_weights(run: Run) -> None:
    result, prefix = run
    rounded, exact = read_page(prefix), page_of(result, prefix, {})
    assert (rounded.weights_from, exact.weights_from) == ("fake_quant", "float")
    assert [layer.tensors for layer in rounded.layers] == [layer.tensors for layer in exact.layers]
    assert rounded.graph == exact.graph
    steps = {layer.key: max(layer.weight.scale) for layer in result.record.layers}
    for a, b in zip(rounded.layers, exact.layers, strict=True):
        np.testing.assert_allclose(a.weights.low, b.weights.low, atol=0.51 * steps[a.row.name])  # half a step of rounding
        np.testing.assert_allclose(a.weights.high, b.weights.high, atol=0.51 * steps[a.row.name])


def test_tensors_of_4_bits_are_known_behind_the_clip_of_the_export(tmp_path: Path) -> None:
    result = quantize(saved(net(), tmp_path), images(4), QuantConfig(bits=4, weight_bits=4), options=ONE_THREAD)
    assert any(layer.types == "INT4 × INT4" for layer in result.report.layers)
    result.save(tmp_path / "net")
    page = read_page(tmp_path / "net")
    assert [layer.tensors for layer in page.layers] == [layer.tensors for layer in page_of(result, "net", {}).layers]
    assert all(layer.tensors[0].histogram for layer in page.layers)


def test_the_float_model_shows_weights_before_rounding(run: Run) -> None:
    result, prefix = run
    page = read_page(prefix, model=prefix.with_name("model.onnx"))
    assert page.layers == page_of(result, prefix, {}).layers


def test_a_histogram_holds_every_value_and_the_range_of_the_codes(run: Run) -> None:
    _, prefix = run
    for layer in read_page(prefix).layers:
        (tensor,) = layer.tensors
        scale, zero = layer.row.scale_d, layer.row.offset_d
        assert tensor.clip == pytest.approx(((-128 - zero) * scale, (127 - zero) * scale))
        assert tensor.histogram.low <= min(tensor.clip[0], tensor.seen[0])
        assert tensor.histogram.high >= max(tensor.clip[1], tensor.seen[1])
        values = 16 * 16 * 16 * {"conv1": 3}.get(layer.row.name, 8)
        assert sum(tensor.histogram.counts) == pytest.approx(values, rel=0.01)  # counts are rounded
    assert layer.row.name == "conv4"


def test_without_a_calibration_the_rest_is_shown(run: Run, tmp_path: Path) -> None:
    prefix = copy_of(run[1], tmp_path)
    Path(f"{prefix}_calibration.npz").unlink()
    page = read_page(prefix)
    assert len(page.layers) == len(run[0].report.layers) > 0
    assert all(layer.tensors[0].histogram is None and layer.weights for layer in page.layers)


def test_without_models_the_report_alone_is_shown(run: Run, tmp_path: Path) -> None:
    prefix = copy_of(run[1], tmp_path)
    Path(f"{prefix}_fake_quant_model.onnx").unlink()
    page = read_page(prefix)
    assert page.report == run[0].report
    assert (page.graph, page.weights_from) == ((), "")


def test_the_graph_is_drawn_with_its_layers(run: Run) -> None:
    steps = {step.name: step for step in read_page(run[1]).graph}
    assert [steps[name].state for name in ("x", "conv1", EVIL, "relu1", "y")] == [
        *("edge", "quantized", "quantized", "", "edge"),
    ]
    assert len(steps["add"].into) == 2


def test_a_prefix_that_is_misspelt_gets_a_hint(run: Run) -> None:
    with pytest.raises(ConfigError, match=r"no .*nett_report.json.*did you mean '.*net'"):
        read_page(f"{run[1]}t")


def test_a_record_elsewhere_must_be_named(run: Run, tmp_path: Path) -> None:
    prefix = copy_of(run[1], tmp_path)
    Path(f"{prefix}_record.txt").rename(tmp_path / "other.txt")
    with pytest.raises(ConfigError, match="Name that one with --record"):
        read_page(prefix)
    assert read_page(prefix, record=tmp_path / "other.txt").layers == read_page(run[1]).layers


def test_a_file_that_is_no_report_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net_report.json").write_text('{"model": 3}')
    with pytest.raises(ConfigError, match="not a report written by amct-lite"):
        read_page(tmp_path / "net")


def test_a_float_model_of_another_run_is_refused(run: Run, tmp_path: Path) -> None:
    other = net(w1=np.ones((8, 3, 3, 3), np.float32))
    other.graph.node[2].name = EVIL
    with pytest.raises(CalibrationError, match="another model"):
        read_page(run[1], model=saved(other, tmp_path))


def test_an_analysis_beside_the_run_becomes_a_section(run: Run, tmp_path: Path) -> None:
    prefix = copy_of(run[1], tmp_path)
    assert not any(analysis.source for analysis in read_page(prefix).analyses)
    ranking = [["conv4", 0.5], ["conv1", 0.75]]
    history = [{"in_float": ["conv4"], "metric": 0.9, "loss": 0.1, "acceptable": True}]
    content = {"in_float": ["conv4"], "ranking": ranking, "history": history}
    Path(f"{prefix}_autocalibration.json").write_text(json.dumps(content))
    (found,) = (analysis for analysis in read_page(prefix).analyses if analysis.source)
    assert found.source == "net_autocalibration.json"
    assert found.series.values == (("conv4", 0.5), ("conv1", 0.75))
    assert found.tables[0].rows == (("conv4", "1", "0.9", "0.1", "yes"),)


def test_a_foreign_file_under_the_name_of_an_analysis_is_refused(run: Run, tmp_path: Path) -> None:
    prefix = copy_of(run[1], tmp_path)
    Path(f"{prefix}_bitops.json").write_text('{"layers": [{"name": "conv1"}]}')
    with pytest.raises(ConfigError, match=r"net_bitops.json does not hold what its name says.*amct-lite bitops"):
        read_page(prefix)


def test_a_new_run_does_not_show_an_earlier_ones_analyses(run: Run, tmp_path: Path) -> None:
    result, _ = run
    (tmp_path / "net_autocalibration.json").write_text('{"ranking": [], "history": []}')
    assert not any(analysis.source for analysis in page_of(result, tmp_path / "net", {}).analyses)


def test_infinite_numbers_survive_the_file(run: Run, tmp_path: Path) -> None:
    report = run[0].report
    exact = replace(report, layers=(replace(report.layers[0], sqnr_db=float("inf")), *report.layers[1:]))
    (tmp_path / "r.json").write_text(exact.to_json())
    assert read_report(tmp_path / "r.json") == exact
