"""A large table that rows are picked of is stored as integers for ONNX Runtime's CPU, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from small_nets import ONE_THREAD, net, run

from amct_lite import ir
from amct_lite.compat.configs import format_of, load_any_config, write_config
from amct_lite.config import QuantConfig
from amct_lite.converting import convert, convert_qdq
from amct_lite.diagnosis.bitops import bitops
from amct_lite.errors import RecordError
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.page.float_form import float_form
from amct_lite.page.gather import page_of
from amct_lite.page.summary import figures_of
from amct_lite.pipeline import quantize
from amct_lite.plan import resolve
from amct_lite.record import UNIT_DATA, format_record
from amct_lite.reports.wording import on_integers
from amct_lite.result import QuantizeResult
from amct_lite.types import QuantRecord, QuantSpec

ROWS, COLUMNS = 1500, 48
TEXT = """net (int64[2,7] ids) => (float[2,7,16] y) {
  [embed] e = Gather (table, ids) [norm] n = LayerNormalization (e, gamma, beta) [fc] y = MatMul (n, w) }"""


def table(rows: int = ROWS) -> np.ndarray:
    """Columns of sizes that differ."""
    rng = np.random.default_rng(1)
    return (rng.standard_normal((rows, COLUMNS)) * np.geomspace(0.01, 1, COLUMNS)).astype(np.float32)


def model_of(rows: int = ROWS, text: str = TEXT) -> onnx.ModelProto:
    ones, zeros = np.ones(COLUMNS, np.float32), np.zeros(COLUMNS, np.float32)
    return net(text, table=table(rows), gamma=ones, beta=zeros, w=(COLUMNS, 16))


def samples(rows: int = ROWS) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    return [{"ids": rng.integers(0, rows, (2, 7))} for _ in range(8)]


def quantized(model: onnx.ModelProto, config: QuantConfig | None = None, rows: int = ROWS) -> QuantizeResult:
    chosen = config or QuantConfig(target="ort")
    return quantize(ir.load_bytes(model.SerializeToString()), samples(rows), chosen, options=ONE_THREAD)


def names(result: QuantizeResult) -> list[str]:
    return [layer.key for layer in result.record.layers if not layer.tensor_quantize]


def test_codes_are_picked_and_made_floats_behind() -> None:
    model = model_of()
    result = quantized(model)
    embed = result.record.by_key["embed"]
    assert (embed.activation, embed.has_data) == (UNIT_DATA, False)
    assert embed.weight is not None
    scales = np.abs(table()).max(axis=0) / 127
    np.testing.assert_allclose(embed.weight.scales, scales, rtol=1e-6)
    for exported in (result.exports.fake_quant, result.exports.deploy):
        assert exported is not None
        (gather,) = [node for node in exported.graph if node.op_type == "Gather"]
        codes = ir.constant_of(gather.inputs[0])
        assert codes is not None
        np.testing.assert_array_equal(codes, np.rint(table() / embed.weight.scales).astype(np.int8))
        assert ir.weight_bytes(exported) < 1.2 * (table().size + 16 * COLUMNS)
        for sample in samples()[:2]:
            assert sqnr_db(run(model, sample)[0], run(exported, sample)[0]) > 33
    kernels = result.report.kernels
    assert kernels is not None
    assert (kernels.layers, kernels.integer) == (1, 1)  # it is no product


@pytest.mark.parametrize("per_channel", ["all", "none"])
def test_the_type_of_its_codes_is_written_beside_their_scales(per_channel: str) -> None:
    """ONNX Runtime up to 1.23 rounds what a Transpose moves behind it again, and without a zero point takes uint8 for that."""
    result = quantized(model_of(), QuantConfig(target="ort", per_channel=per_channel))
    rows = next(node for node in result.exports.fake_quant.graph if node.name == "embed").outputs[0].consumers()[0]
    scale, zero_point = map(ir.constant_of, rows.inputs[1:])
    assert scale is not None
    assert zero_point is not None
    assert (zero_point.shape, zero_point.dtype, zero_point.any()) == (scale.shape, np.int8, False)


@pytest.mark.parametrize(("per_channel", "made"), [("all", ["Cast", "Mul"]), ("none", ["DequantizeLinear"])])
def test_rows_with_a_scale_a_column_become_floats_as_a_product(per_channel: str, made: list[str]) -> None:
    """To the last bit what the fake-quant model makes of them."""
    result = quantized(model_of(), QuantConfig(target="ort", per_channel=per_channel))
    found, values = [], []
    for exported in (result.exports.deploy, result.exports.fake_quant):
        assert exported is not None
        value = next(node for node in exported.graph if node.name == "embed").outputs[0]
        nodes = []
        while value.dtype != ir.DataType.FLOAT or not nodes or nodes[-1] == "Cast":
            (reader,) = value.consumers()
            nodes.append(reader.op_type)
            value = reader.outputs[0]
        exported.graph.outputs.append(value)
        found.append(nodes)
        values.append([run(exported, sample)[-1] for sample in samples()[:2]])
    assert found == [made, ["DequantizeLinear"]]
    np.testing.assert_array_equal(*values)


def test_its_row_has_an_error_and_no_data() -> None:
    row = next(row for row in quantized(model_of()).report.layers if row.name == "embed")
    assert (row.scale_d, row.offset_d) == (None, None)
    assert row.sqnr_db is not None
    assert row.sqnr_db > 35


def test_one_scale_for_all_is_kept(tmp_path: Path) -> None:
    result = quantized(model_of(), QuantConfig(target="ort", per_channel="none"))
    weight = result.record.by_key["embed"].weight
    assert weight is not None
    assert weight.per_tensor
    (sample, *_) = samples()
    rounded = np.rint(table() / weight.scales) * weight.scales
    named = {"gamma": np.ones(COLUMNS, np.float32), "beta": np.zeros(COLUMNS, np.float32)}
    text = TEXT.replace("[2,7,16] y", "[2,7,48] n").replace("[fc] y = MatMul (n, w)", "")
    expected = run(net(text, table=rounded.astype(np.float32), **named), sample)[0]
    prepared = float_form(result.exports.fake_quant)
    prepared.graph.outputs.append(next(node for node in prepared.graph if node.name == "norm").outputs[0])
    np.testing.assert_allclose(run(prepared, sample)[-1], expected, atol=1e-5)


@pytest.mark.parametrize(("target", "rows"), [("ascend", ROWS), ("generic", ROWS), ("ort", 100)])
def test_it_stays_in_float_elsewhere_and_where_it_is_small(target: str, rows: int) -> None:
    result = quantized(model_of(rows), QuantConfig(target=target), rows)
    assert names(result) == ["fc"]
    (skip,) = [skip for skip in result.report.skips if skip.node == "embed"]
    assert ("only 4800 numbers" if rows == 100 else "--target ort") in skip.reason


def test_one_row_far_above_the_others_keeps_it_in_float() -> None:
    uneven = table()
    uneven[7] *= 30
    model = net(TEXT, table=uneven, gamma=np.ones(COLUMNS, np.float32), beta=np.zeros(COLUMNS, np.float32), w=(COLUMNS, 16))
    result = quantized(model)
    assert names(result) == ["fc"]
    assert any("above the noise" in skip.reason for skip in result.report.skips)


def test_rows_that_leave_the_network_keep_their_name() -> None:
    text = TEXT.replace("(float[2,7,16] y)", "(float[2,7,48] e, float[2,7,16] y)")
    model = model_of(text=text)
    result = quantized(model)
    assert "embed" in names(result)
    for exported in (result.exports.fake_quant, result.exports.deploy):
        assert exported is not None
        assert [str(value.name) for value in exported.graph.outputs] == ["e", "y"]
        assert sqnr_db(run(model, samples()[0])[0], run(exported, samples()[0])[0]) > 35


def test_a_product_with_the_table_is_a_layer_for_ascend_as_before() -> None:
    """A weight that two products share is none; the rows of this one are picked of floats."""
    text = """net (int64[2,7] ids, float[3,1500] p) => (float[2,7,48] n, float[3,48] y) {
      [embed] e = Gather (table, ids) [norm] n = LayerNormalization (e, gamma, beta) [fc] y = MatMul (p, table) }"""
    plan = resolve(QuantConfig(target="ascend"), ir.load_bytes(model_of(text=text).SerializeToString()))
    assert [layer.name for layer in plan.layers] == ["fc"]


OTHERS = {
    "scaled": "[scaled] z = Mul (q, table)",
    "picked": """[if] z = If (flag) <then_branch = yes () => (float[2,7,48] t) { [picked] t = Gather (table, ids) },
      else_branch = no () => (float[2,7,48] u) { [again] u = Gather (table, ids) }>""",
}


@pytest.mark.parametrize("reader", OTHERS)
def test_a_table_that_stays_in_float_for_another_is_not_stored_twice(reader: str) -> None:
    text = TEXT.replace("ids) =>", "ids, float[1500,48] q, bool flag) =>").replace("16] y)", "16] y, float z)")
    model = ir.load_bytes(model_of(text=text.replace(" }", f" {OTHERS[reader]} }}")).SerializeToString())
    (skip, *_) = resolve(QuantConfig(target="ort"), model).skips
    assert skip.node == "embed"
    assert skip.reason.startswith(f"{reader} reads the floats")


def moved_into_a_body() -> onnx.ModelProto:
    """With one scale ONNX Runtime (1.31) moves the DequantizeLinear behind the Reshape, where it ends the process."""
    text = (
        TEXT.replace("ids) =>", "ids, bool flag) =>")
        .replace("16] y)", "16] y, float z)")
        .replace(
            " }",
            """ [moved] r = Reshape (e, shape)
          [if] z = If (flag) <then_branch = yes () => (float[14,48] t) { [sine] t = Sin (r) },
          else_branch = no () => (float[14,48] u) { u = Cos (r) }> }""",
        )
    )
    model = model_of(text=text)
    model.graph.initializer.append(numpy_helper.from_array(np.array([14, 48]), "shape"))
    return model


def test_rows_that_the_body_of_an_if_reads_keep_it_in_float() -> None:
    (skip, *_) = resolve(QuantConfig(target="ort"), ir.load_bytes(moved_into_a_body().SerializeToString())).skips
    assert skip.reason.startswith("sine, in the body of an If or Loop, would read its rows")


def gathers_in_a_body() -> onnx.ModelProto:
    text = """net (int64[2,7] ids, bool flag) => (float[2,7,16] y) {
      e = If (flag) <then_branch = yes () => (float[2,7,48] t) { [picked] t = Gather (table, ids) },
      else_branch = no () => (float[2,7,48] u) { [again] u = Gather (table, ids) }>
      [norm] n = LayerNormalization (e, gamma, beta) [fc] y = MatMul (n, w) }"""
    return model_of(text=text)


def right_behind_it() -> onnx.ModelProto:
    """ONNX Runtime quantizes the weight of `first` unasked, where one scale holds for all rows."""
    text = """net (int64[7] ids) => (float[7,16] y) {
      [embed] e = Gather (table, ids) [first] f = Gemm (e, w) [fc] y = MatMul (f, v) }"""
    return net(text, table=table(), w=(COLUMNS, 16), v=(16, 16))


@pytest.mark.parametrize("target", ["generic", "ort"])
@pytest.mark.parametrize(
    ("model", "key", "said"),
    [
        (gathers_in_a_body, "picked", r"'picked' \(Gather\) cannot be quantized: it stands inside the body of a control-flow"),
        (gathers_in_a_body, "picked:0", r"'picked:0' \(Gather\) cannot be quantized: it stands inside the body of a control-"),
        (gathers_in_a_body, "words", "'words' is no node of the model: correct its key or remove the entry"),
        (
            moved_into_a_body,
            "embed",
            "sine'?, in the body of an If or Loop, would read .*: ONNX Runtime crashes on such a model",
        ),
        (right_behind_it, "embed", "'first' stays in float and would read it|first multiplies its rows with a weight"),
    ],
)
def test_a_record_written_by_hand_is_told_why_a_table_is_not_quantized(
    model: Callable[[], onnx.ModelProto], key: str, said: str, target: str, tmp_path: Path
) -> None:
    path, record = tmp_path / "model.onnx", tmp_path / "record.txt"
    onnx.save(model(), path)
    alone = "is_tensor_quantize: true" if ":" in key else "scale_w: 0.05 offset_w: 0"
    record.write_text(f'record {{ key: "{key}" value {{ scale_d: 1.0 offset_d: 0 {alone} }} }}', encoding="utf-8")
    with pytest.raises(RecordError, match=rf"record.txt:1: layer .*({said})"):
        convert(path, record, config=QuantConfig(target=target), options=ONE_THREAD)


def test_who_shares_a_table_shares_its_codes(tmp_path: Path) -> None:
    """Also in what is made of a fake-quant model."""
    text = """net (int64[2,7] ids, int64[2,7] seen) => (float[2,7,16] y) {
      [embed] e = Gather (table, ids) [embed_seen] s = Gather (table, seen) [both] b = Mul (e, s)
      [norm] n = LayerNormalization (b, gamma, beta) [fc] y = MatMul (n, w) }"""
    data = [{"ids": each["ids"], "seen": each["ids"][::-1]} for each in samples()]
    model = ir.load_bytes(model_of(text=text).SerializeToString())
    result = quantize(model, data, QuantConfig(target="ort"), options=ONE_THREAD)
    assert names(result) == ["embed", "embed_seen", "fc"]
    fake = tmp_path / "fake.onnx"
    ir.save(result.exports.fake_quant, fake)
    for taken in (result, convert_qdq(fake, config=QuantConfig(target="ort"), data=data)):
        assert taken.exports.deploy is not None
        assert ir.weight_bytes(taken.exports.deploy) < 1.2 * (table().size + 16 * COLUMNS)


def test_a_product_right_behind_it_keeps_it_in_float() -> None:
    """ONNX Runtime would quantize a float weight unasked that is multiplied with dequantized rows."""
    text = """net (int64[2,7] ids) => (float[2,7,16] y) { [embed] e = Gather (table, ids) [fc] y = MatMul (e, w) }"""
    result = quantized(net(text, table=table(), w=(COLUMNS, 16)))
    assert names(result) == ["fc"]
    assert any("fc multiplies its rows" in skip.reason for skip in result.report.skips)


def test_a_qdq_model_keeps_such_a_table_in_float_too(tmp_path: Path) -> None:
    text = """net (int64[7] ids) => (float[7,16] y) {
      t = DequantizeLinear (codes, fine) [embed] e = Gather (t, ids) [first] f = Gemm (e, w)
      q = QuantizeLinear (f, step, zero) d = DequantizeLinear (q, step, zero)
      v = DequantizeLinear (square, fine) [fc] y = MatMul (d, v) }"""
    rng = np.random.default_rng(3)
    codes, square = (rng.integers(-127, 127, shape).astype(np.int8) for shape in ((ROWS, COLUMNS), (16, 16)))
    fine, step, zero = np.float32(0.01), np.float32(0.05), np.int8(3)
    path = tmp_path / "qat.onnx"
    onnx.save(net(text, codes=codes, square=square, fine=fine, step=step, zero=zero, w=(COLUMNS, 16)), path)
    taken = convert_qdq(
        path, config=QuantConfig(target="generic"), data=[{"ids": rng.integers(0, ROWS, 7)}], options=ONE_THREAD
    )
    assert names(taken) == ["fc"]
    (reason,) = [skip.reason for skip in taken.report.skips if skip.node == "embed"]
    assert reason.startswith("'first' stays in float and would read it")


def test_records_and_fake_quant_models_are_read_back(tmp_path: Path) -> None:
    model = model_of()
    result = quantized(model)
    path, record, fake = tmp_path / "model.onnx", tmp_path / "record.txt", tmp_path / "fake.onnx"
    onnx.save(model, path)
    record.write_text(format_record(result.record), encoding="utf-8")
    again = convert(path, record, config=QuantConfig(target="ort"), data=samples())
    assert again.exports.deploy is not None
    assert result.exports.deploy is not None
    assert ir.to_bytes(again.exports.deploy) == ir.to_bytes(result.exports.deploy)
    ir.save(result.exports.fake_quant, fake)
    taken = convert_qdq(fake, config=QuantConfig(target="ort"), data=samples())
    assert taken.record.by_key["embed"] == result.record.by_key["embed"]


@pytest.mark.parametrize(("said", "edited"), [("scale_d: 1.0", "scale_d: 0.5"), ("wts_type", 'act_type: "INT16" wts_type')])
def test_a_record_that_says_something_of_its_data_is_refused(tmp_path: Path, said: str, edited: str) -> None:
    model = model_of()
    embed = QuantRecord((quantized(model).record.by_key["embed"],))
    path, record = tmp_path / "model.onnx", tmp_path / "record.txt"
    onnx.save(model, path)
    record.write_text(format_record(embed).replace(said, edited), encoding="utf-8")
    with pytest.raises(RecordError, match=r"but no data: write 1\.0 and 0"):
        convert(path, record, config=QuantConfig(target="ort"), data=samples())


def test_amct_configurations_name_it(tmp_path: Path) -> None:
    prepared = ir.load_bytes(model_of().SerializeToString())
    config = QuantConfig(target="ort", per_channel="none")
    path = tmp_path / "quant.json"
    write_config(path, config, resolve(config, prepared), format_of(path))
    read = replace(load_any_config(path, prepared), target="ort")
    (layer, _) = resolve(read, prepared).layers
    assert (layer.name, layer.weight_spec) == ("embed", QuantSpec(symmetric=True, narrow=True))


def test_where_it_alone_is_quantized_no_layer_runs_on_integers(tmp_path: Path) -> None:
    result = quantized(model_of(), QuantConfig(target="ort", skip=("fc",)))
    (fact,) = [fact for fact in figures_of(page_of(result, tmp_path / "net", {})) if fact.name == "ONNX Runtime"]
    assert fact.value == "no layer"
    assert fact.detail.startswith("to run on integer kernels; ")
    assert on_integers(0, 0) == "there are no convolutions and matrix products"


def test_bit_operations_count_its_bytes() -> None:
    result = quantized(model_of())
    counted = bitops(result.source.prepared, record=result.record)
    row = next(layer for layer in counted.layers if layer.name == "embed")
    assert (row.macs, row.bitops, row.weight_bytes) == (0, 0, table().size)
