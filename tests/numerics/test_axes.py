"""Rows of channels and back."""

from __future__ import annotations

import numpy as np
import pytest

from amct_lite.numerics.axes import from_rows, to_rows


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_rows_hold_one_channel_each(axis: int | None) -> None:
    array = np.arange(24).reshape(2, 3, 4)
    rows = to_rows(array, axis)
    for channel, row in enumerate(rows):
        expected = array if axis is None else array.take(channel, axis)
        assert row.tolist() == expected.reshape(-1).tolist()
    assert (from_rows(rows, array.shape, axis) == array).all()


def test_rows_of_the_first_axis_are_a_view() -> None:
    array = np.zeros((2, 3, 4))
    assert np.shares_memory(to_rows(array, 0), array)


def test_grouped_transposed_convolution_counts_channels_group_after_group() -> None:
    weight = np.arange(4 * 3 * 2).reshape(4, 3, 2)  # Cin 4, Cout / groups 3, two groups
    rows = to_rows(weight, 1, groups=2)
    assert rows.shape == (6, 4)
    assert rows[0].tolist() == weight[:2, 0].reshape(-1).tolist()
    assert rows[4].tolist() == weight[2:, 1].reshape(-1).tolist()
    assert (from_rows(rows, weight.shape, 1, groups=2) == weight).all()
