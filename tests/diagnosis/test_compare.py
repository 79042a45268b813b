"""The flow of the error: numbers worked by hand, models of every kind, what cannot be compared."""

from __future__ import annotations

import json
from math import inf, log10
from pathlib import Path

import numpy as np
import pytest
from small_nets import FOUR_CONVS, ONE_THREAD, images, net, saved, to_float16

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.diagnosis import compare as module
from amct_lite.diagnosis.compare import Comparison, TensorError, compare
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.pipeline import quantize
from amct_lite.runtime import RuntimeOptions

RUNTIME = RuntimeOptions(threads=1)
STEPS = """net (float[1,2] x) => (float[1,2] y) {
  [double] a = Mul (x, two) [shift] b = Add (a, one) [triple] y = Mul (b, three) }"""
X = [{"x": np.array([[1.0, 3.0]], np.float32)}, {"x": np.array([[-1.0, 0.0]], np.float32)}]


def steps(two: float = 2, one: float = 1, three: float = 3) -> ir.Model:
    values = {"two": np.float32(two), "one": np.float32(one), "three": np.float32(three)}
    return model(STEPS, **values)


def model(text: str = FOUR_CONVS, **values: object) -> ir.Model:
    return ir.load_bytes(net(text, **values).SerializeToString())


def rows(found: Comparison) -> dict[str, TensorError]:
    return {row.name: row for row in found.tensors}


def decibels(signal: float, noise: float) -> float:
    return 10 * log10(signal / noise)


def test_accumulated_and_isolated_errors_worked_by_hand() -> None:
    """a = 2x, b = a + 1, y = 3b against a' = 2x, b' = a' + 2, y' = 4b'.

    a = (2, 6), (-2, 0); b = (3, 7), (-1, 1), Σb² = 60, off by 1 four times; y = (9, 21), (-3, 3), Σy² = 540;
    y' = (16, 32), (0, 8), off by 7, 11, 3, 5: Σ = 204, with b instead of b': 4b - 3b = b, Σ = 60."""
    found = rows(compare(steps(), steps(one=2, three=4), X, runtime=RUNTIME))
    a, b, y = found["a"], found["b"], found["y"]
    assert (a.sqnr_db, a.isolated_db, a.cosine, a.max_error) == (inf, inf, pytest.approx(1), 0)
    assert b.sqnr_db == pytest.approx(decibels(60, 4))
    assert b.isolated_db == pytest.approx(decibels(60, 4))
    assert (b.max_error, b.max_value) == (1, 7)
    assert y.sqnr_db == pytest.approx(decibels(540, 204))
    assert y.isolated_db == pytest.approx(decibels(540, 60))
    assert y.max_error == 11
    # Σ y y' = 9·16 + 21·32 + 0 + 24 = 840, Σ y'² = 256 + 1024 + 0 + 64 = 1344
    assert y.cosine == pytest.approx(840 / (540 * 1344) ** 0.5)


def test_the_error_is_marked_where_it_arises_not_where_it_stays() -> None:
    found = rows(compare(steps(), steps(one=2), X, runtime=RUNTIME))
    assert [row.jump for row in found.values()] == [False, True, False]
    assert found["y"].isolated_db == inf


def test_the_error_jumps_across_tensors_that_the_second_model_calls_otherwise() -> None:
    """Ways that part and meet again forty times, 2^40 ways in all, behind a tensor that is compared and already as wrong."""

    def meeting(prefix: str, one: float) -> ir.Model:
        diamonds = "".join(
            f"{prefix}r{i} = Relu ({at}) {prefix}s{i} = Identity ({at}) {prefix}m{i} = Max ({prefix}r{i}, {prefix}s{i}) "
            for i, at in enumerate(["b", *(f"{prefix}m{i}" for i in range(39))])
        )
        text = f"net (float[1,2] x) => (float[1,2] y) {{ b = Add (x, one) {diamonds} y = Mul ({prefix}m39, two) }}"
        return model(text, one=np.float32(one), two=np.float32(2))

    found = rows(compare(meeting("", 10), meeting("renamed_", 14), X, runtime=RUNTIME))
    assert {name: row.jump for name, row in found.items()} == {"b": True, "y": False}


def test_little_memory_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    other = steps(one=2, three=4)
    whole = compare(steps(), other, X, runtime=RUNTIME)
    monkeypatch.setattr(module, "BUDGET", 1)
    assert compare(steps(), other, X, runtime=RUNTIME) == whole


@pytest.mark.parametrize("target", ["ort", "ascend"])
def test_models_of_this_package(target: str) -> None:
    """In the deploy model the tensors of layers have other names, and integers in their place."""
    source = model()
    result = quantize(source, images(4), QuantConfig(target=target), options=ONE_THREAD)
    assert result.exports.deploy is not None
    for quantized in (result.exports.fake_quant, result.exports.deploy):
        found = compare(source, quantized, images(4), runtime=RUNTIME)
        assert {"a", "c", "e", "y"} <= rows(found).keys()
        assert all(25 < row.sqnr_db < 80 for row in found.tensors)
        assert all(row.isolated_db >= row.sqnr_db - 3 for row in found.tensors)
        assert rows(found)["f"].op_type == "Add"
    (output,) = result.report.outputs
    assert rows(compare(source, result.exports.fake_quant, images(4), runtime=RUNTIME))["y"].sqnr_db == pytest.approx(
        output.sqnr_db,
        abs=0.3,  # fused kernels round some codes otherwise
    )


def test_a_deploy_model_in_float16_takes_what_the_float_model_computes_in_float32() -> None:
    source = ir.load_bytes(to_float16(net()).SerializeToString())
    result = quantize(source, images(4), options=ONE_THREAD)
    assert result.exports.deploy is not None
    found = compare(source, result.exports.deploy, images(4), runtime=RUNTIME)
    assert all(25 < row.sqnr_db < 80 and row.isolated_db > 25 for row in found.tensors)
    assert rows(compare(model(), source, images(4), runtime=RUNTIME))["y"].sqnr_db > 50  # 11 bits of mantissa: some 66 dB


def test_a_normalization_that_was_folded_is_folded_for_the_comparison() -> None:
    text = """net (float[1,3,16,16] x) => (float[1,8,14,14] y) {
      [c] a = Conv (x, w1) [bn] b = BatchNormalization (a, g, beta, mean, var) [relu] y = Relu (b) }"""
    eight = np.linspace(0.5, 2, 8).astype(np.float32)
    source = model(text, g=eight, beta=eight, mean=eight, var=eight)
    result = quantize(source, images(4), QuantConfig(target="generic"), options=ONE_THREAD)
    found = compare(source, result.exports.fake_quant, images(4), runtime=RUNTIME)
    assert all(row.sqnr_db > 25 for row in found.tensors)
    assert not found.unmatched


def test_tensors_that_only_one_model_has_are_named() -> None:
    other = model("net (float[1,2] x) => (float[1,2] y) { [all] y = Mul (x, six) }", six=np.float32(6))
    found = compare(steps(), other, X, runtime=RUNTIME)
    assert found.unmatched == ("a", "b")
    assert list(rows(found)) == ["y"]


def test_a_tensor_of_another_shape_is_named_and_left_out() -> None:
    other = model("""net (float[1,2] x) => (float[1,2] y) {
      [one] a = Concat <axis=0> (x, x) [top] t = Slice (a, start, end) [two] y = Mul (t, six) }""",
      start=np.array([0]), end=np.array([1]), six=np.float32(6))  # fmt: skip
    found = compare(steps(), other, X, runtime=RUNTIME)
    assert found.skipped == ("a",)
    assert "y" in rows(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            STEPS.replace("] y)", "] z)").replace(" y = ", " z = "),
            "the outputs differ: the first model .* has y, the second .* z",
        ),
        (STEPS.replace("] x)", "] w)").replace("(x,", "(w,"), "the inputs differ: the first model .* has x, the second .* w"),
        (STEPS.replace("float[1,2]", "float[N,3]"), r"the inputs differ: .* has x \(1, 2\), the second .* x \(N, 3\)"),
        (STEPS.replace("float[1,2]", "float[1,2,1]"), r"has x \(1, 2\), the second .* x \(1, 2, 1\)"),
    ],
)
def test_models_of_different_networks_are_refused(text: str, message: str) -> None:
    other = model(text, two=np.float32(2), one=np.float32(1), three=np.float32(3))
    with pytest.raises(ConfigError, match=message):
        compare(steps(), other, X)


def test_the_error_says_which_file_has_which_input(tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    renamed = STEPS.replace("] x)", "] w)").replace("(x,", "(w,")
    other = model(renamed, two=np.float32(2), one=np.float32(1), three=np.float32(3))
    for path, each in zip(paths, (steps(), other), strict=True):
        ir.save(each, path)
    with pytest.raises(ConfigError, match=r"the first model \(a\.onnx\) has x, the second \(b\.onnx\) w\. "):
        compare(*paths, X)


def test_samples_are_needed() -> None:
    with pytest.raises(CalibrationError, match=r"Pass samples \(--data\), or --random N"):
        compare(steps(), steps())


def test_json_holds_infinity_as_text() -> None:
    found = json.loads(compare(steps(), steps(one=2), X, runtime=RUNTIME).to_json())
    assert found["tensors"][0]["sqnr_db"] == "inf"
    assert found["samples"] == 2


def test_files_are_taken_too(tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path, each in zip(paths, (steps(), steps(one=2)), strict=True):
        ir.save(each, path)
    found = compare(*paths, X, runtime=RUNTIME)
    assert (found.exact, found.other) == ("a.onnx", "b.onnx")


def test_a_quantized_model_in_the_place_of_the_float_one_is_refused(tmp_path: Path) -> None:
    result = quantize(saved(net(), tmp_path), images(2), options=ONE_THREAD)
    for exported in (result.exports.fake_quant, result.exports.deploy):
        with pytest.raises(ConfigError, match="The float model comes first: swap them"):
            compare(exported, tmp_path / "model.onnx", images(1))


def test_of_a_tensor_with_channels_more_the_others_are_compared() -> None:
    """The name says so. What the rest of the model makes of them alone is computed with zeros behind."""
    text = "net (float[1,2,1] x) => (float[1,1,1] y) { [one] a = Conv (x, w1) [two] y = Conv (a, w2) }"
    first, second = np.float32([[[1], [0]], [[0], [2]]]), np.float32([[[1], [1]]])
    more = np.concatenate([first * np.float32(1.1), np.float32([[[5], [5]]])]), np.float32([[[1], [1], [0]]])
    other = model(text, w1=more[0], w2=more[1])
    next(iter(other.graph)).outputs[0].name = "a.grown"
    data = [{"x": np.float32([[[1], [2]]])}]
    found = rows(compare(model(text, w1=first, w2=second), other, data, runtime=RUNTIME))
    assert found["a"].sqnr_db == pytest.approx(20, abs=1e-3)
    assert found["a"].max_value == 4.0
    assert (found["y"].sqnr_db, found["y"].isolated_db) == (pytest.approx(20, abs=1e-3), inf)
