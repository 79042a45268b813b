"""Two 4-bit codes in a byte."""

import numpy as np
import pytest

from amct_lite.errors import NumericsError
from amct_lite.numerics.packing import pack_int4, unpack_int4


@pytest.mark.parametrize(
    ("pair", "byte"),
    [
        ((1, 2), 0x21),  # the first code is the low nibble
        ((7, 0), 0x07),
        ((0, 7), 0x70),
        ((-1, 0), 0x0F),
        ((0, -1), 0xF0 - 256),
        ((-8, 7), 0x78),
        ((7, -8), 0x87 - 256),
        ((-8, -8), 0x88 - 256),
        ((-1, -1), -1),
    ],
)
def test_the_first_of_two_neighbours_is_the_low_nibble(pair: tuple[int, int], byte: int) -> None:
    packed = pack_int4(np.array(pair, np.int8), 0)
    assert (packed.dtype, packed.tolist()) == (np.int8, [byte])
    assert unpack_int4(packed, 0).tolist() == list(pair)


def test_pairs_are_neighbours_along_the_axis_and_nothing_else_moves() -> None:
    codes = np.array([[1, 2, 3, 4], [-1, -2, -3, -4]], np.int8)
    assert pack_int4(codes, 1).tolist() == [[0x21, 0x43], [0xEF - 256, 0xCD - 256]]
    assert pack_int4(codes, 0).tolist() == [[0xF1 - 256, 0xE2 - 256, 0xD3 - 256, 0xC4 - 256]]


@pytest.mark.parametrize(("shape", "axis"), [((4, 6, 3, 3), 1), ((6, 4, 2, 2), 0), ((2, 8, 5), -2), ((0, 2), 1)])
def test_unpacking_gives_back_what_was_packed(shape: tuple[int, ...], axis: int) -> None:
    codes = np.random.default_rng(0).integers(-8, 8, shape, dtype=np.int8)
    packed = pack_int4(codes, axis)
    assert packed.shape[axis] * 2 == codes.shape[axis]
    assert packed.flags.c_contiguous
    np.testing.assert_array_equal(unpack_int4(packed, axis), codes)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NumericsError, match="length 3 cannot be packed in pairs"):
        pack_int4(np.zeros((2, 3), np.int8), 1)
    for codes, span in (([0, 8], "0 to 8"), ([-9, 0], "-9 to 0")):
        with pytest.raises(NumericsError, match=f"codes from {span} do not fit into 4 bits"):
            pack_int4(np.array(codes, np.int8), 0)
