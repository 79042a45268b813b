"""Quantized constants become float constants, exactly the numbers they stand for; who reads which codes is kept.

codes → DQ            weights as PyTorch PT2E, onnxruntime and TensorFlow write them, biases as int32
float → Q → Clip? → DQ    weights as PyTorch's eager and FX exports write them; they are rounded here, as Q would
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from amct_lite import ir, scratch
from amct_lite.errors import UnsupportedModelError
from amct_lite.qat.grid import Grid, grid_of, is_dq, is_q
from amct_lite.qat.movers import is_mover, moved_constant
from amct_lite.types import AnyArray, FloatArray

Reader = tuple[str, int]


@dataclass(frozen=True)
class Coded:
    """A quantized constant: codes, scale float32 and zero_point int64, all of one shape. dtype: of the codes, which lie in
    whole bytes here, as many as they need, and in a file where they are many."""

    codes: AnyArray
    scale: AnyArray
    zero_point: AnyArray
    dtype: str
    per_tensor: bool

    @property
    def values(self) -> FloatArray:
        """The numbers, as DequantizeLinear computes them."""
        return (self.codes - self.zero_point).astype(np.float32) * self.scale

    @property
    def signed_codes(self) -> AnyArray:
        """Codes less their zero point: what integer products are made of."""
        difference: AnyArray = self.codes - self.zero_point
        return difference

    @property
    def transposed(self) -> Coded:
        """As a prepared Gemm has it."""
        return replace(self, codes=self.codes.T, scale=self.scale.T, zero_point=self.zero_point.T)

    def moved(self, node: ir.Node) -> Coded | None:
        """Behind a mover; None where it does what is not known here."""
        codes = moved_constant(node, self.codes)
        scale, zero_point = moved_constant(node, self.scale), moved_constant(node, self.zero_point)
        if codes is None or scale is None or zero_point is None:
            return None
        return replace(self, codes=codes, scale=scale, zero_point=zero_point)


def dequantize_constants(model: ir.Model) -> dict[Reader, Coded]:
    """Edit `model`: each DQ of a constant becomes that constant in float. Returns what each (node name, input index) that
    reads one, also through movers, reads.

    Raises UnsupportedModelError for scales that do not fit, or a Q and a DQ that differ.
    """
    readers: dict[Reader, Coded] = {}
    for node in tuple(model.graph):
        if not is_dq(node):
            continue
        coded = _coded(node)
        if coded is None:
            continue
        value = node.outputs[0]
        dtype = _float_type(node)
        constant = ir.add_initializer(model.graph, f"{value.name}.values", coded.values.astype(dtype.numpy()))
        readers.update(_readers(value, coded))
        ir.redirect(value, constant)
        ir.remove_node(node)
    ir.remove_unused(model)
    return readers


def _coded(dq: ir.Node) -> Coded | None:
    """None for a DQ of data."""
    grid, source = grid_of(dq), dq.inputs[0]
    codes = ir.constant_of(source)
    if codes is None:
        codes = _rounded(source, grid, dq)
    if codes is None:
        return None
    try:
        scale, zero_point = grid.spread(codes.shape)
    except (ValueError, IndexError):
        raise UnsupportedModelError(
            f"the scales of {dq.name} ({dq.op_type}) do not fit its constant of shape {codes.shape}. Export the model again."
        ) from None
    whole = codes if codes.dtype.kind in "iu" else codes.astype(np.int8)  # of 4 bits
    return Coded(whole, scale, zero_point, grid.dtype, grid.axis is None)


def _rounded(value: ir.Value | None, grid: Grid, dq: ir.Node) -> AnyArray | None:
    """The codes that a Q makes of a float constant, within the bounds of a Clip behind it."""
    node = ir.producer_of(value)
    low, high = -np.inf, np.inf
    if node is not None and node.op_type == "Clip":
        low, high = clip_bounds(node)
        node = ir.producer_of(node.inputs[0])
    array = ir.constant_of(node.inputs[0]) if node is not None and is_q(node) else None
    if node is None or array is None:
        return None
    require_same(node, grid_of(node), dq, grid)
    scale, zero_point = grid.spread(array.shape)
    least, most = grid.limits
    steps = np.rint(array.astype(np.float32) / scale) + zero_point
    codes = np.clip(np.clip(steps, least, most), low, high).astype(grid.held_as)
    return scratch.put_away_large(codes)  # they wait for what became of them


def clip_bounds(node: ir.Node) -> tuple[float, float]:
    """Of a Clip on codes. Raises UnsupportedModelError when they are not constant."""
    bounds = [-np.inf, np.inf]
    for position, value in enumerate(node.inputs[1:3]):
        array = ir.constant_of(value)
        if value is not None and array is None:
            raise UnsupportedModelError(f"{node.name} (Clip) limits codes by bounds that are not constant. Export it again.")
        if array is not None:
            bounds[position] = float(array.reshape(-1)[0])
    return bounds[0], bounds[1]


def require_same(q: ir.Node, first: Grid, dq: ir.Node, second: Grid) -> None:
    """Raises UnsupportedModelError when a Q and its DQ do not carry the same factors."""
    if first != second:
        raise UnsupportedModelError(
            f"{q.name} ({q.op_type}) and {dq.name} ({dq.op_type}) belong together but carry different factors: "
            f"scale {first.scale[0]:.9g}, zero point {first.zero_point[0]}, {first.dtype.lower()} against "
            f"{second.scale[0]:.9g}, {second.zero_point[0]}, {second.dtype.lower()}. Export the model with one scale for both."
        )


def _readers(value: ir.Value, coded: Coded) -> Iterator[tuple[Reader, Coded]]:
    for usage in ir.uses(value):
        transposed = usage.node.op_type == "Gemm" and usage.idx == 1 and ir.attribute(usage.node, "transB", 0)
        yield (str(usage.node.name), usage.idx), coded.transposed if transposed else coded
        moved = coded.moved(usage.node) if is_mover(usage.node) and usage.idx == 0 else None
        if moved is not None:
            yield from _readers(usage.node.outputs[0], moved)


def _float_type(dq: ir.Node) -> ir.DataType:
    scale = dq.inputs[1]
    return scale.dtype if scale is not None and scale.dtype is not None else ir.DataType.FLOAT
