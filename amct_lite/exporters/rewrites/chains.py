"""Chains of Reshape and Transpose on codes, as transformers cut patches and windows, in one Transpose of whole pixels.

ONNX Runtime moves single codes about as slowly as single floats (4 ns each), but blocks of them at the speed of memory.
Channels last, as its integer convolutions read and write images, the channels of a pixel are such a block; but it does not look
through a Reshape, and so each Transpose takes its turn, with one more to put the channels first, and one to put them back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import dequantizers, grid_of, quantizer_in_front, quantizers, replace_codes
from amct_lite.exporters.rewrites.axes import Axes, Move
from amct_lite.exporters.rewrites.layout import (
    BLOCK,
    CHANNELS_LAST,
    channels_first,
    channels_last,
    is_computed_last,
    is_integer_conv,
)
from amct_lite.ir.build import Inserter

CHAINED = frozenset({"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze"})


def join_moves(end: ir.Node) -> None:
    """If `end`, in a model all of whose pairs are written, is the last node of a chain."""
    chain = _chain(end)
    if {node.op_type for node in chain} > {"Transpose"} and not any(node.op_type in CHAINED for node in _readers(end)):
        _join(chain)


def _chain(end: ir.Node) -> list[ir.Node]:
    """The nodes up to `end` whose results nobody else sees, of one grid, first node first."""
    found = [end]
    grid = grid_of(quantizer_in_front(end.inputs[0]))
    while grid is not None and (before := _in_front(found[0], grid)) is not None:
        found.insert(0, before)
    return found


def _in_front(node: ir.Node, grid: tuple[float, int]) -> ir.Node | None:
    """The one whose result `node`, and nobody else, reads, if it belongs to the chain."""
    front = quantizer_in_front(node.inputs[0])
    before = ir.producer_of(front.inputs[0]) if front is not None else None
    if before is None or before.op_type not in CHAINED or before.domain:
        return None
    alone = [use.node for use in ir.uses(before.outputs[0])] == [front] and _readers(before) == [node]
    return before if alone and grid_of(quantizer_in_front(before.inputs[0])) == grid else None


def _readers(node: ir.Node) -> list[ir.Node]:
    """Who reads what `node` gives, rounded by the pairs behind it."""
    return [use.node for quantize in quantizers(node) for d in dequantizers(quantize) for use in ir.uses(d.outputs[0])]


def _join(chain: list[ir.Node]) -> None:
    source, result = chain[0].inputs[0], chain[-1].outputs[0]
    front, behind = quantizer_in_front(source), [use.node for use in ir.uses(result)]
    before, after = _sizes(source), _sizes(result)
    axes = _followed(chain, before) if before is not None else None
    if front is None or axes is None or before is None or after is None:
        return
    if result.is_graph_output() or not _alike(front, behind):
        return
    readers = _readers(chain[-1])
    computed_last = is_computed_last(source)
    read_last = len(after) == len(CHANNELS_LAST) and bool(readers) and all(map(is_integer_conv, readers))
    move = axes.move(CHANNELS_LAST if computed_last else range(len(before)), CHANNELS_LAST if read_last else range(len(after)))
    saved = sum(node.op_type == "Transpose" for node in chain) + computed_last + read_last
    if move.block < BLOCK or saved < 2:
        return
    b = Inserter(chain[-1], f"{chain[-1].name}.moved")
    codes = front.outputs[0]
    if computed_last:
        codes = channels_last(b, codes)
    codes = _moved(b, codes, move, [after[axis] for axis in CHANNELS_LAST] if read_last else after)
    if read_last:
        codes = channels_first(b, codes)
    for quantize in behind:
        replace_codes(quantize, codes)


def _moved(b: Inserter, codes: ir.Value, move: Move, sizes: Sequence[int]) -> ir.Value:
    """`codes` after `move`, of these sizes."""
    if move.perm != tuple(range(len(move.perm))):
        codes = b.op("Transpose", b.op("Reshape", codes, b.constant(move.apart, np.int64)), perm=list(move.perm))
    return b.op("Reshape", codes, b.constant(sizes, np.int64))


def _followed(chain: list[ir.Node], sizes: tuple[int, ...]) -> Axes | None:
    """The way of a tensor of `sizes` through `chain`, if all is known of it."""
    axes = Axes(sizes)
    for node in chain:
        after = _sizes(node.outputs[0])
        if node.op_type == "Transpose":
            axes.transpose(ir.attribute(node, "perm", None))
        elif after is None or not axes.reshape(after):
            return None
    return axes


def _alike(front: ir.Node, behind: list[ir.Node]) -> bool:
    """Whether all of `behind` round to the grid of `front`, for somebody who wants floats."""
    grid = grid_of(front)
    pairs = all(node.op_type == "QuantizeLinear" and grid_of(node) == grid for node in behind)
    return pairs and all(use.node.op_type == "DequantizeLinear" for node in behind for use in ir.uses(node.outputs[0]))


def _sizes(value: ir.Value | None) -> tuple[int, ...] | None:
    """None where one of them is not known, or 0."""
    sizes = ir.sizes_of(value)
    return sizes if sizes is not None and all(size > 0 for size in sizes) else None
