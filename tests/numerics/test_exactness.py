"""Which sums of integer products float32 holds exactly."""

from itertools import combinations

import numpy as np
import pytest

from amct_lite.numerics.exactness import FLOAT32_INTEGERS, sums_exactly_in_float32


@pytest.mark.parametrize(
    ("row", "low", "high", "largest"),
    [
        ([1], 0, 255, 255),
        ([1, -1], 0, 255, 255),  # 255 - 0: the two signs never add up
        ([1, -1], -128, 127, 255),  # 127 + 128
        ([-3, -2], -10, 255, 5 * 255),
        ([-3, 2], -10, 4, 3 * 10 + 2 * 4),
        ([-128] * 3, -255, 0, 3 * 128 * 255),
    ],
)
def test_the_bound_is_the_largest_sum_of_products_of_one_sign(row: list[int], low: int, high: int, largest: int) -> None:
    products = [(w * low, w * high) for w in row]
    assert largest == max(sum(max(pair) for pair in products), -sum(min(pair) for pair in products))
    times = FLOAT32_INTEGERS // largest
    weights = np.array([row * times, row * (times - 1) + [0] * len(row)])
    assert sums_exactly_in_float32(weights, low, high)
    room = FLOAT32_INTEGERS - times * largest
    assert sums_exactly_in_float32(weights, low, high, room)
    assert not sums_exactly_in_float32(weights, low, high, room + 1)
    more = np.concatenate([weights, np.array([row, row])], axis=1)
    assert not sums_exactly_in_float32(more, low, high)
    assert not sums_exactly_in_float32(more[::-1], low, high), "whichever row it is"


def test_no_partial_sum_leaves_the_bound() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        row, (low, high) = rng.integers(-128, 128, 6), (-int(rng.integers(0, 256)), int(rng.integers(0, 256)))
        ends = row * rng.choice([low, high], 6)
        partial = max(abs(sum(some)) for count in range(1, 7) for some in combinations(ends.tolist(), count))
        scale = FLOAT32_INTEGERS // partial + 1  # then this partial sum is too large
        assert not sums_exactly_in_float32(row[None] * scale, low, high)


def test_int8_weights_are_summed_in_wider_integers() -> None:
    weights = np.full((2, 600), -128, np.int8)
    assert not sums_exactly_in_float32(weights, 0, 255)  # 600 · 128 · 255 = 2^24.2
    assert sums_exactly_in_float32(weights[:, :514], 0, 255)  # 2^24 - 384
    assert sums_exactly_in_float32(weights[:, :0], 0, 255)
