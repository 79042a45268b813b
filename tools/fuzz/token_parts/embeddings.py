"""Where a network begins: tables that numbers of words are looked up in, or measured values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto, helper

from token_parts.net import Array, Net, lengths


def embedded(net: Net, channels: int) -> str:
    dims = (net.batch, net.length, channels)
    rows = net.random.choice([50, 50, 70000 // channels])
    table = net.weight(rows, channels, spread=1.0)
    net.tables.append((table, rows, channels))
    numbers = ids(net, rows)
    if net.chance(0.12):
        turned = net.op("Gather", net.weight(channels, rows, spread=1.0), numbers, axis=1)
        x = net.op("Transpose", turned, perm=[1, 2, 0])
    else:
        x = net.op("Gather", table, numbers, axis=0)
    net.known(x, *dims)
    if net.chance(0.15):
        x = net.known(net.op("Add", x, net.op("Gather", table, ids(net, rows))), *dims)
    if net.chance(0.25):
        x = net.known(net.op("Add", x, net.op("Gather", net.weight(2, channels, spread=0.5), ids(net, 2))), *dims)
    return _with_positions(net, x) if net.chance(0.5) else x


def _with_positions(net: Net, x: str) -> str:
    channels, zero, one = net.width(x), net.const(0, np.int64), net.const(1, np.int64)
    rows = net.random.choice([64, 70000 // channels])
    table = net.weight(rows, channels, spread=0.5)
    if net.chance(0.5):
        rows_of = net.op("Gather", table, net.op("Range", zero, net.size(net.length, whole=True), one))
    else:
        rows_of = net.op("Slice", table, net.ints(0), net.size(net.length), net.ints(0))
    if net.chance(0.3):
        rows_of = net.op("Expand", rows_of, net.op("Concat", net.size(net.batch), net.ints(1, 1), axis=0))
    return net.known(net.op("Add", *net.shuffled(x, rows_of)), *net.dims[x])


def ids(net: Net, rows: int) -> str:
    kind = net.random.choice([TensorProto.INT64, TensorProto.INT32])
    lowest = -rows if net.chance(0.15) else 0

    def fill(sizes: Mapping[str, int]) -> Array:
        shape = lengths((net.batch, net.length), sizes)
        return net.rng.integers(lowest, rows, shape).astype(helper.tensor_dtype_to_np_dtype(kind))

    return net.input("ids", kind, (net.batch, net.length), fill)


def measured(net: Net, channels: int) -> str:
    """Floats come in, some channels of which may be far larger than the others."""
    sizes_of = np.ones(channels, np.float32)
    if net.chance(0.2):
        sizes_of[net.rng.integers(channels)] = 40

    def fill(sizes: Mapping[str, int]) -> Array:
        shape = lengths((net.batch, net.length, channels), sizes)
        return (net.rng.standard_normal(shape) * sizes_of).astype(np.float32)

    return net.input("x", TensorProto.FLOAT, (net.batch, net.length, channels), fill)
