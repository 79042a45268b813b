"""What kernels.py times: layers, each in several ways to write it, and the sizes that they are timed at.

last: a Conv at the end of a network, behind a layer on integers
means: an AveragePool between integers
pools: a MaxPool of rounded floats, in front of a 1×1 layer
borders: one whose padding does not count, between two 1×1 layers
groups: a grouped Conv between integers, its groups joined
few, depthwise: a Conv, or a depthwise one, of less than 16 channels, behind a 1×1 layer
deep: a Conv in 3-D, of codes and of floats
shuffle: a pixel shuffle of codes
spread, transposed, repeat: one, a ConvTranspose of stride 2, or pixels that are repeated, between two 1×1 layers
windows: an image between two such layers cut into windows of 2×2 pixels, multiplied, and joined
image: the first Conv, with a fourth channel of zeros, or on four pixels as one
channels: a channel shuffle between two
ghost: a depthwise layer beside what it reads, as in GhostNet
joined: a Concat of codes, channels last, of which all but the last are joined already
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from kernel_nets import (
    FLOAT,
    UINT8,
    WEIGHT_SCALE,
    Models,
    Net,
    among_layers,
    between,
    ghost_block,
    in_blocks,
    last_layer,
    moved,
    shuffled_halves,
)

Chain = tuple[tuple[list[int], list[int]], ...]
"""Shapes, each with the order in which the axes are then turned."""


def last(inputs: int, outputs: int, kernel: int, size: int) -> Models:
    """A 1×1 layer, then the last one."""
    pads = {"pads": [kernel // 2] * 4}
    ways = ("codes", "float network", "floats", "rounded", "ConvInteger, uint8", "ConvInteger, int8")
    ways += ("MatMul",) if kernel == 1 else ("four at once",) if size % 4 == 0 else ()
    return {way: last_layer(way, (outputs, inputs, kernel, kernel), size, pads) for way in ways}


def means(channels: int, size: int, kernel: int, stride: int) -> Models:
    window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2 * (stride == 1)] * 4}
    shape = [1, channels, size, size]
    plain = Net()
    plain.op("AveragePool", "x", out="y", **window)
    ones = np.ones((channels, 1, kernel, kernel), np.int8)
    return {
        "pooled codes": between("AveragePool", shape, **window),
        "depthwise Conv": between("Conv", shape, ones, group=channels, **window),
        "pooled floats": plain.model(FLOAT, shape, FLOAT),
    }


def pools(channels: int, size: int, kernel: int, stride: int) -> Models:
    window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2 * (stride == 1)] * 4}

    def pooled(change: Callable[[Net, str, tuple[str, str]], str]) -> onnx.ModelProto:
        net = Net()
        grid = net.grid()
        data = net.op("DequantizeLinear", change(net, net.op("QuantizeLinear", "x", *grid), grid), *grid)
        net.op("QuantizeLinear", net.op("Conv", data, net.rounded(net.codes((16, channels, 1, 1)))), *grid, out="y")
        return net.model(FLOAT, [1, channels, size, size], UINT8)

    def first(net: Net, codes: str, grid: tuple[str, str]) -> str:
        return net.op("QuantizeLinear", net.op("MaxPool", net.op("DequantizeLinear", codes, *grid), **window), *grid)

    def last(net: Net, codes: str, _grid: tuple[str, str]) -> str:
        turned = net.op("Transpose", codes, perm=[0, 2, 3, 1])
        return net.op("Transpose", net.op("NhwcMaxPool", turned, domain="com.microsoft", **window), perm=[0, 3, 1, 2])

    return {"channels first": pooled(first), "channels last": pooled(last)}


def borders(channels: int, size: int, kernel: int, stride: int) -> Models:
    """What lies outside does not count; the pieces are those of the exporter."""
    from amct_lite import ir
    from amct_lite.exporters.rewrites.means import average

    window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}

    def mean(net: Net, codes: str, grid: tuple[str, str]) -> str:
        return net.op("QuantizeLinear", net.op("AveragePool", net.op("DequantizeLinear", codes, *grid), **window), *grid)

    pooled = onnx.shape_inference.infer_shapes(among_layers(mean, channels, channels, size), data_prop=True)
    cut = ir.load_bytes(pooled.SerializeToString())
    average(next(node for node in cut.graph if node.op_type == "AveragePool"))
    ir.remove_unused(cut)
    return {"pooled codes": pooled, "pieces": onnx.load_from_string(ir.to_bytes(cut))}


def groups(channels: int, outputs: int, group: int, size: int) -> Models:
    read = channels // group
    joined = [n for n in range(1, group + 1) if group % n == 0 and (n == 1 or 8 <= n * read <= 64)]
    shapes = {n: (outputs, n * read, 3, 3) for n in joined}
    return {
        f"{n * read} channels each": between("Conv", [1, channels, size, size], Net().codes(s), group=group // n, pads=[1] * 4)
        for n, s in shapes.items()
    }


def few(inputs: int, outputs: int, kernel: int, size: int) -> Models:
    shape, pads = (outputs, inputs, kernel, kernel), {"pads": [kernel // 2] * 4}
    return in_blocks(Net().codes((inputs, inputs, 1, 1)), Net().codes(shape), size, widen_first=False, **pads)


def depthwise(inputs: int, channels: int, size: int) -> Models:
    return in_blocks(
        Net().codes((channels, inputs, 1, 1)), Net().codes((channels, 1, 3, 3)), size, widen_first=True, pads=[1] * 4
    )


def deep(inputs: int, outputs: int, group: int, size: int) -> Models:
    shape, window = [1, inputs, 8, size, size], {"group": group, "pads": [1] * 6}
    plain = Net()
    codes = plain.codes((outputs, inputs // group, 3, 3, 3))
    plain.op("Conv", "x", plain.constant(codes * np.float32(WEIGHT_SCALE)), out="y", **window)
    return {"floats": plain.model(FLOAT, shape, FLOAT), "codes": between("Conv", shape, codes, **window)}


def ghost(channels: int, size: int) -> Models:
    wide = channels + -channels % 16
    ways = {"as it is": (channels, channels), "cut": (wide, channels), "read with zeros": (wide, wide)}
    return {way: ghost_block(channels, size, *counts) for way, counts in ways.items()}


def channels(count: int, size: int) -> Models:
    return {way: shuffled_halves(count, size, runs) for way, runs in (("Transpose", False), ("runs", True))}


def shuffle(channels: int, block: int, size: int) -> Models:
    shape, spelled, named = [1, channels * block**2, size, size], Net(), Net()
    parts = spelled.constant(np.array([1, channels, block, block, size, size]))
    turned = spelled.op("Transpose", spelled.op("Reshape", "x", parts), perm=[0, 1, 4, 2, 5, 3])
    spelled.op("Reshape", turned, spelled.constant(np.array([1, channels, size * block, size * block])), out="y")
    named.op("DepthToSpace", "x", out="y", blocksize=block, mode="CRD")
    return {"three nodes": spelled.model(UINT8, shape, UINT8), "DepthToSpace": named.model(UINT8, shape, UINT8)}


def spread(channels: int, block: int, size: int) -> Models:
    def named(net: Net, codes: str, grid: tuple[str, str]) -> str:
        data = net.op("DequantizeLinear", codes, *grid)
        return net.op("QuantizeLinear", net.op("DepthToSpace", data, blocksize=block, mode="CRD"), *grid)

    ways = {"DepthToSpace": named, "as blocks": lambda net, codes, _grid: moved(net, codes, channels, block, size)}
    return {way: among_layers(change, channels * block**2, channels, size) for way, change in ways.items()}


def transposed(inputs: int, outputs: int, kernel: int, size: int) -> Models:
    pad = kernel // 2 - 1

    def floats(net: Net, codes: str, grid: tuple[str, str]) -> str:
        weight = net.constant(net.codes((inputs, outputs, kernel, kernel)) * np.float32(WEIGHT_SCALE))
        data = net.op("DequantizeLinear", codes, *grid)
        return net.op("QuantizeLinear", net.op("ConvTranspose", data, weight, strides=[2, 2], pads=[pad] * 4), *grid)

    def phases(net: Net, codes: str, grid: tuple[str, str]) -> str:
        weight = net.rounded(net.codes((4 * outputs, inputs, 2 * pad + 1, 2 * pad + 1)))
        result = net.op("Conv", net.op("DequantizeLinear", codes, *grid), weight, pads=[pad] * 4)
        return moved(net, net.op("QuantizeLinear", result, *grid), outputs, 2, size)

    return {way: among_layers(change, inputs, outputs, size) for way, change in {"float": floats, "phases": phases}.items()}


def repeat(channels: int, size: int, times: int) -> Models:
    def resized(net: Net, codes: str, grid: tuple[str, str]) -> str:
        scales = net.constant(np.array([1, 1, times, times], np.float32))
        large = net.op("Resize", net.op("DequantizeLinear", codes, *grid), "", scales, mode="nearest")
        return net.op("QuantizeLinear", large, *grid)

    def repeated(net: Net, codes: str, _grid: tuple[str, str]) -> str:
        shapes = [1, size, 1, size, 1, channels], [1, 1, times, 1, times, 1], [1, size * times, size * times, channels]
        apart, counts, whole = (net.constant(np.array(shape)) for shape in shapes)
        pixels = net.op("Reshape", net.op("Transpose", codes, perm=[0, 2, 3, 1]), apart)
        return net.op("Transpose", net.op("Reshape", net.op("Expand", pixels, counts), whole), perm=[0, 3, 1, 2])

    ways = {"Resize": resized, "Expand": repeated}
    return {way: among_layers(change, channels, channels, size) for way, change in ways.items()}


def windows(channels: int, size: int) -> Models:
    half, image = size // 2, [1, channels, size, size]
    cut = (([channels * half, 2, half, 2], [0, 2, 1, 3]), ([1, channels, half**2, 4], [0, 3, 2, 1]))
    join = (([1, 4, half**2, channels], [0, 3, 2, 1]), ([channels * half, half, 2, 2], [0, 2, 1, 3]))
    cut_last = (image, [0, 2, 3, 1]), ([half, 2, half, 2, channels], [1, 3, 0, 2, 4])
    join_last = ([2, 2, half, half, channels], [2, 0, 3, 1, 4]), ([1, size, size, channels], [0, 3, 1, 2])

    def through(before: Chain, behind: Chain) -> Callable[[Net, str, tuple[str, str]], str]:
        def change(net: Net, codes: str, grid: tuple[str, str]) -> str:
            tokens = net.op("Reshape", chained(net, codes, before), net.constant(np.array([4 * half**2, channels])))
            weight = net.rounded(net.codes((channels, channels)), axis=1)
            mixed = net.op("MatMul", net.op("DequantizeLinear", tokens, *grid), weight)
            return chained(net, net.op("QuantizeLinear", mixed, *grid), behind)

        return change

    def chained(net: Net, codes: str, chain: Chain) -> str:
        for shape, perm in chain:
            codes = net.op("Transpose", net.op("Reshape", codes, net.constant(np.array(shape))), perm=perm)
        return net.op("Reshape", codes, net.constant(np.array(image))) if chain is join else codes

    ways = {"two Transposes each": through(cut, join), "one of pixels": through(cut_last, join_last)}
    return {way: among_layers(change, channels, channels, size) for way, change in ways.items()}


def image(channels: int, outputs: int, kernel: int, size: int, stride: int, channels_last: bool) -> Models:
    shape, pad = [1, size, size, channels] if channels_last else [1, channels, size, size], kernel // 2

    def made(missing: int, together: int) -> onnx.ModelProto:
        net = Net()
        grid = net.grid()
        codes = net.op("QuantizeLinear", net.op("Transpose", "x", perm=[0, 3, 1, 2]) if channels_last else "x", *grid)
        if missing:
            codes = net.op("Pad", codes, net.constant(np.array([0, 0, 0, 0, 0, missing, 0, 0])), grid[1])
        results, taps, columns, step = outputs, kernel, (pad, pad), stride
        if together > 1:
            results, step = outputs * together // stride, 1
            columns = -(-pad // together), (together - stride - pad + kernel - 1) // together
            taps = sum(columns) + 1
            codes = in_rows(net, codes, [0, 0, size // together, together * channels])
        weight = net.rounded(net.codes((results, together * (channels + missing), kernel, taps)))
        pads = [pad, columns[0], pad, columns[1]]
        result = net.op("Conv", net.op("DequantizeLinear", codes, *grid), weight, pads=pads, strides=[stride, step])
        last = net.op("QuantizeLinear", result, *grid)
        net.op("Reshape", net.op("Transpose", last, perm=[0, 2, 3, 1]), net.constant(np.array([0, 0, -1, outputs])), out="y")
        return net.model(FLOAT, shape, UINT8)

    return {"as it is": made(0, 1), "four channels": made(4 - channels, 1), "four pixels as one": made(0, 4)}


def in_rows(net: Net, codes: str, shape: list[int]) -> str:
    """The codes of an image in rows of other pixels."""
    rows = net.op("Reshape", net.op("Transpose", codes, perm=[0, 2, 3, 1]), net.constant(np.array(shape)))
    return net.op("Transpose", rows, perm=[0, 3, 1, 2])


def joined(channels: int, more: int, parts: int, size: int) -> Models:
    models = {}
    for way, first, others in (("all at once", channels, parts), ("two pieces", channels + more * (parts - 1), 1)):
        net = Net()
        pieces = [net.constant(net.codes((1, size, size, more)).view(np.uint8)) for _ in range(others)]
        net.op("Concat", "x", *pieces, axis=3, out="y")
        models[way] = net.model(UINT8, [1, size, size, first], UINT8)
    return models


CASES: Mapping[str, tuple[Callable[..., Models], list[tuple[int, ...]]]] = {
    "last": (last, [(32, 9, 3, 224), (64, 1, 3, 128), (64, 2, 1, 128), (256, 21, 1, 64), (128, 80, 1, 40), (128, 4, 3, 40),
                    (64, 3, 3, 224), (32, 3, 9, 128), (256, 256, 3, 14), (512, 512, 1, 14), (256, 256, 3, 56)]),
    "means": (means, [(16, 32, 2, 2), (64, 56, 2, 2), (256, 28, 2, 2), (64, 56, 3, 1), (192, 35, 3, 1), (128, 16, 8, 8)]),
    "pools": (pools, [(64, 112, 3, 2), (64, 112, 2, 2), (16, 128, 2, 2), (192, 28, 3, 1), (256, 14, 3, 1), (64, 8, 2, 2)]),
    "borders": (borders, [(192, 35, 3, 1), (768, 17, 3, 1), (2048, 8, 3, 1), (64, 112, 3, 2), (256, 28, 3, 2), (16, 32, 3, 1),
                          (32, 14, 3, 1), (32, 7, 3, 1), (512, 7, 3, 1), (64, 28, 5, 1)]),
    "groups": (groups, [(128, 128, 32, 56), (256, 256, 32, 28), (512, 512, 32, 14), (64, 128, 64, 28), (96, 96, 12, 28)]),
    "few": (few, [(32, 9, 3, 224), (32, 3, 3, 112), (32, 15, 3, 56), (32, 4, 3, 56), (64, 6, 3, 14), (16, 9, 5, 28)]),
    "depthwise": (depthwise, [(64, 2, 40), (64, 4, 40), (64, 10, 40), (32, 6, 80), (32, 12, 80), (64, 4, 10),
                              (24, 72, 56), (24, 72, 28), (40, 200, 14), (64, 92, 7)]),
    "deep": (deep, [(1, 16, 1, 32), (3, 16, 1, 32), (3, 64, 1, 56), (4, 16, 1, 28), (8, 32, 1, 28), (12, 32, 1, 28),
                    (15, 32, 1, 28), (16, 32, 1, 28), (32, 32, 1, 28), (64, 64, 1, 14), (32, 64, 4, 28), (32, 32, 32, 28),
                    (64, 64, 64, 14)]),
    "ghost": (ghost, [(8, 112), (24, 112), (12, 56), (36, 56), (20, 28), (60, 28), (40, 14), (100, 14), (56, 7)]),
    "channels": (channels, [(58, 28), (116, 14), (232, 7), (24, 56), (122, 28)]),
    "shuffle": (shuffle, [(1, 3, 224), (3, 2, 128), (3, 4, 64), (64, 2, 32), (256, 2, 14), (4, 2, 8)]),
    "spread": (spread, [(4, 2, 64), (8, 2, 64), (12, 2, 64), (64, 2, 32), (64, 2, 128), (16, 3, 32), (32, 4, 16)]),
    "transposed": (transposed, [(64, 32, 2, 28), (64, 32, 2, 56), (256, 128, 2, 16), (64, 64, 4, 28), (128, 64, 4, 14),
                                (32, 4, 2, 56)]),
    "repeat": (repeat, [(64, 10, 2), (64, 20, 2), (128, 40, 2), (256, 20, 2), (32, 64, 4), (8, 32, 3)]),
    "windows": (windows, [(144, 32), (192, 16), (240, 8), (32, 32), (8, 32), (4, 32), (4, 128), (3, 64)]),
    "image": (image, [(3, 32, 3, 224, 2, False), (3, 32, 3, 224, 2, True), (3, 16, 3, 512, 2, False), (3, 16, 3, 512, 2, True),
                      (3, 16, 3, 32, 1, False), (3, 16, 7, 224, 1, False), (3, 64, 7, 224, 2, False), (3, 64, 3, 224, 1, False),
                      (1, 32, 3, 224, 1, False), (1, 32, 3, 224, 1, True), (1, 64, 5, 224, 1, False)]),
    "joined": (joined, [(64, 32, 2, 56), (64, 32, 6, 56), (128, 32, 12, 28), (256, 32, 24, 14), (512, 32, 16, 7),
                        (24, 12, 5, 16)]),
}  # fmt: skip
