"""What is added to the scores of an attention: constants, computed triangles, inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from token_parts.net import Array, Net, lengths

LOWEST = float(np.finfo(np.float32).min)
HIDING = (-np.inf, LOWEST, -1e9, -1e4, -100.0, -65504.0)


def triangle(net: Net, scores: str) -> str:
    """A constant, added, where the length is known."""
    *_, rows, keys = net.dims[scores]
    hidden = net.random.choice(HIDING)
    if not isinstance(rows, int) or not isinstance(keys, int):
        return cut_triangle(net, scores)
    mask = np.where(np.triu(np.ones((rows, keys), bool), 1), hidden, 0).reshape(net.choose((rows, keys), (1, 1, rows, keys)))
    return net.op("Add", *net.shuffled(scores, net.const(mask, np.float32)))


def cut_triangle(net: Net, scores: str) -> str:
    """Cut off a large constant, as GPT-2 has it."""
    *_, rows, keys = net.dims[scores]
    seen = np.tril(np.ones((1, 1, 64, 64), bool))
    start = net.op("Sub", net.size(keys), net.size(rows))
    lines = net.op("Slice", net.const(seen), start, net.size(keys), net.ints(2), net.ints(1))
    mask = net.op("Slice", lines, net.ints(0), net.size(keys), net.ints(3), net.ints(1))
    hidden = net.random.choice(HIDING)
    if net.chance(0.5):
        return net.op("Where", mask, scores, net.number(hidden))
    if np.isinf(hidden):
        hidden = -1e4
    less = net.op("Mul", net.op("Sub", net.number(1.0), net.cast(mask, TensorProto.FLOAT)), net.number(hidden))
    return net.op("Add", *net.shuffled(scores, less))


def computed_triangle(net: Net, scores: str) -> str:
    *_, rows, keys = net.dims[scores]
    zero, one = net.const(0, np.int64), net.const(1, np.int64)
    columns = net.op("Range", zero, net.size(keys, whole=True), one)
    first = net.op("Sub", net.size(keys, whole=True), net.size(rows, whole=True))
    lines = net.unsqueeze(net.op("Range", first, net.size(keys, whole=True), one), 1)
    later = net.op("Less", lines, columns)
    hidden = net.number(net.random.choice(HIDING))
    if net.chance(0.5):
        return net.op("Where", later, hidden, scores)
    return net.op("Add", *net.shuffled(scores, net.op("Where", later, hidden, net.number(0.0))))


def trilu(net: Net, scores: str) -> str:
    *_, rows, keys = net.dims[scores]
    if net.opset < 14:
        return computed_triangle(net, scores)
    value = numpy_helper.from_array(net.floats(np.array([net.random.choice(HIDING)], np.float32)))
    full = net.op("ConstantOfShape", net.op("Concat", net.size(rows), net.size(keys), axis=0), value=value)
    behind = net.op("Add", net.op("Sub", net.size(keys, whole=True), net.size(rows, whole=True)), net.const(1, np.int64))
    return net.op("Add", *net.shuffled(scores, net.op("Trilu", full, behind, upper=1)))


def given_mask(net: Net, scores: str) -> str:
    """Which tokens count is an input; of each text one does at least."""
    batch, *_, keys = net.dims[scores]
    kind = net.random.choice([TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT32])
    left = net.chance(0.3)

    def fill(sizes: Mapping[str, int]) -> Array:
        size = lengths((batch, keys), sizes)
        counted = net.rng.random(size) < 0.8
        if left:
            counted[:, : size[1] // 3] = False
        counted[:, -1 if left else 0] = True
        return counted.astype(helper.tensor_dtype_to_np_dtype(kind))

    mask = net.input("mask", kind, (batch, keys), fill)
    far = net.unsqueeze(mask, 1, 2)
    hidden = net.random.choice(HIDING)
    if net.chance(0.5) or np.isinf(hidden):
        counts = far if kind == TensorProto.BOOL else net.cast(far, TensorProto.BOOL)
        if net.chance(0.5):
            return net.op("Where", counts, scores, net.number(hidden))
        return net.op("Where", net.op("Not", counts), net.number(hidden), scores)
    numbers = far if kind == TensorProto.FLOAT else net.cast(far, TensorProto.FLOAT)
    return net.op("Add", *net.shuffled(scores, net.op("Mul", net.op("Sub", net.number(1.0), numbers), net.number(hidden))))


def position_bias(net: Net, scores: str) -> str:
    """A number for each head, or for each pair of tokens, that hides nothing."""
    _, heads, rows, keys = net.dims[scores]
    assert isinstance(heads, int)
    shape = (heads, rows, keys) if isinstance(rows, int) and isinstance(keys, int) else (1, heads, 1, 1)
    return net.op("Add", *net.shuffled(scores, net.weight(*shape, spread=1.0)))


MASKS = (triangle, cut_triangle, computed_triangle, trilu, given_mask, given_mask, position_bias)
