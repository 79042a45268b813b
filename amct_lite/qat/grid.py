"""What one QuantizeLinear or DequantizeLinear says: scale, zero point, type of the codes.

Source: ONNX operator spec, QuantizeLinear and DequantizeLinear (opset 10 to 25).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from amct_lite import ir
from amct_lite.errors import UnsupportedModelError
from amct_lite.types import AnyArray, QParams

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_INTEGERS = {"INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32"}


@dataclass(frozen=True)
class Grid:
    """scale, zero_point: flat, in order; axis: of the channels, None for a single scale. block: length along `axis` that one
    scale stands for, 0 for all of a channel. dtype: of the codes, as ONNX spells it."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    dtype: str
    axis: int | None
    block: int
    shape: tuple[int, ...]

    @property
    def offset(self) -> int:
        """By how much unsigned codes move down to become signed ones, which stand for the same numbers."""
        return 1 << (self.bits - 1) if self.dtype.startswith("U") else 0

    @property
    def bits(self) -> int:
        """Of a code."""
        return int(self.dtype.lstrip("UINT"))

    @property
    def held_as(self) -> np.dtype[Any]:
        """numpy's integers for the codes, of whole bytes."""
        return np.dtype(f"{'u' if self.dtype.startswith('U') else ''}int{max(8, self.bits)}")

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the largest code."""
        half = 1 << (self.bits - 1)
        return self.offset - half, self.offset + half - 1

    @property
    def refusal(self) -> str:
        """Why no layer can read data on this grid; empty when one can."""
        if self.bits not in {8, 16}:
            return f"its data are quantized to {self.dtype.lower()}, only 8 and 16 bits are taken"
        if self.axis is not None:
            return "its data have a scale per channel, data are taken with a single one"
        return ""

    @property
    def params(self) -> QParams:
        """For data without `refusal`: the same grid with signed codes."""
        return QParams((self.scale[0],), (self.zero_point[0] - self.offset,), self.bits)

    def spread(self, shape: tuple[int, ...]) -> tuple[AnyArray, AnyArray]:
        """Scale (float32) and zero point (int64) of each element of an array of `shape`.

        Raises ValueError if they do not fit.
        """
        scale: AnyArray = np.array(self.scale, np.float32).reshape(self.shape)
        zero_point: AnyArray = np.array(self.zero_point, np.int64).reshape(self.shape)
        if self.axis is None:
            return np.broadcast_to(scale.reshape(()), shape), np.broadcast_to(zero_point.reshape(()), shape)
        if self.block:
            length = shape[self.axis]
            scale, zero_point = (
                np.repeat(a, self.block, self.axis).take(range(length), self.axis) for a in (scale, zero_point)
            )
        else:
            target = [1] * len(shape)
            target[self.axis] = -1
            scale, zero_point = scale.reshape(target), zero_point.reshape(target)
        return np.broadcast_to(scale, shape), np.broadcast_to(zero_point, shape)


def is_qdq(model: ir.Model) -> bool:
    """Whether the main graph holds a QuantizeLinear or DequantizeLinear."""
    return any(is_q(node) or is_dq(node) for node in model.graph)


def is_q(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == QUANTIZE and not node.domain


def is_dq(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == DEQUANTIZE and not node.domain


def grid_of(node: ir.Node) -> Grid:
    """The grid of a Q or DQ. Raises UnsupportedModelError where it is not constant or has no integer codes."""
    scale = ir.constant_of(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    zero_point = ir.constant_of(given)
    if scale is None or (given is not None and zero_point is None):
        raise UnsupportedModelError(
            f"{node.name} ({node.op_type}) has a scale or zero point that is not constant. Export the model with fixed scales."
        )
    dtype = _code_type(node, given)
    if dtype not in _INTEGERS:
        raise UnsupportedModelError(f"{node.name} ({node.op_type}) works on {dtype.lower()} codes; integers are taken only.")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise UnsupportedModelError(
            f"{node.name} ({node.op_type}) has a scale that is not a finite number above 0. Export the model again."
        )
    zeros = np.zeros(scale.shape, np.int64) if zero_point is None else zero_point.astype(np.int64)
    if zeros.size != scale.size:
        raise UnsupportedModelError(
            f"{node.name} ({node.op_type}) has {scale.size} scales but {zeros.size} zero points. Export the model again."
        )
    single = scale.size == 1 and scale.ndim < 2
    return Grid(
        tuple(scale.astype(np.float32).reshape(-1).tolist()),
        tuple(zeros.reshape(-1).tolist()),
        dtype,
        None if single else int(ir.attribute(node, "axis", 1)),
        0 if single else int(ir.attribute(node, "block_size", 0)),
        () if single else scale.shape,
    )


def _code_type(node: ir.Node, zero_point: ir.Value | None) -> str:
    if zero_point is not None and zero_point.dtype is not None:
        return zero_point.dtype.name
    codes = node.inputs[0] if is_dq(node) else node.outputs[0]
    if is_q(node) and (wanted := ir.attribute(node, "output_dtype", 0)):
        return ir.DataType(wanted).name
    if is_dq(node) and codes is not None and codes.dtype is not None:
        return codes.dtype.name
    maker = ir.producer_of(codes)
    if is_dq(node) and maker is not None and is_q(maker):
        return _code_type(maker, maker.inputs[2] if len(maker.inputs) > 2 else None)
    return "UINT8"
