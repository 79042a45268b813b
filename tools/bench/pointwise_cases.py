"""What kernels.py times beside the cases of kernel_cases.py: what is computed number by number between layers.

gates: an image of codes times one code a channel, channels last
norms: a BatchNormalization between two 1×1 layers, from and to 16 channels
swish, gelu: a HardSwish, or a Gelu, between two 1×1 layers
slopes: a PRelu between two
gated: a depthwise layer and its gate between two, in whole blocks
numbers: a product with one, between two
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import onnx
from kernel_nets import UINT8, Models, Net, among_layers, saturated


def gates(channels: int, size: int) -> Models:
    models = {}
    for way, times in (("once", None), ("a row", [1, 1, size, 1]), ("all pixels", [1, size, size, 1])):
        net = Net()
        grid = net.grid()
        pixel = net.op("Slice", "x", *(net.constant(np.array(bounds)) for bounds in ([0, 0], [1, 1], [1, 2])))
        gate = net.op("Expand", pixel, net.constant(np.array(times))) if times else pixel
        product = net.op("Mul", *(net.op("DequantizeLinear", codes, *grid) for codes in (gate, "x")))
        net.op("QuantizeLinear", product, *grid, out="y")
        models[way] = net.model(UINT8, [1, size, size, channels], UINT8)
    return models


def norms(channels: int, size: int) -> Models:
    def float_node(net: Net, codes: str, grid: tuple[str, str]) -> str:
        numbers = (net.constant(net.random.random(channels, np.float32) + 1) for _ in ("gamma", "beta", "mean", "variance"))
        return net.op("QuantizeLinear", net.op("BatchNormalization", net.op("DequantizeLinear", codes, *grid), *numbers), *grid)

    def two_nodes(net: Net, codes: str, grid: tuple[str, str]) -> str:
        for kind in ("Mul", "Add"):
            numbers = net.op("DequantizeLinear", net.constant(net.codes((1, channels, 1, 1)).view(np.uint8)), *grid)
            result = net.op(kind, net.op("DequantizeLinear", codes, *grid), numbers)
            codes = net.op("QuantizeLinear", result, *grid)
        return codes

    def conv(net: Net, codes: str, grid: tuple[str, str], group: int = channels) -> str:
        weight = net.rounded(net.codes((channels, channels // group, 1, 1)))
        return net.op("QuantizeLinear", net.op("Conv", net.op("DequantizeLinear", codes, *grid), weight, group=group), *grid)

    ways = {"BatchNormalization": float_node, "Mul and Add": two_nodes, "depthwise Conv": conv, "Conv": partial(conv, group=1)}
    return {way: among_layers(change, channels, channels, size, ends=16) for way, change in ways.items()}


def swish(channels: int, size: int) -> Models:
    def floats(net: Net, codes: str, grid: tuple[str, str]) -> str:
        return net.op("QuantizeLinear", net.op("HardSwish", net.op("DequantizeLinear", codes, *grid)), *grid)

    def sum_and_product(net: Net, codes: str, grid: tuple[str, str]) -> str:
        data, zero = net.op("DequantizeLinear", codes, *grid), net.constant(np.uint8(0))
        return net.op("QuantizeLinear", net.op("Mul", data, saturated(net, data, zero)), *grid)

    def same_codes(net: Net, codes: str, grid: tuple[str, str]) -> str:
        bounded = net.op("Clip", codes, net.constant(np.uint8(0)), net.constant(np.uint8(120)))
        factors = [
            net.op("DequantizeLinear", given, net.constant(np.float32(scale)), net.constant(np.uint8(zero)))
            for given, scale, zero in ((codes, 0.05, 60), (bounded, 0.05 / 6, 0))
        ]
        return net.op("QuantizeLinear", net.op("Mul", *factors), *grid)

    ways = {"float": floats, "sum and product": sum_and_product, "same codes": same_codes}
    return {way: among_layers(change, channels, channels, size) for way, change in ways.items()}


def gelu(channels: int, size: int) -> Models:
    def parts(net: Net, codes: str, grid: tuple[str, str]) -> str:
        data, root, one, half = (
            net.op("DequantizeLinear", codes, *grid),
            *(net.constant(np.float32(n)) for n in (2**0.5, 1, 0.5)),
        )
        bent = net.op("Add", net.op("Erf", net.op("Div", data, root)), one)
        return net.op("QuantizeLinear", net.op("Mul", net.op("Mul", data, bent), half), *grid)

    def operator(net: Net, codes: str, grid: tuple[str, str]) -> str:
        data = net.op("DequantizeLinear", codes, *grid)
        return net.op("QuantizeLinear", net.op("Gelu", data, domain="com.microsoft"), *grid)

    return {way.__name__: among_layers(way, channels, channels, size) for way in (parts, operator)}


def slopes(channels: int, size: int) -> Models:
    def bent(write: Callable[[Net, str], str]) -> onnx.ModelProto:
        def change(net: Net, codes: str, grid: tuple[str, str]) -> str:
            return net.op("QuantizeLinear", write(net, net.op("DequantizeLinear", codes, *grid)), *grid)

        return among_layers(change, channels, channels, size)

    def slope(net: Net, number: float) -> str:
        return net.constant(np.full((channels, 1, 1), number, np.float32))

    def larger(net: Net, data: str) -> str:
        return net.op("Max", data, net.op("Mul", data, slope(net, 0.25)))

    def then_smaller(net: Net, data: str) -> str:
        result = larger(net, data)
        return net.op("Min", result, net.op("Mul", result, slope(net, 1.5)))

    operator = bent(lambda net, data: net.op("PRelu", data, slope(net, 0.25)))
    return {"operator": operator, "larger": bent(larger), "then the smaller": bent(then_smaller)}


def numbers(channels: int, size: int) -> Models:
    def product(way: str, net: Net, codes: str, grid: tuple[str, str]) -> str:
        number = net.constant(np.float32(0.3))
        if way == "code":
            number = net.op("DequantizeLinear", net.constant(np.uint8(1)), number, net.constant(np.uint8(0)))
        return net.op("QuantizeLinear", net.op("Mul", net.op("DequantizeLinear", codes, *grid), number), *grid)

    return {way: among_layers(partial(product, way), channels, channels, size) for way in ("float", "code")}


def gated(channels: int, kernel: int, size: int) -> Models:
    wider = -(-channels // 16) * 16

    def change(count: int, net: Net, codes: str, grid: tuple[str, str]) -> str:
        def rounded(value: str) -> str:
            return net.op("DequantizeLinear", net.op("QuantizeLinear", value, *grid), *grid)

        data, weight = net.op("DequantizeLinear", codes, *grid), net.rounded(net.codes((count, 1, kernel, kernel)))
        deep = rounded(net.op("Conv", data, weight, group=count, pads=[kernel // 2] * 4))
        few = rounded(net.op("Conv", rounded(net.op("GlobalAveragePool", deep)), net.rounded(net.codes((32, count, 1, 1)))))
        many = rounded(net.op("Conv", few, net.rounded(net.codes((count, 32, 1, 1)))))
        gate = saturated(net, many, net.constant(np.uint8(0)))
        return net.op("QuantizeLinear", net.op("Mul", deep, gate), *grid)

    ways = {"as it is": channels, "whole blocks": wider}
    return {way: among_layers(partial(change, count), count, count, size, ends=40) for way, count in ways.items()}


CASES: Mapping[str, tuple[Callable[..., Models], list[tuple[int, ...]]]] = {
    "gates": (gates, [(32, 112), (96, 56), (72, 56), (256, 56), (144, 28), (240, 28), (320, 20), (480, 14), (1024, 14),
                      (1152, 7)]),
    "norms": (norms, [(64, 56), (256, 56), (72, 32), (60, 16), (24, 112), (256, 28), (512, 14), (1024, 14), (1024, 7)]),
    "swish": (swish, [(16, 112), (240, 28), (240, 14), (480, 14), (672, 14), (960, 7), (576, 1)]),
    "gelu": (gelu, [(32, 56), (128, 56), (256, 28), (640, 14), (1024, 7)]),
    "slopes": (slopes, [(64, 56), (128, 28), (256, 14), (512, 7)]),
    "numbers": (numbers, [(16, 112), (64, 28), (240, 14), (64, 7)]),
    "gated": (gated, [(72, 5, 28), (120, 5, 28), (120, 5, 14), (200, 3, 14), (24, 3, 56)]),
}  # fmt: skip
