"""An LSTM has int8 weights for ONNX Runtime's CPU, and for nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_nets import ONE_THREAD, net, run

from amct_lite import ir
from amct_lite.analysis.candidates import Scales, parse_candidate
from amct_lite.analysis.sensitivity import measure_sensitivity
from amct_lite.config import QuantConfig
from amct_lite.converting import convert, convert_qdq
from amct_lite.diagnosis.explain import explain
from amct_lite.errors import AmctError, RecordError, VerificationError
from amct_lite.exporters import ort
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.pipeline import quantize
from amct_lite.record import RecurrentRecord, format_record, parse_record
from amct_lite.result import QuantizeResult
from amct_lite.types import QParams, QuantRecord

INPUTS, HIDDEN, STEPS, BATCH = 48, 64, 12, 2
TEXT = """net (float[12,2,48] x) => (float[12,D,2,64] y, float[D,2,64] last) {
  [lstm] y, last = LSTM <hidden_size=64, direction="DIRECTION"> (x, w, r, b) }"""
ONE_WAY = ["forward", "reverse"]
DIRECTIONS = [*ONE_WAY, "bidirectional"]


def weights(directions: int, *, uneven: bool = False) -> dict[str, np.ndarray]:
    """Rows alike, or one that has eight times the others' values."""
    rng = np.random.default_rng(1)
    sizes = {"w": (directions, 4 * HIDDEN, INPUTS), "r": (directions, 4 * HIDDEN, HIDDEN), "b": (directions, 8 * HIDDEN)}
    values = {name: rng.uniform(-0.2, 0.2, size).astype(np.float32) for name, size in sizes.items()}
    if uneven:
        values["w"][:, 3] *= 8
    return values


def samples(count: int = 8) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    return [{"x": rng.standard_normal((STEPS, BATCH, INPUTS)).astype(np.float32)} for _ in range(count)]


def model_of(direction: str = "forward", *, uneven: bool = False) -> onnx.ModelProto:
    directions = 1 + (direction == "bidirectional")
    text = TEXT.replace("DIRECTION", direction).replace("D,", f"{directions},")
    return net(text, **weights(directions, uneven=uneven))


def quantized(model: onnx.ModelProto, target: str = "ort", **settings: object) -> QuantizeResult:
    config = replace(QuantConfig(target=target), **settings)
    return quantize(ir.load_bytes(model.SerializeToString()), samples(), config, options=ONE_THREAD)


def kernel_of(result: QuantizeResult) -> tuple[ir.Node, list[np.ndarray | None]]:
    assert result.exports.deploy is not None
    (node,) = [node for node in result.exports.deploy.graph if node.op_type == "DynamicQuantizeLSTM"]
    assert result.exports.deploy.opset_imports["com.microsoft"] == 1
    return node, [None if value is None else ir.constant_of(value) for value in node.inputs]


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_kernel_has_the_codes_and_scales_of_the_record(direction: str, uneven: bool) -> None:
    model = model_of(direction, uneven=uneven)
    result = quantized(model)
    node, constants = kernel_of(result)
    assert node.name == "lstm"
    (entry,) = result.record.layers
    assert isinstance(entry, RecurrentRecord)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    directions = values["w"].shape[0]
    for name, params, codes, scale, zero in (("w", entry.weight, 1, 8, 9), ("r", entry.recurrence, 2, 10, 11)):
        assert params is not None
        rows = values[name].reshape(-1, values[name].shape[-1])
        scales = params.scales.reshape(-1, 1)
        assert len(scales) == (len(rows) if uneven else 1)  # one scale for all where the rows are alike
        wanted = np.rint(rows / scales).reshape(values[name].shape).transpose(0, 2, 1)
        found = constants[codes]
        assert found is not None
        np.testing.assert_array_equal(found, wanted.astype(np.int8))
        of_rows = np.broadcast_to(scales[:, 0], (len(rows),)).reshape(directions, -1)
        np.testing.assert_array_equal(constants[scale], of_rows if uneven else of_rows[:, 0])
        assert not np.any(constants[zero])
    np.testing.assert_array_equal(constants[3], values["b"])


@pytest.mark.parametrize("uneven", [False, True])
def test_no_sum_has_two_weights_of_minus_128(uneven: bool) -> None:
    """Scales that leave out the lowest code are what this target decides; those of another record may be smaller by a 128th."""
    model = model_of("bidirectional", uneven=uneven)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim == 3:
            lowest = -np.abs(array).max(axis=2 if uneven else None, keepdims=True)
            tensor.CopyFrom(numpy_helper.from_array(np.where(array < lowest / 2, lowest, array), tensor.name))
    result = quantized(model)
    (entry,) = result.record.layers
    assert isinstance(entry, RecurrentRecord)
    assert entry.weight is not None
    assert entry.recurrence is not None
    weight, recurrence = (QParams.of(params.scales * np.float32(127 / 128), 0) for params in (entry.weight, entry.recurrence))
    other = QuantRecord((replace(entry, weight=weight, recurrence=recurrence),))
    for record, least in ((result.record, 0), (other, 1)):
        exported = ort.export(result.source.prepared, record)
        (node,) = [node for node in exported.graph if node.op_type == "DynamicQuantizeLSTM"]
        for codes in (ir.constant_of(node.inputs[1]), ir.constant_of(node.inputs[2])):
            assert codes is not None
            assert (codes == -128).sum(axis=1).max() == least
            assert (codes < -126).sum(axis=1).max() > 1


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_it_computes_what_the_float_model_does(direction: str) -> None:
    model = model_of(direction)
    result = quantized(model)
    assert result.exports.deploy is not None
    for sample in samples(3):
        for exact, fake, ours in zip(
            *(run(m, sample) for m in (model, result.exports.fake_quant, result.exports.deploy)), strict=True
        ):
            assert sqnr_db(exact, fake) > 35
            assert sqnr_db(exact, ours) > sqnr_db(exact, fake) - 2
    kernels = result.report.kernels
    assert kernels is not None
    assert (kernels.layers, kernels.integer) == (1, 1)


def test_both_weights_are_rounded_in_the_fake_quant_model() -> None:
    model = model_of()
    result = quantized(model)
    (entry,) = result.record.layers
    assert isinstance(entry, RecurrentRecord)
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    for tensor in rounded.graph.initializer:
        if tensor.name in {"w", "r"}:
            params = entry.weight if tensor.name == "w" else entry.recurrence
            assert params is not None
            array = np.rint(numpy_helper.to_array(tensor) / params.scales) * params.scales
            tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))
    (sample,) = samples(1)
    scale, zero = np.float32(entry.activation.scale[0]), entry.activation.zero_point[0]
    codes = np.clip(np.rint(sample["x"] / scale) + zero, -128, 127)
    expected = run(rounded, {"x": ((codes - zero) * scale).astype(np.float32)})
    for ours, theirs in zip(run(result.exports.fake_quant, sample), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_the_state_lengths_and_first_state_stay_inputs_of_the_kernel() -> None:
    text = """net (float[12,2,48] x, int32[2] n) => (float[1,2,64] last, float[1,2,64] cell) {
      [lstm] , last, cell = LSTM <hidden_size=64, clip=3.0, activations=["Sigmoid","Tanh","Tanh"]> (x, w, r, b, n, h, c, p) }"""
    rng = np.random.default_rng(3)
    states = {name: rng.uniform(-1, 1, (1, BATCH, HIDDEN)).astype(np.float32) for name in "hc"}
    peepholes = rng.uniform(-0.1, 0.1, (1, 3 * HIDDEN)).astype(np.float32)
    model = net(text, **weights(1), **states, p=peepholes)
    data = [sample | {"n": np.array([12, 5], np.int32)} for sample in samples()]
    result = quantize(ir.load_bytes(model.SerializeToString()), data, QuantConfig(target="ort"), options=ONE_THREAD)
    assert result.exports.deploy is not None
    for exact, ours in zip(run(model, data[0]), run(result.exports.deploy, data[0]), strict=True):
        assert sqnr_db(exact, ours) > 33


def on_the_grid(gain: float) -> QuantizeResult:
    """Weights and data that 8 bits hold exactly: of the hidden state alone something is rounded."""
    rng, size = np.random.default_rng(0), 100
    text = "net (float[100,1,100] x) => (float[100,1,1,256] y) { [lstm] y = LSTM <hidden_size=256> (x, w, r) }"
    shapes = {"w": ((1, 1024, size), 3.0), "r": ((1, 1024, 256), 1.7)}
    values = {name: rng.integers(-127, 128, shape) * np.float32(own * gain / 127 / 16) for name, (shape, own) in shapes.items()}
    model = net(text, **{name: array.astype(np.float32) for name, array in values.items()})
    data = [{"x": np.eye(size, dtype=np.float32)[rng.integers(0, size, size)][:, None]} for _ in range(4)]
    return quantize(ir.load_bytes(model.SerializeToString()), data, QuantConfig(target="ort"), options=ONE_THREAD)


def test_a_kernel_may_round_more_than_the_fake_quant_model() -> None:
    kernels = on_the_grid(1.0).report.kernels
    assert kernels is not None
    assert 40 < kernels.sqnr_db < 70


def test_a_network_that_cannot_bear_its_rounding_is_refused() -> None:
    with pytest.raises(VerificationError, match="--skip lstm"):
        on_the_grid(3.0)


def test_codes_are_handed_to_it_where_a_kernel_in_front_writes_them() -> None:
    text = """net (float[1,3,8,12] x) => (float[12,1,1,64] y) {
      [conv] a = Conv <kernel_shape=[8,1]> (x, k) [relu] b = Relu (a) [flat] s = Squeeze (b, two)
      [turn] t = Transpose <perm=[2,0,1]> (s) [lstm] y = LSTM <hidden_size=64> (t, w, r) }"""
    named = weights(1)
    model = net(text, k=(INPUTS, 3, 8, 1), two=np.array([2]), w=named["w"], r=named["r"])
    rng = np.random.default_rng(4)
    data = [{"x": rng.standard_normal((1, 3, 8, 12)).astype(np.float32)} for _ in range(8)]
    result = quantize(ir.load_bytes(model.SerializeToString()), data, QuantConfig(target="ort"), options=ONE_THREAD)
    node, _ = kernel_of(result)
    in_front = node.inputs[0].producer() if node.inputs[0] is not None else None
    assert in_front is not None
    assert in_front.op_type == "DequantizeLinear"
    assert result.report.kernels is not None
    assert result.report.kernels.integer == 2


def test_rows_of_a_table_are_no_codes_that_are_handed_to_it() -> None:
    """The table's integers become floats behind the Gather: what moves these computes in float."""
    text = """net (int64[2,9] ids) => (float[9,1,2,64] y) {
      [embed] e = Gather (table, ids) [turn] t = Transpose <perm=[1,0,2]> (e) [lstm] y = LSTM <hidden_size=64> (t, w, r) }"""
    rng, named = np.random.default_rng(5), weights(1)
    model = net(text, table=rng.standard_normal((2000, INPUTS)).astype(np.float32), w=named["w"], r=named["r"])
    data = [{"ids": rng.integers(0, 2000, (2, 9))} for _ in range(8)]
    result = quantize(ir.load_bytes(model.SerializeToString()), data, QuantConfig(target="ort"), options=ONE_THREAD)
    assert set(result.record.by_key) == {"embed", "lstm"}
    node, _ = kernel_of(result)
    assert ir.producer_of(node.inputs[0]) is not None
    assert ir.producer_of(node.inputs[0]).op_type == "Transpose"


def test_two_that_share_their_weights_share_the_codes() -> None:
    text = """net (float[12,2,48] x, float[12,2,48] z) => (float[1,2,64] last, float[1,2,64] other) {
      [lstm] y, last = LSTM <hidden_size=64> (x, w, r, b) [second] v, other = LSTM <hidden_size=64> (z, w, r, b) }"""
    model = ir.load_bytes(net(text, **weights(1)).SerializeToString())
    data = [{"x": each["x"], "z": each["x"][::-1]} for each in samples()]
    result = quantize(model, data, QuantConfig(target="ort"), options=ONE_THREAD)
    assert result.exports.deploy is not None
    first, second = (node for node in result.exports.deploy.graph if node.op_type == "DynamicQuantizeLSTM")
    assert first.inputs[1:3] == second.inputs[1:3]


def test_floats_go_into_the_kernel_unrounded() -> None:
    node, _ = kernel_of(quantized(model_of()))
    assert node.inputs[0] is not None
    assert node.inputs[0].name == "x"


@pytest.mark.parametrize(
    ("change", "target", "reason"),
    [
        ({}, "ascend", "only ONNX Runtime's CPU"),
        ({}, "generic", "only ONNX Runtime's CPU"),
        ({"hidden_size=64": "hidden_size=64, layout=1"}, "ort", "layout 1"),
        (
            {"(x, w, r, b)": "(x, w, r2, b)", "float[12,2,48] x)": "float[12,2,48] x, float[1,256,64] r2)"},
            "ort",
            "hidden state",
        ),
    ],
)
def test_what_it_is_not_quantized_for_is_said(change: dict[str, str], target: str, reason: str) -> None:
    text = (
        TEXT.replace("DIRECTION", "forward")
        .replace("D,", "1,")
        .replace("=> (float[12,1,2,64] y, float[1,2,64] last)", "=> (float y, float last)")
    )
    for old, new in change.items():
        text = text.replace(old, new)
    model = ir.load_bytes(net(text + "", **weights(1)).SerializeToString())
    with pytest.raises(AmctError, match=reason):  # nothing else is there to quantize
        quantize(model, samples(), QuantConfig(target=target), options=ONE_THREAD)


@pytest.mark.parametrize("batch", [1, 2, "N"])
def test_that_a_batch_shares_a_range_is_noted(batch: int | str) -> None:
    text = TEXT.replace("DIRECTION", "forward").replace("D,", "1,").replace(",2,", f",{batch},")
    model = ir.load_bytes(net(text, **weights(1)).SerializeToString())
    data = [{"x": sample["x"][:, : 1 if batch == 1 else 2]} for sample in samples()]
    notes = quantize(model, data, QuantConfig(target="ort"), options=ONE_THREAD).report.notes
    assert any("lstm rounds all sequences of a batch" in note for note in notes) == (batch != 1)


def test_a_small_one_stays_in_float() -> None:
    text = """net (float[5,1,16] x) => (float[5,1,1,32] y) { [lstm] y = LSTM <hidden_size=32> (x, w, r) }"""
    model = ir.load_bytes(net(text, w=(1, 128, 16), r=(1, 128, 32)).SerializeToString())
    with pytest.raises(AmctError, match="6144 weights"):
        quantize(model, [{"x": np.ones((5, 1, 16), np.float32)}], QuantConfig(target="ort"), options=ONE_THREAD)


def test_its_record_is_read_back_and_gives_the_same_models(tmp_path: Path) -> None:
    model = model_of("bidirectional", uneven=True)
    result = quantized(model)
    path, record = tmp_path / "model.onnx", tmp_path / "record.txt"
    onnx.save(model, path)
    record.write_text(format_record(result.record), encoding="utf-8")
    again = convert(path, record, config=QuantConfig(target="ort"), data=samples())
    assert result.exports.deploy is not None
    assert again.exports.deploy is not None
    assert ir.to_bytes(again.exports.deploy) == ir.to_bytes(result.exports.deploy)
    assert ir.to_bytes(again.exports.fake_quant) == ir.to_bytes(result.exports.fake_quant)
    any_runtime = convert(path, record, config=QuantConfig(target="generic"), data=samples())
    assert ir.to_bytes(any_runtime.exports.fake_quant) == ir.to_bytes(result.exports.fake_quant)
    assert any_runtime.report.skips == ()
    fake = tmp_path / "fake.onnx"
    ir.save(result.exports.fake_quant, fake)
    assert convert_qdq(fake, config=QuantConfig(target="ort"), data=samples()).record == result.record


@pytest.mark.parametrize(("lost", "named"), [("scale_r", "no scale_r"), ("scale_w", "no scale_w")])
def test_a_record_without_one_of_its_scales_is_refused(tmp_path: Path, lost: str, named: str) -> None:
    model = model_of()
    lines = format_record(quantized(model).record).splitlines()
    path, record = tmp_path / "model.onnx", tmp_path / "record.txt"
    onnx.save(model, path)
    kept = [line for line in lines if not line.strip().startswith((lost, lost.replace("scale", "offset")))]
    record.write_text("\n".join(kept), encoding="utf-8")
    with pytest.raises(RecordError, match=named):
        convert(path, record, config=QuantConfig(target="ort"), data=samples())


def test_its_sensitivity_counts_both_weights() -> None:
    result = quantized(model_of())
    (entry,) = result.record.layers
    prepared = result.source.prepared
    scales = Scales(QuantRecord((entry,)), result.plan)
    (variant,) = scales.variants(prepared, [parse_candidate("W8A8")], ["lstm"])
    assert isinstance(entry, RecurrentRecord)
    assert (variant.weight, variant.recurrence) == (entry.weight, entry.recurrence)
    (narrow,) = scales.variants(prepared, [parse_candidate("W4A8")], ["lstm"])
    assert narrow.recurrence is not None
    assert narrow.recurrence.bits == 4


def test_its_sensitivity_reaches_what_is_computed_from_any_of_its_outputs() -> None:
    """What the last state gives differs as in the fake-quant model, though another output stands for the layer."""
    model = model_of()
    result = quantized(model)
    found = measure_sensitivity(
        result.source.prepared, Scales(result.record, result.plan), samples(2), metric="mse", options=ONE_THREAD
    )
    (effect,) = found.effects
    pairs = [[run(each, sample) for sample in samples(2)] for each in (model, result.exports.fake_quant)]
    for index, name in enumerate(("y", "last")):
        exact, fake = (np.stack([outputs[index] for outputs in each]) for each in pairs)
        assert effect.outputs[name].mse == pytest.approx(float(((exact - fake) ** 2).mean()), rel=1e-3)


def test_explain_names_its_kernel() -> None:
    result = quantized(model_of())
    assert result.exports.deploy is not None
    (row,) = explain(result.exports.deploy).layers
    assert (row.kernel, row.integer) == ("DynamicQuantizeLSTM", True)
    (row,) = explain(result.exports.fake_quant).layers
    assert not row.integer
    assert "use --target ort" in row.reasons[0]


def test_a_record_of_the_pytorch_flavour_keeps_its_hidden_state() -> None:
    entry = quantized(model_of()).record.layers[0]
    text = format_record(QuantRecord((entry,))).replace(
        "    scale_r", "    scale_h: 0.0078125\n    offset_h: 0\n    scale_r", 1
    )
    (read,) = parse_record(text).layers
    assert isinstance(read, RecurrentRecord)
    assert read.hidden is not None
