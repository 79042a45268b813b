"""Records as text: both flavours, every check that needs no model, and the way back."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus import SHARED, needs_shared
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from amct_lite.errors import RecordError
from amct_lite.record import UNIT_DATA, UNIT_WEIGHT, RecurrentRecord, format_record, parse_record, read_record
from amct_lite.record.schema import ScaleOffsetRecord
from amct_lite.types import LayerRecord, QParams, QuantRecord

GOLDEN = ("cnn", "cnn_symmetric", "mlp_hfmg")
CONV = QParams.of(0.5, 3), QParams.of([0.25, 0.125], 0)


def entry(body: str, key: str = "conv1") -> str:
    """An entry whose fields stand one a line: the key in line 2, the first field in line 4."""
    return f'record {{\n  key: "{key}"\n  value {{\n{body}\n  }}\n}}\n'


def lines(*changes: str) -> str:
    """The fields of a good layer, with the ones named in `changes` replaced (`name` alone: left out)."""
    fields = {
        "scale_d": "scale_d: 0.5",
        "offset_d": "offset_d: 3",
        "scale_w": "scale_w: 0.25",
        "offset_w": "offset_w: 0",
    }
    for change in changes:
        name = change.partition(":")[0]
        fields[name] = change if ":" in change else ""
    return "\n".join(filter(None, fields.values()))


@needs_shared
@pytest.mark.parametrize("name", GOLDEN)
def test_records_of_amct_come_back_byte_for_byte(name: str) -> None:
    path = SHARED / "reference" / "golden" / name / "record.txt"
    text = path.read_text(encoding="utf-8")
    written = format_record(read_record(path))
    assert written == text
    assert text_format.Parse(written, ScaleOffsetRecord()) == text_format.Parse(text, ScaleOffsetRecord())


@needs_shared
def test_op_without_weight_has_a_unit_weight() -> None:
    record = read_record(SHARED / "reference" / "golden" / "cnn" / "record.txt")
    assert record.by_key["ap"].weight == UNIT_WEIGHT
    assert len(record.by_key["c1"].weight.scales) == 16


def test_short_form_of_the_manual_is_read() -> None:
    text = 'record { key: "conv1" value { scale_d: 0.0798481479 offset_d: 1 scale_w: 0.00297622895 offset_w: 0 } }'
    (layer,) = parse_record(text).layers
    assert layer == LayerRecord("conv1", QParams.of(0.0798481479, 1), QParams.of(0.00297622895, 0))


@pytest.mark.parametrize(
    ("body", "activation_bits", "weight_bits"),
    [
        (lines(), 8, 8),
        (lines('act_type: "INT16"'), 16, 8),
        (lines('wts_type: "INT4"'), 8, 4),
        (lines('dst_type: "INT4"'), 4, 4),
        (lines('dst_type: "INT4"', 'act_type: "INT8"'), 8, 4),
    ],
)
def test_types_give_bits(body: str, activation_bits: int, weight_bits: int) -> None:
    (layer,) = parse_record(entry(body)).layers
    assert layer.activation.bits == activation_bits
    assert layer.weight is not None
    assert layer.weight.bits == weight_bits


def test_fields_of_amct_are_kept() -> None:
    body = lines("shift_bit: [1, 16]", "skip_fusion: true", "tensor_balance_factor: 2", 'op_data_type: "FLOAT16"')
    record = parse_record(entry(body))
    (layer,) = record.layers
    assert (layer.shift_bit, layer.skip_fusion, layer.balance_factor) == ((1, 16), True, (2.0,))
    assert layer.data_type == "FLOAT16"
    assert parse_record(format_record(record)) == record


def test_false_and_absent_skip_fusion_differ() -> None:
    assert parse_record(entry(lines())).layers[0].skip_fusion is None
    record = parse_record(entry(lines("skip_fusion: false")))
    assert record.layers[0].skip_fusion is False
    assert "    skip_fusion: false\n" in format_record(record)


def test_tensor_quantization_needs_no_weight() -> None:
    record = parse_record(entry("scale_d: 1 offset_d: 0 is_tensor_quantize: true", key="add:1"))
    assert record.layers[0].tensor_quantize
    assert record.layers[0].weight is None
    assert "scale_w" not in format_record(record)


@pytest.mark.parametrize(
    "key", ["add", "add:", ":1", "add:x", "add:01", "add:-1", f"add:{'1' * 5000}"], ids=lambda key: key[:8]
)
def test_a_single_tensor_has_one_spelling(key: str) -> None:
    with pytest.raises(RecordError, match='the key must be "<node>:<input index>"'):
        parse_record(entry("scale_d: 1 offset_d: 0 is_tensor_quantize: true", key=key))


@pytest.mark.parametrize("field", ["scale_w: 1 offset_w: 0", "tensor_balance_factor: 1"])
def test_a_single_tensor_has_nothing_of_a_layer(field: str) -> None:
    with pytest.raises(RecordError, match=f"{field.partition(':')[0]} belongs to a layer, but is_tensor_quantize is set"):
        parse_record(entry(f"scale_d: 1 offset_d: 0 is_tensor_quantize: true {field}", key="add:1"))


def test_recurrent_layers_of_the_pytorch_flavour_are_kept() -> None:
    body = lines("scale_h: 0.5", "offset_h: -7", "scale_r: [0.5, 0.25]", "offset_r: [0, 0]")
    record = parse_record(entry(body, key="lstm"))
    (layer,) = record.layers
    assert isinstance(layer, RecurrentRecord)
    assert layer.hidden == QParams.of(0.5, -7)
    assert layer.recurrence == QParams.of([0.5, 0.25], 0)
    assert parse_record(format_record(record)) == record


def test_a_recurrence_without_a_scale_of_its_hidden_state_is_kept() -> None:
    """As for ONNX Runtime."""
    record = parse_record(entry(lines("scale_r: 0.5", "offset_r: 0"), key="lstm"))
    (layer,) = record.layers
    assert isinstance(layer, RecurrentRecord)
    assert (layer.hidden, layer.recurrence) == (None, QParams.of(0.5, 0))
    assert parse_record(format_record(record)) == record


def test_layer_without_weight_is_written_with_scale_one_and_no_type() -> None:
    text = format_record(QuantRecord((LayerRecord("pool", QParams.of(0.5, 0), None),)))
    assert text.splitlines()[5:8] == ["    scale_w: 1.0", "    offset_w: 0", '    act_type: "INT8"']
    assert "wts_type" not in text


@pytest.mark.parametrize(
    ("body", "line", "message"),
    [
        (lines("scale_d"), 2, "scale_d is missing"),
        (lines("offset_d"), 2, "offset_d is missing"),
        (lines("scale_d: nan"), 4, "scale_d is nan, but a scale is a finite float32 above 0"),
        (lines("scale_d: inf"), 4, "scale_d is inf, but a scale"),
        (lines("scale_d: 1e39"), 4, "scale_d is inf, but a scale"),
        (lines("scale_d: 0"), 4, "scale_d is 0.0, but a scale"),
        (lines("scale_d: 1e-50"), 4, "scale_d is 0.0, but a scale"),
        (lines("scale_d: -0.5"), 4, "scale_d is -0.5, but a scale"),
        (lines("offset_d: 128"), 5, r"offset_d 128 is outside \[-128, 127\], the range of INT8"),
        (lines("offset_d: -129"), 5, r"offset_d -129 is outside \[-128, 127\]"),
        (
            lines("offset_d: 32768", 'act_type: "INT16"'),
            5,
            r"offset_d 32768 is outside \[-32768, 32767\], the range of INT16",
        ),
        (lines("scale_w: 0"), 6, "scale_w is 0.0, but a scale"),
        (lines("scale_w: [1, nan, -1]", "offset_w: [0, 0, 0]"), 6, r"scale_w\[1\] \(and 1 more\) is nan, but a scale"),
        (lines("scale_w: [0.5, 0.5]"), 6, "there are 2 scale_w but 1 offset_w: write one offset_w: 0 for each scale_w"),
        (lines("offset_w"), 6, "there are 1 scale_w but 0 offset_w"),
        (lines("scale_w"), 6, "there are 0 scale_w but 1 offset_w"),
        (lines("offset_w: 1"), 7, "offset_w is 1, but a weight has no zero point: write 0"),
        (lines("shift_bit: [0, 3]"), 8, r"shift_bit\[0\] is 0: either all are 0, or all lie in \[1, 16\]"),
        (lines("shift_bit: 17"), 8, "shift_bit is 17: either all are 0"),
        (lines("tensor_balance_factor: 1e-8"), 8, "tensor_balance_factor is 9.99.*e-09, outside"),
        (
            lines("tensor_balance_factor: [1, 1e8]"),
            8,
            r"tensor_balance_factor\[1\] is 1.*, outside \[1.192093e-07, 8388608\]",
        ),
        (lines("tensor_balance_factor: nan"), 8, "tensor_balance_factor is nan, outside"),
        (
            lines('act_type: "INT9"'),
            8,
            r"act_type 'INT9' is unknown \(did you mean 'INT8'\?\); choose one of INT4, INT8, INT16",
        ),
        (
            lines('op_data_type: "FLAOT16"'),
            8,
            r"op_data_type 'FLAOT16' is unknown \(did you mean 'FLOAT16'\?\); choose FLOAT16 or",
        ),
        (lines('op_data_type: "INT8"'), 8, r"op_data_type 'INT8' is unknown.*; choose FLOAT16 or FLOAT32"),
        (lines('wts_type: "int8"'), 8, "wts_type 'int8' is unknown"),
        (lines('dst_type: "INT16"'), 8, "dst_type 'INT16' is unknown.*; choose one of INT4, INT8"),
        (lines("is_tensor_quantize: true"), 8, 'is_tensor_quantize is set, so the key must be "<node>:<input index>"'),
        (lines("scale_h: 1"), 2, "offset_h is missing"),
        (lines("scale_r: 1"), 8, "there are 1 scale_r but 0 offset_r"),
    ],
)
def test_bad_values_are_named_with_line_and_layer(body: str, line: int, message: str) -> None:
    with pytest.raises(RecordError, match=f"^r.txt:{line}: layer 'conv1': {message}"):
        parse_record(entry(body), source="r.txt")


@pytest.mark.parametrize("factor", [2.0**-23, 1.0, 2.0**23])
def test_bounds_of_the_balance_factor_belong_to_it(factor: float) -> None:
    parse_record(entry(lines(f"tensor_balance_factor: {factor}")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "^r.txt is empty: it has no `record"),
        ("# only a comment\n", "^r.txt is empty"),
        ("record {\n value { scale_d: 1 offset_d: 0 } }", "^r.txt:1: an entry: key is missing"),
        ('record { key: "a" }', r"^r.txt:1: layer 'a': value \{ … \} with the scales and offsets is missing"),
        (entry(lines()) * 2, "^r.txt:11: layer 'conv1': line 2 has an entry for it already: keep one"),
        (
            entry("scale_x: 1"),
            r"^r.txt:4: a record has no field 'scale_x' \(did you mean 'scale_w'\?\)\. Nothing after",
        ),
        (entry(lines("scale_d: 1\nscale_d: 2")), '^r.txt:5: .*should not have multiple "scale_d" fields'),
        (entry("scale_d: 1,5,"), "^r.txt:4: "),
        (entry("offset_d: 2.5"), "^r.txt:4: "),
        ("record {", "^r.txt:1: "),
    ],
)
def test_malformed_text_is_an_error_with_its_line(text: str, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        parse_record(text, source="r.txt")


def test_all_problems_of_a_file_are_collected() -> None:
    text = entry(lines("scale_d: nan", "offset_d: 400")) + entry(lines("scale_w: -1"), key="conv2")
    with pytest.raises(
        RecordError, match=r"^r.txt cannot be used, 3 problems:\n  r.txt:4: .*\n  r.txt:5: .*\n  r.txt:15:"
    ) as caught:
        parse_record(text, source="r.txt")
    assert len(caught.value.problems) == 3


def test_line_is_given_without_a_file_name() -> None:
    with pytest.raises(RecordError, match=r"^line 4: layer 'conv1': scale_d is nan"):
        parse_record(entry(lines("scale_d: nan")))


def test_lines_are_found_in_any_layout() -> None:
    text = """# a comment with record { and "quotes
record: <
  key: 'a' "b" ; value: { scale_d: 1, offset_d: 0
    scale_w: [0.5,
      0.5, # here
      -1]
    offset_w: [0, 0, 0] } >
record: [{ key: "c" value { scale_d: 1 offset_d: 0 } },
  { key: "d"
    value { scale_d: 1
      offset_d: 999 } }]
"""
    with pytest.raises(RecordError) as caught:
        parse_record(text)
    assert [p.partition(": layer")[0] for p in caught.value.problems] == ["line 6", "line 11"]


def test_reading_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "record.txt"
    path.write_text(entry(lines()), encoding="utf-8")
    record = read_record(path)
    assert (record.source, record.layers[0].line) == (str(path), 2)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # as a Windows editor saves it
    assert read_record(path).layers == record.layers
    path.write_bytes(b"record \xff")
    with pytest.raises(RecordError, match=r"record.txt is no record: it is not UTF-8 text \(byte 7\)"):
        read_record(path)
    with pytest.raises(RecordError, match=r"cannot read the record .*absent.txt: No such file"):
        read_record(tmp_path / "absent.txt")


def test_a_table_has_no_act_type_by_which_a_layer_with_a_step_of_1_is_told_from_it() -> None:
    step_of_1 = LayerRecord("fc", QParams((1.0,), (0,)), QParams((0.5,), (0,)))
    table = LayerRecord("words", UNIT_DATA, QParams((0.5,), (0,)), has_data=False)
    text = format_record(QuantRecord((step_of_1, table)))
    assert text.count("act_type") == 1
    assert parse_record(text).layers == (step_of_1, table)
    unit = replace(table, weight=UNIT_WEIGHT)
    assert parse_record(format_record(QuantRecord((unit,)))).layers == (unit,)


def test_a_layer_with_a_step_of_1_in_a_record_without_types_is_no_table() -> None:
    (layer,) = parse_record(entry(lines("scale_d: 1.0", "offset_d: 0"))).layers
    assert (layer.activation, layer.has_data) == (UNIT_DATA, True)
    assert 'act_type: "INT8"' in format_record(QuantRecord((layer,)))


finite_scales = st.floats(2.0**-149, float(np.finfo(np.float32).max), width=32)
keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@st.composite
def layers(draw: st.DrawFn) -> LayerRecord:
    bits = draw(st.sampled_from([4, 8, 16]))
    offset = draw(st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
    scales = draw(st.lists(finite_scales, min_size=1, max_size=4))
    has_data = draw(st.booleans())
    return LayerRecord(
        key=draw(keys),
        activation=QParams((draw(finite_scales),), (offset,), bits) if has_data else UNIT_DATA,
        weight=QParams(tuple(scales), (0,) * len(scales), draw(st.sampled_from([4, 6, 7, 8]))),
        shift_bit=tuple(draw(st.lists(st.integers(1, 16), max_size=2))),
        skip_fusion=draw(st.sampled_from([None, True, False])),
        balance_factor=tuple(draw(st.lists(st.floats(2.0**-23, 2.0**23, width=32), max_size=2))),
        data_type=draw(st.sampled_from(["", "FLOAT16"])),
        has_data=has_data,
    )


@given(st.lists(layers(), min_size=1, max_size=3, unique_by=lambda layer: layer.key))
def test_what_is_written_is_read_back_equal(drawn: list[LayerRecord]) -> None:
    record = QuantRecord(tuple(drawn))
    text = format_record(record)
    again = parse_record(text)
    assert again == record
    assert format_record(again) == text


@given(finite_scales)
def test_a_scale_is_written_with_the_digits_float32_needs(scale: float) -> None:
    text = format_record(QuantRecord((LayerRecord("a", QParams((scale,), (0,)), None),)))
    written = text.partition("scale_d: ")[2].partition("\n")[0]
    assert math.isclose(np.float32(written), np.float32(scale), rel_tol=0)
    assert len(written.replace(".", "").partition("e")[0].strip("0")) <= 9  # nine digits tell all float32 apart
