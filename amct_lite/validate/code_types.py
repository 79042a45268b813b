"""The integers that AscendQuant can write."""

from __future__ import annotations

from dataclasses import dataclass

from amct_lite import ir
from amct_lite.errors import VerificationError


@dataclass(frozen=True)
class CodeType:
    """One `dst_type`: the range of its codes and the tensor type that holds them."""

    qmin: int
    qmax: int
    dtype: ir.DataType


CODE_TYPES = {
    "INT4": CodeType(-8, 7, ir.DataType.INT8),
    "INT8": CodeType(-128, 127, ir.DataType.INT8),
    "INT16": CodeType(-32768, 32767, ir.DataType.INT16),
}


def code_type(quant: ir.Node) -> CodeType:
    """Of an AscendQuant. Raises VerificationError for a `dst_type` that does not exist."""
    name = ir.attribute(quant, "dst_type", "INT8")
    if name not in CODE_TYPES:
        raise VerificationError(f"{quant.name} has dst_type {name!r}; there are {', '.join(CODE_TYPES)}.")
    return CODE_TYPES[name]


def zero_point_of(quant: ir.Node) -> int:
    """The offset of an AscendQuant. Raises VerificationError when it is no code of its type."""
    offset, kind = ir.attribute(quant, "offset", 0.0), code_type(quant)
    if not (offset == int(offset) and kind.qmin <= offset <= kind.qmax):
        name = ir.attribute(quant, "dst_type", "INT8")
        raise VerificationError(f"{quant.name} has offset {offset}, which is no {name} code: write {kind.qmin} to {kind.qmax}.")
    return int(offset)
