"""What changed between two records, as values and in words."""

import json
from dataclasses import replace

import pytest

from amct_lite.record import UNIT_WEIGHT
from amct_lite.record.diff import FieldChange, diff_records
from amct_lite.types import LayerRecord, QParams, QuantRecord

CONV = LayerRecord("conv1", QParams.of(0.5, 3), QParams.of([0.25, 0.5], 0))
POOL = LayerRecord("pool", QParams.of(0.5, 0), UNIT_WEIGHT)


def record(*layers: LayerRecord) -> QuantRecord:
    return QuantRecord(layers)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (record(CONV, POOL), record(CONV, POOL)),
        (record(CONV, POOL), record(POOL, CONV)),
        (record(POOL), record(replace(POOL, weight=None))),
        (record(CONV), record(replace(CONV, line=9))),
    ],
)
def test_order_lines_and_spelling_are_no_difference(old: QuantRecord, new: QuantRecord) -> None:
    diff = diff_records(old, new)
    assert diff.identical
    assert list(diff.lines()) == ["the records are equal"]


def test_layers_only_on_one_side_are_named() -> None:
    diff = diff_records(record(CONV), record(POOL))
    assert (diff.added, diff.removed, diff.changed) == (("pool",), ("conv1",), ())
    assert list(diff.lines()) == ["- conv1: only in the first record", "+ pool: only in the second record"]


@pytest.mark.parametrize(
    ("new", "change", "words"),
    [
        (
            replace(CONV, activation=QParams.of(0.625, 3)),
            FieldChange("scale_d", (0.5,), (0.625,), 0.25),
            "~ conv1: scale_d 0.5 → 0.625 (+25 %)",
        ),
        (
            replace(CONV, activation=QParams.of(0.5, 0)),
            FieldChange("offset_d", (3,), (0,), 1.0),
            "~ conv1: offset_d 3 → 0",
        ),
        (
            replace(CONV, weight=QParams.of([0.25, 0.25], 0)),
            FieldChange("scale_w", (0.25, 0.5), (0.25, 0.25), 0.5),
            "~ conv1: 1 of 2 scale_w differ, most scale_w[1] 0.5 → 0.25 (-50 %)",
        ),
        (
            replace(CONV, weight=QParams.of([1.0, 0.75], 0)),
            FieldChange("scale_w", (0.25, 0.5), (1.0, 0.75), 3.0),
            "~ conv1: 2 of 2 scale_w differ, most scale_w[0] 0.25 → 1 (+300 %)",
        ),
        (replace(CONV, skip_fusion=True), FieldChange("skip_fusion", None, True), "~ conv1: skip_fusion absent → true"),
        (
            replace(CONV, balance_factor=(2.0, 1.0)),
            FieldChange("tensor_balance_factor", (), (2.0, 1.0)),
            "~ conv1: tensor_balance_factor absent → 2 values",
        ),
    ],
)
def test_changed_fields_have_old_new_and_relative_change(new: LayerRecord, change: FieldChange, words: str) -> None:
    diff = diff_records(record(CONV), record(new))
    assert [c for layer in diff.changed for c in layer.changes] == [change]
    assert list(diff.lines()) == [words]


def test_what_was_0_has_no_relative_change() -> None:
    diff = diff_records(record(POOL), record(replace(POOL, activation=QParams.of(0.5, 5))))
    assert diff.changed[0].changes == (FieldChange("offset_d", (0,), (5,), None),)
    assert list(diff.lines()) == ["~ pool: offset_d 0 → 5"]


def test_other_granularity_has_no_relative_change() -> None:
    diff = diff_records(record(CONV), record(replace(CONV, weight=QParams.of(0.5, 0))))
    assert {c.field: c.relative for c in diff.changed[0].changes} == {"scale_w": None, "offset_w": None}
    assert "~ conv1: scale_w 2 values → 0.5" in list(diff.lines())


def test_difference_is_plain_json() -> None:
    diff = diff_records(record(CONV), record(replace(CONV, activation=QParams.of(1.0, 3))))
    assert json.loads(json.dumps(diff.to_json())) == {
        "added": [],
        "removed": [],
        "changed": {"conv1": {"scale_d": {"old": [0.5], "new": [1.0], "relative": 1.0}}},
    }
