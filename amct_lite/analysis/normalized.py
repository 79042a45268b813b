"""A tensor as the normalizations see it that alone read it.

One scale for all channels leaves little of a channel of small numbers, which does not show beside the large ones. A
BatchNormalization makes as much of either.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.flow.kernels import joins_channels
from amct_lite.passes.channel_affine import ChannelAffine, batch_norm_affine

_BY_CHANNEL = frozenset({"AveragePool", "MaxPool"})
_Place = tuple[ChannelAffine, int]
"""The map of a BatchNormalization, and which of its channels is the first of a tensor."""


def normalization_behind(node: ir.Node, index: int) -> ChannelAffine | None:
    """What the first BatchNormalization does with the channels of input `index` of `node`; None where anything else but
    poolings and Concats of channels stands between, or reads them, too."""
    place, channels = _place(node, index), _channels(node.inputs[index])
    if place is None or channels is None:
        return None
    affine, first = place
    own = slice(first, first + channels)
    return ChannelAffine(affine.scale[own], affine.shift[own])


def _place(node: ir.Node, index: int) -> _Place | None:
    if node.op_type == "BatchNormalization" and not node.domain and index == 0:
        affine = batch_norm_affine(node)
        return None if isinstance(affine, str) else (affine, 0)
    in_front, result = _in_front(node, index), node.outputs[0]
    if in_front is None or result.is_graph_output():
        return None
    places = [_place(use.node, use.idx) for use in ir.uses(result)]
    known = [place for place in places if place is not None]
    if not known or len(known) < len(places):
        return None
    affine, first = known[0]
    return affine, first + in_front


def _in_front(node: ir.Node, index: int) -> int | None:
    """How many channels of the result lie in front of those of input `index`; None where it does not keep channels apart."""
    if joins_channels(node):
        sizes = [_channels(value) for value in node.inputs[:index]]
        return None if None in sizes else sum(size or 0 for size in sizes)
    return 0 if node.op_type in _BY_CHANNEL and not node.domain else None


def _channels(value: ir.Value | None) -> int | None:
    dims = ir.dims_of(value) or ()
    return dims[1] if len(dims) == 4 and isinstance(dims[1], int) else None
