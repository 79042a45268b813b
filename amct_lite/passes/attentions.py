"""Attention in one node becomes the products that it consists of: softmax(query · keyᵀ · scale + mask) · value, head by head.

    Attention (com.microsoft)            a MatMul and an Add each for query, key and value, then the heads
    MultiHeadAttention (com.microsoft)   an Add for each of the three, then the heads
    Attention (ONNX, opset 23 on)        the heads

Each function raises NotAdaptable, before it changes anything, where the node does more than that: keys and values of earlier
calls, several queries to a key, results beside the first.
Source: ONNX Runtime's contrib operators and their CPU kernels; ONNX operator spec, Attention.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from amct_lite import ir
from amct_lite.ir.adapting import NotAdaptable, Site
from amct_lite.ir.build import Inserter
from amct_lite.types import AnyArray

_PLACE = 2
"""The axis of the positions."""
_UNSEEN = -10000.0
"""What ONNX Runtime's own operators add where nothing is to be seen, unless the node says otherwise."""


class _Heads(NamedTuple):
    """query, key, value: each of batches × heads × positions × numbers. width: how many numbers a query has."""

    query: ir.Value | None
    key: ir.Value | None
    value: ir.Value | None
    width: int


def contrib_attention(site: Site) -> None:
    """Attention of com.microsoft, which holds the weights of query, key and value side by side."""
    x, _, _, mask, _, added = _inputs(site, 6, {0, 1, 2, 3, 5})
    weight, bias, count = _constant(site, 1), _constant(site, 2), ir.attribute(site.node, "num_heads", 0)
    if ir.attribute(site.node, "do_rotary", 0):
        raise NotAdaptable("it turns its queries and keys by their positions")
    assert weight is not None, "an input that the operator cannot do without"
    rank = _rank_of_mask(mask, x)
    sizes = ir.attribute(site.node, "qkv_hidden_sizes", None) or [weight.shape[1] // 3] * 3
    b, ends = site.inserter(), np.cumsum(sizes)[:2]
    parts = [b.op("MatMul", x, b.constant(part)) for part in np.split(weight, ends, axis=1)]
    heads = _heads(b, _biased(b, parts, bias, ends), count, sizes[0] // count)
    _write(site, b, heads, [*_contrib_masks(site, b, heads, mask, rank), added], joined=True)


def multi_head_attention(site: Site) -> None:
    """MultiHeadAttention of com.microsoft."""
    *parts, _, mask, added = _inputs(site, 6, {0, 1, 2, 3, 4, 5})
    bias, count, size = _constant(site, 3), ir.attribute(site.node, "num_heads", 0), ir.sizes_of(parts[0], 2)
    if any(len(ir.dims_of(part) or ()) != 3 for part in parts):
        raise NotAdaptable("its queries, keys and values are not known to be of batches, positions and sizes")
    if size is None or (bias is not None and len(bias) != 3 * size[0]):
        raise NotAdaptable("the size of its heads is not known, or is another for its values")
    rank = _rank_of_mask(mask, parts[0])
    b = site.inserter()
    heads = _heads(b, _biased(b, parts, bias, 3), count, size[0] // count)
    _write(site, b, heads, [*_contrib_masks(site, b, heads, mask, rank), added], joined=True)


def attention(site: Site) -> None:
    """Attention of ONNX."""
    query, key, value, mask = _inputs(site, 4, {0, 1, 2, 3})
    dims = [ir.dims_of(part) or () for part in (query, key, value)]
    joined = len(dims[0]) == 3
    if {len(found) for found in dims} not in ({3}, {4}) or not isinstance(dims[0][-1], int):
        raise NotAdaptable("the sizes of its queries, keys and values are not known")
    given = [ir.attribute(site.node, name, 0) for name in ("q_num_heads", "kv_num_heads")]
    count, *others = given if joined else [found[1] for found in dims]
    if not isinstance(count, int) or count < 1 or others != [count] * len(others):
        raise NotAdaptable("there are not known to be as many heads of keys and values as of queries")
    if ir.attribute(site.node, "softcap", 0.0) or "softmax_precision" in site.node.attributes:
        raise NotAdaptable("it limits its scores, or takes their softmax in another precision")
    if mask is not None and (mask.dtype is None or (ir.dims_of(mask) or (None,))[-1] not in (1, dims[1][-2])):
        raise NotAdaptable("its mask is not known to be of as many keys as it has")
    b, width = site.inserter(), dims[0][-1]
    heads = _heads(b, (query, key, value), count, width // count) if joined else _Heads(query, key, value, width)
    added, seen = _sorted_out(mask)
    lowest = float(np.finfo(site.dtype()).min)
    masks = [added, None if seen is None else _where(site, b, seen, lowest)]
    if ir.attribute(site.node, "is_causal", 0):
        masks.append(_where(site, b, _behind(b, heads), lowest))
    _write(site, b, heads, masks, seen, joined=joined)


def _sorted_out(mask: ir.Value | None) -> tuple[ir.Value | None, ir.Value | None]:
    """What is added to the scores, or what of them is seen; neither where all is."""
    if mask is None or mask.dtype != ir.DataType.BOOL:
        return mask, None
    known = ir.constant_of(mask)
    return None, None if known is not None and known.all() else mask


def _inputs(site: Site, count: int, taken: Collection[int]) -> list[ir.Value | None]:
    """The first `count` inputs. Raises NotAdaptable if there is another than those `taken`, or a second result is used."""
    if any(value is not None and index not in taken for index, value in enumerate(site.node.inputs)):
        raise NotAdaptable("it goes on from keys and values of an earlier call")
    if not all(site.unused(index) for index in range(1, len(site.node.outputs))):
        raise NotAdaptable("its keys, values or scores are read, too")
    return site.inputs(count)


def _constant(site: Site, index: int) -> AnyArray | None:
    """Input `index`; None if there is none. Raises NotAdaptable if it is computed."""
    found = site.known(index)
    if found is None and site.inputs(index + 1)[index] is not None:
        raise NotAdaptable("its weights or biases are computed")
    return found


def _rank_of_mask(mask: ir.Value | None, x: ir.Value | None) -> int:
    """How many axes a mask of com.microsoft has, 0 for none: 1 says where the keys of each batch end, 2 which of them are seen,
    3 which of them each query sees.
    """
    dims, batches = ir.dims_of(mask) or (), (ir.dims_of(x) or (None,))[0]
    maker = ir.producer_of(mask)
    counts = maker is not None and maker.op_type == "ReduceSum"  # of words, a number a batch
    ends = len(dims) == 1 and (counts or (batches is not None and dims[0] == batches))
    if mask is not None and not ends and len(dims) not in {2, 3}:
        raise NotAdaptable("its mask is not known to say which keys are seen, or where they end")
    return len(dims)


def _contrib_masks(site: Site, b: Inserter, heads: _Heads, mask: ir.Value | None, rank: int) -> Iterator[ir.Value]:
    """What com.microsoft adds to the scores for the sake of what is not to be seen."""
    unseen = ir.attribute(site.node, "mask_filter_value", _UNSEEN)
    if mask is not None and rank == 1:
        ends = b.op("Reshape", b.cast(mask, ir.DataType.INT64), b.constant([-1, 1, 1, 1]))
        yield _where(site, b, b.op("Less", b.positions(heads.key, _PLACE), ends), unseen)
    elif mask is not None:
        seen = b.op("Greater", mask, b.constant(0, np.int32))
        yield _where(site, b, b.op("Unsqueeze", seen, b.constant([1, 2][: 4 - rank])), unseen)
    if ir.attribute(site.node, "unidirectional", 0):
        yield _where(site, b, _behind(b, heads), unseen)


def _behind(b: Inserter, heads: _Heads) -> ir.Value:
    """Queries × keys: whether the key does not lie behind the query."""
    return b.op(
        "GreaterOrEqual", b.op("Reshape", b.positions(heads.query, _PLACE), b.constant([-1, 1])), b.positions(heads.key, _PLACE)
    )


def _where(site: Site, b: Inserter, seen: ir.Value, unseen: float) -> ir.Value:
    """0 where it is seen."""
    return b.op("Where", seen, *(b.constant(number, site.dtype()) for number in (0.0, unseen)))


def _biased(
    b: Inserter, parts: Sequence[ir.Value | None], bias: AnyArray | None, cuts: AnyArray | int
) -> Sequence[ir.Value | None]:
    """Query, key and value, each with its own of the biases that lie side by side; cuts: where, or how many."""
    if bias is None:
        return parts
    return [b.op("Add", part, b.constant(one)) for part, one in zip(parts, np.split(bias, cuts), strict=True)]


def _heads(b: Inserter, parts: Sequence[ir.Value | None], count: int, width: int) -> _Heads:
    """Query, key and value of batches × positions × numbers."""
    order, shape = [0, 2, 1, 3], b.constant([0, 0, count, -1])
    query, key, value = [b.op("Transpose", b.op("Reshape", part, shape), perm=order) for part in parts]
    return _Heads(query, key, value, width)


def _write(
    site: Site, b: Inserter, heads: _Heads, masks: Sequence[ir.Value | None], seen: ir.Value | None = None, *, joined: bool
) -> None:
    """masks: what is added to the scores. seen: outside of it the softmax is 0, also where a query sees nothing at all.
    joined: whether the result is of batches × positions × numbers again.
    """
    scale = ir.attribute(site.node, "scale", 0.0) or 1 / sqrt(heads.width)
    scores = b.op("MatMul", heads.query, _turned(b, heads.key))
    if scale != 1:
        scores = b.op("Mul", scores, b.constant(scale, site.dtype()))
    for mask in masks:
        scores = scores if mask is None else b.op("Add", scores, mask)
    shares = b.op("Softmax", scores, axis=-1)
    if seen is not None:
        shares = b.op("Mul", shares, b.cast(seen, ir.DataType.from_numpy(site.dtype())))
    result = b.op("MatMul", shares, heads.value)
    if joined:
        result = b.op("Reshape", b.op("Transpose", result, perm=[0, 2, 1, 3]), b.constant([0, 0, -1]))
    site.become(result)


def _turned(b: Inserter, key: ir.Value | None) -> ir.Value:
    """Its last two axes exchanged, in one step with what exchanges axes in front."""
    order, maker = [0, 1, 3, 2], ir.producer_of(key)
    if maker is None or maker.op_type != "Transpose" or "perm" not in maker.attributes:
        return b.op("Transpose", key, perm=order)
    before: list[int] = ir.attribute(maker, "perm", [])
    return b.op("Transpose", maker.inputs[0], perm=[before[axis] for axis in order])
