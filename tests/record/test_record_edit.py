"""Editing numbers: only what was asked for changes, and the result is a valid record."""

from dataclasses import replace

import pytest

from amct_lite.errors import RecordError
from amct_lite.record import UNIT_DATA, UNIT_WEIGHT, RecurrentRecord, format_record
from amct_lite.record.diff import diff_records
from amct_lite.record.edit import Edit, edit_record, tables_left_out
from amct_lite.types import LayerRecord, QParams, QuantRecord

CONV = LayerRecord("conv", QParams((0.5,), (3,)), QParams((0.25, 0.125), (0, 0)))
POOL = LayerRecord("pool", QParams((0.5,), (3,)), None)
TABLE = LayerRecord("words", UNIT_DATA, QParams((0.25, 0.5), (0, 0)), has_data=False)
RECORD = QuantRecord((CONV, POOL), "r.txt")


def lines(keys: set[str], edit: Edit) -> list[str]:
    return list(diff_records(RECORD, edit_record(RECORD, keys, edit)).lines())


def test_only_the_chosen_layers_and_fields_change() -> None:
    assert lines({"conv"}, Edit(scale_d=1.0)) == ["~ conv: scale_d 0.5 → 1 (+100 %)"]
    assert lines({"pool"}, Edit(offset_d=-128)) == ["~ pool: offset_d 3 → -128"]


@pytest.mark.parametrize("pool", [POOL, replace(POOL, weight=UNIT_WEIGHT)], ids=["made", "read from a file"])
def test_the_factor_multiplies_each_weight_scale_and_passes_over_layers_without_weight(pool: LayerRecord) -> None:
    edited = edit_record(QuantRecord((CONV, pool)), {"conv", "pool"}, Edit(scale_w_factor=3.0))
    assert edited.by_key["conv"].weight.scale == (0.75, 0.375)
    assert format_record(edited).count("scale_w: 1.0\n") == 1  # the pool's, as before


def test_the_factor_multiplies_the_scales_of_a_recurrence_too() -> None:
    lstm = RecurrentRecord(**vars(CONV), recurrence=QParams((0.5,), (0,)), hidden=QParams((2.0,), (1,)))
    edited = edit_record(QuantRecord((lstm,)), {"conv"}, Edit(scale_w_factor=3.0)).by_key["conv"]
    assert edited == replace(lstm, weight=QParams((0.75, 0.375), (0, 0)), recurrence=QParams((1.5,), (0,)))


def test_the_order_of_the_layers_stays() -> None:
    assert [layer.key for layer in edit_record(RECORD, {"pool"}, Edit(scale_d=2.0)).layers] == ["conv", "pool"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(scale_d=0.0), "layer 'conv': scale_d is 0.0, but a scale is a finite float32 above 0"),
        (Edit(offset_d=200), r"layer 'conv': offset_d 200 is outside \[-128, 127\]"),
        (Edit(scale_w_factor=-1.0), r"layer 'conv': scale_w\[0\] \(and 1 more\) is -0.25"),
    ],
)
def test_an_invalid_result_is_refused(edit: Edit, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        edit_record(RECORD, {"conv"}, edit)


def test_a_table_among_others_keeps_what_stands_for_no_data() -> None:
    record = QuantRecord((CONV, TABLE))
    both = {"conv", "words"}
    for edit in (Edit(scale_d=2.0), Edit(offset_d=5)):
        edited = edit_record(record, both, edit)
        assert (edited.by_key["words"], edited.by_key["conv"] == CONV) == (TABLE, False)
        assert tables_left_out(record, both, edit) == ("words",)
    by_factor = Edit(scale_w_factor=2.0)
    for keys in (both, {"words"}):
        edited = edit_record(record, keys, by_factor)
        assert edited.by_key["words"] == replace(TABLE, weight=QParams((0.5, 1.0), (0, 0)))
    assert tables_left_out(record, both, by_factor) == ()


@pytest.mark.parametrize("edit", [Edit(scale_d=2.0), Edit(offset_d=5), Edit(scale_d=2.0, scale_w_factor=2.0)])
def test_numbers_of_data_for_a_table_alone_are_refused(edit: Edit) -> None:
    with pytest.raises(RecordError, match=r"no scale_d or offset_d to change: words without data"):
        edit_record(QuantRecord((CONV, TABLE)), {"words"}, edit)


def test_a_factor_for_layers_without_weight_alone_is_refused() -> None:
    with pytest.raises(RecordError, match="no weight scale to change: pool"):
        edit_record(RECORD, {"pool"}, Edit(scale_w_factor=2.0))
