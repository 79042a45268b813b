"""Two 4-bit codes in one byte, as an Ascend deploy model stores INT4 weights. Source: AMCT contract, section 10."""

from __future__ import annotations

import numpy as np

from amct_lite.errors import NumericsError
from amct_lite.types import AnyArray


def pack_int4(codes: AnyArray, axis: int) -> AnyArray:
    """int8, half as long along `axis`: of two neighbours the first is the low nibble, the second the high one.

    codes: integers in [-8, 7], an even number of them along `axis`. Raises NumericsError for anything else.
    """
    if codes.shape[axis] % 2:
        raise NumericsError(f"an axis of length {codes.shape[axis]} cannot be packed in pairs: the length must be even.")
    if codes.size and not (codes.min() >= -8 and codes.max() <= 7):
        raise NumericsError(f"codes from {codes.min()} to {codes.max()} do not fit into 4 bits, [-8, 7].")
    nibbles = np.moveaxis(codes, axis, 0).astype(np.uint8) & 0x0F
    packed = (nibbles[0::2] | nibbles[1::2] << 4).view(np.int8)
    return np.ascontiguousarray(np.moveaxis(packed, 0, axis))


def unpack_int4(packed: AnyArray, axis: int) -> AnyArray:
    """The inverse of `pack_int4`: int8 codes in [-8, 7], twice as long along `axis`."""
    pairs = np.moveaxis(packed, axis, 0).view(np.int8)
    codes = np.empty((2 * pairs.shape[0], *pairs.shape[1:]), dtype=np.int8)
    codes[0::2] = np.left_shift(pairs, 4) >> 4  # shifting an int8 right keeps its sign
    codes[1::2] = pairs >> 4
    return np.ascontiguousarray(np.moveaxis(codes, 0, axis))
