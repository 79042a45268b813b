"""Which widths of data and weight a layer can have, and which opset their codes need.

A plan that asks for more falls back to 8 bits with a note; a record that asks for more is refused with the same reason.
Source: AMCT contract, sections 6 and 10.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amct_lite import ir
from amct_lite.errors import UnsupportedModelError
from amct_lite.ops.base import Layer

INT16_OPSET = 21
"""The first opset whose QuantizeLinear knows int16."""


@dataclass(frozen=True)
class Widths:
    """Bits of a layer's data and of its weight. notes: where they are not the ones that were asked for, and why."""

    data: int
    weight: int
    notes: tuple[str, ...] = ()


def weight_problem(layer: Layer, bits: int, *, packed: bool) -> str:
    """Why the weight cannot have so many bits, empty when it can. packed: two INT4 codes share a byte, as on the NPU."""
    if bits != 4 or not packed or layer.weight is None:
        return ""
    if layer.group > 1:
        return f"INT4 weights are stored in pairs of input channels, which a layer with group = {layer.group} cannot have"
    if layer.input_channels % 2:
        return f"INT4 weights are stored in pairs of input channels, and it has {layer.input_channels} of them"
    return ""


def data_problem(layer: Layer, bits: int, weight_bits: int) -> str:
    """Why the data cannot have so many bits beside a weight of `weight_bits`; empty when they can."""
    if bits != 8 and len(layer.data) > 1:
        return "a product of two variable tensors takes INT8 on both sides"
    if bits == 4 and (layer.weight is None or weight_bits != 4):
        return "INT4 data go with INT4 weights only"
    return ""


def widths(layer: Layer, data: int, weight: int, *, packed: bool) -> Widths:
    """The widths that were asked for, or 8 bits with a note for each that the layer cannot have."""
    notes = []
    if reason := weight_problem(layer, weight, packed=packed):
        notes.append(f"INT8 weights: {reason}")
        weight = 8
    if reason := data_problem(layer, data, weight):
        notes.append(f"INT8 data: {reason}")
        data = 8
    return Widths(data, weight, tuple(notes))


def with_codes(model: ir.Model, bits: Iterable[int]) -> tuple[ir.Model, str | None]:
    """A model whose opset has QuantizeLinear for codes of all these widths, and what to tell the user; `model` itself where
    it has already. Raises UnsupportedModelError where the model cannot be raised."""
    if 16 not in bits:
        return model, None
    try:
        return ir.raise_opset(model, INT16_OPSET)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(
            f"16-bit activations need opset {INT16_OPSET}, the first whose QuantizeLinear knows int16; {error} Or use 8 bits."
        ) from error
