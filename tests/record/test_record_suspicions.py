"""What looks odd in a record, by hand."""

from dataclasses import replace

import pytest

from amct_lite.record import UNIT_DATA
from amct_lite.record.suspicions import distinct_scales, suspicions
from amct_lite.types import LayerRecord, QParams, QuantRecord


def layer(key: str, scale_d: float, *scale_w: float, bits: int = 8) -> LayerRecord:
    weight = QParams(scale_w, (0,) * len(scale_w)) if scale_w else None
    return LayerRecord(key, QParams((scale_d,), (0,), bits), weight)


def test_a_scale_far_from_its_neighbours_is_odd() -> None:
    # the median of 0.01, 0.03, 0.02 and 0.04 is 0.025; 2.5 is 100 times that
    scales = (0.01, 0.03, 2.5, 0.02, 0.04)
    record = QuantRecord(tuple(layer(f"l{i}", scale) for i, scale in enumerate(scales)))
    assert suspicions(record) == {"l2": ("scale_d is 100 × that of its neighbours",)}


def test_neighbours_are_the_nearest_on_both_sides() -> None:
    # far from the others, but not from the four around it
    scales = (0.01,) * 6 + (1.0,) * 5 + (0.01,) * 6
    record = QuantRecord(tuple(layer(f"l{i}", scale) for i, scale in enumerate(scales)))
    assert "l8" not in suspicions(record)


def test_a_scale_far_below_is_odd_as_well() -> None:
    record = QuantRecord(tuple(layer(f"l{i}", scale) for i, scale in enumerate((2.0, 0.02, 2.0, 2.0))))
    assert suspicions(record) == {"l1": ("scale_d is 1/100 of that of its neighbours",)}


def test_a_table_which_has_no_data_is_neither_odd_nor_a_neighbour() -> None:
    # of 1.0 the others are 1/100, and beside two of it 0.01 would be odd among its neighbours
    table = LayerRecord("words", UNIT_DATA, QParams((0.1, 0.2), (0, 0)), has_data=False)
    record = QuantRecord((table, layer("a", 0.01), replace(table, key="types"), layer("b", 0.01), layer("c", 0.02)))
    assert suspicions(record) == {}


def test_the_same_range_in_16_bits_is_not_odd() -> None:
    record = QuantRecord((layer("a", 0.5), layer("b", 0.5 / 256, bits=16), layer("c", 0.5), layer("d", 0.5)))
    assert suspicions(record) == {}


def test_three_layers_are_too_few_to_tell_the_wild_one() -> None:
    assert suspicions(QuantRecord((layer("a", 1e-4), layer("b", 1.0), layer("c", 1.0)))) == {}


@pytest.mark.parametrize(("smallest", "odd"), [(0.0009375, False), (0.00045, True)])
def test_channels_more_than_a_thousand_times_apart_are_odd(smallest: float, odd: bool) -> None:
    found = suspicions(QuantRecord((layer("a", 0.1, 0.9, smallest, 1.0),)))
    assert found == ({"a": ("scale_w differs by 2e+03 × between channels",)} if odd else {})


def test_distinct_scales_count_values_and_none_without_weight() -> None:
    assert [distinct_scales(layer("a", 0.1, *scales)) for scales in ((0.5, 0.5, 0.25), (0.5,), ())] == [2, 1, 0]
    assert distinct_scales(layer("pool", 0.1, 1.0)) == 0
