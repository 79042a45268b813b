"""The report: valid JSON, the same bytes for the same run, and every warning that the user needs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, saved, weights_of

from amct_lite.analysis.local_error import LocalError
from amct_lite.config import QuantConfig
from amct_lite.numerics.sketch import Outlier
from amct_lite.pipeline import quantize
from amct_lite.reports.report import OutputError, Report, output_errors, without_error
from amct_lite.reports.warnings import POOR_SQNR_DB, input_notes, local_warnings, outlier_warnings, sample_warnings
from amct_lite.result import QuantizeResult
from amct_lite.types import Feeds, QuantRecord, Skip

EMPTY = QuantRecord(())


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> QuantizeResult:
    return quantize(saved(net(), tmp_path_factory.mktemp("model")), images(), QuantConfig(skip=("conv2",)), options=ONE_THREAD)


def strict(text: str) -> dict:
    """JSON as everybody reads it: no NaN, no Infinity."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_holds_every_field(result: QuantizeResult) -> None:
    data = strict(result.report.to_json())
    assert data["model"] == "model.onnx"
    assert data["target"] == "ascend"
    assert data["samples"] == data["compared_samples"] == 8
    assert [row["name"] for row in data["layers"]] == ["conv1", "conv3", "conv4"]
    assert data["layers"][0]["weight"] == "per channel (8)"
    assert data["layers"][0]["scale_d"] == result.record.layers[0].activation.scale[0]
    assert [(skip["node"], skip["op_type"]) for skip in data["skips"]] == [("conv2", "Conv")]
    assert "'conv2'" in data["skips"][0]["reason"]
    assert data["outputs"][0]["name"] == "y"
    assert data["equivalence"]["layers"] == 3
    assert data["deploy_shapes"] == {"x": [1, 3, 16, 16]}
    assert set(data["sizes"]) == {"float", "fake_quant", "deploy"}
    assert data["sizes"]["deploy"] < data["sizes"]["float"]


def test_json_is_stable_and_tells_nothing_of_host_or_clock(result: QuantizeResult, tmp_path: Path) -> None:
    text = result.report.to_json()
    assert text == result.report.to_json()
    assert text.endswith("}\n")
    given = saved(net(), tmp_path)
    other = quantize(given, images(), QuantConfig(skip=("conv2",)), options=ONE_THREAD)
    assert other.report.model_path == str(given)
    assert replace(other.report, model_path=result.report.model_path).to_json() == text
    assert str(tmp_path) not in text


def test_numbers_that_are_not_finite_are_written_as_text() -> None:
    outputs = (OutputError("y", 0.0, 1.0, math.inf), OutputError("z", math.nan, 0.0, -math.inf))
    data = strict(Report("m", "ascend", 1, (), (), (), (), outputs=outputs).to_json())
    assert [entry["sqnr_db"] for entry in data["outputs"]] == ["inf", "-inf"]
    assert data["outputs"][1]["mse"] == "nan"


def test_numpy_numbers_are_written_as_numbers() -> None:
    outputs = (OutputError("y", float(np.float32(0.5)), np.float64(0.25), np.float64(np.inf)),)
    (entry,) = strict(Report("m", "ascend", 1, (), (), (), (), outputs=outputs).to_json())["outputs"]
    assert entry == {"name": "y", "mse": 0.5, "cosine": 0.25, "sqnr_db": "inf"}


def test_words_beyond_ascii_are_kept() -> None:
    report = Report("模型.onnx", "ascend", 1, (), (Skip("卷积", "Conv", "…"),), (), ())
    assert strict(report.to_json())["skips"][0]["node"] == "卷积"
    assert "模型" in report.to_json()


def test_output_errors_leave_integers_out_and_take_all_feeds_together() -> None:
    exact = [(np.array([3.0, 4.0]), np.array([1])), (np.array([0.0, 0.0]), np.array([2]))]
    ours = [(np.array([3.0, 4.0]), np.array([9])), (np.array([0.0, 0.5]), np.array([9]))]
    (error,) = output_errors(["y", "label"], exact, ours)
    assert error.name == "y"
    assert error.mse == pytest.approx(0.25 / 4)
    assert error.sqnr_db == pytest.approx(20.0)  # 25 of signal over 0.25 of noise


def test_outputs_without_decibels_are_told_in_words() -> None:
    exact = [(np.array([3.0]), np.array([1, 2]), np.zeros(3)), (np.array([3.0]), np.array([2, 0]), np.zeros(2))]
    ours = [(np.array([3.0]), np.array([1, 9]), np.zeros(3)), (np.array([2.0]), np.array([2, 0]), np.zeros(1))]
    same, fewer = without_error(["y", "label", "boxes"], exact, ours)
    assert same == "output label: 3 of 4 values are the same in the fake-quant model"
    assert fewer.startswith("output boxes has 5 values, in the fake-quant model 4: their number depends on the data")


def test_the_numbers_that_the_model_was_fed_are_told_but_not_those_of_ids() -> None:
    feeds = [
        {"x": np.array([[0.0, 2.0]]), "ids": np.array([[7, 8]])},
        {"x": np.array([[255.0, 3.0]]), "ids": np.array([[1, 2]])},
    ]
    assert input_notes(feeds) == ["input values: x from 0 to 255"]
    assert input_notes([{"ids": np.array([[7, 8]])}]) == []
    assert input_notes([]) == []


def test_each_wild_sample_is_one_warning() -> None:
    outliers = {"a": (Outlier(3, 5000.0, 5.0),), "b": (Outlier(3, 100.0, 2.0), Outlier(7, 80.0, 2.0)), "c": ()}
    first, second = outlier_warnings(outliers)
    assert first.startswith("sample 3 is 1e+03 times larger than the typical one (tensor 'a', 2 tensors in all)")
    assert second.startswith("sample 7 is 40 times larger than the typical one (tensor 'b', 1 tensor in all)")
    assert "--trust-data" in first


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ([{"x": np.zeros(4, np.float32)}] * 3, ["input 'x' holds nothing but 0 in all 3 batches looked at"]),
        ([{"x": np.full(4, 0.5, np.float32)}], ["input 'x' holds nothing but 0.5 in the one batch looked at"]),
        ([{"x": np.arange(4, dtype=np.float32)}] * 3, ["all 3 batches looked at are the same"]),
        ([{"x": np.arange(4, dtype=np.float32)}], []),
        ([{"x": np.arange(4, dtype=np.float32) + i, "mask": np.ones(4, np.int64)} for i in range(3)], []),
        ([{"x": np.arange(4, dtype=np.float32) + i, "gain": np.ones(1, np.float32)} for i in range(3)], []),
        ([{"ids": np.ones(4, np.int64)}] * 3, []),
        ([], []),
    ],
)
def test_data_that_never_change_are_warned_of(batches: list[Feeds], told: list[str]) -> None:
    warnings = sample_warnings(batches, {})
    assert len(warnings) == len(told)
    assert all(text in warning for text, warning in zip(told, warnings, strict=True))


def test_of_many_wild_samples_twenty_are_named() -> None:
    warnings = outlier_warnings({"a": tuple(Outlier(number, 80.0, 2.0) for number in range(30))})
    assert len(warnings) == 21
    assert warnings[-1] == "… and at least 10 more samples were left out in the same way."


def test_poor_layers_are_named_worst_first_with_the_remedy(result: QuantizeResult) -> None:
    local = {
        "fine": LocalError(POOR_SQNR_DB + 1, 1.0),
        "poor": LocalError(POOR_SQNR_DB - 1, 0.9),
        "worst layer": LocalError(3.0, 0.5),
        "unmeasured": LocalError(math.nan, math.nan),
    }
    first, second = local_warnings(local, result.source.prepared, EMPTY)
    assert first.startswith("worst layer: quantization alone leaves its output 3.0 dB above the noise")
    assert "--skip 'worst layer'" in first
    assert second.startswith("poor: ")
    given, _ = local_warnings(local, result.source.prepared, EMPTY, decided=False)
    assert given.endswith("Correct its entry in the record, or delete it to keep this in float."), "convert has no --skip"


def test_one_weight_scale_for_unequal_channels_warns_from_the_weights_alone(tmp_path: Path) -> None:
    model = net()
    arrays = weights_of(model)
    uneven = arrays["w3"] * np.geomspace(1, 1e-4, 8, dtype=np.float32)[:, None, None, None]
    index = [tensor.name for tensor in model.graph.initializer].index("w3")
    model.graph.initializer[index].raw_data = uneven.tobytes()
    config = QuantConfig(per_channel="none")
    warnings = quantize(saved(model, tmp_path), images(), config, options=ONE_THREAD).report.warnings
    (warning,) = [text for text in warnings if text.startswith("conv3 (Conv)")]
    assert "of 8 output channels lose their weights to rounding" in warning
    assert "--channel-wise all" in warning
    per_channel = quantize(saved(model, tmp_path), images(), options=ONE_THREAD).report.warnings
    assert not [text for text in per_channel if "lose their weights" in text]


@pytest.mark.parametrize(("count", "names"), [(1, "p0"), (7, "p0, p1, p2, p3, p4 and 2 more")])
def test_biases_that_cannot_be_corrected_are_one_note(tmp_path: Path, count: int, names: str) -> None:
    products = " ".join(f"[p{n}] v{n + 1} = MatMul(v{n}, m{n})" for n in range(count))
    text = f"net (float[N,4,16] v0) => (float[N,4,16] v{count}) {{ {products} }}"
    model = net(text, **{f"m{n}": (16, 16) for n in range(count)})
    data = [{"v0": np.random.default_rng(i).standard_normal((1, 4, 16)).astype(np.float32)} for i in range(4)]
    result = quantize(saved(model, tmp_path), data, QuantConfig(bias_correction="analytic"), options=ONE_THREAD)
    assert f"{names}: no bias correction: there is none to correct" in result.report.notes
