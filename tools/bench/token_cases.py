"""What kernels.py times beside the cases of kernel_cases.py: what stands in networks for text and other sequences.

skip: a sum of floats and the LayerNormalization behind it, for so many tokens
mask: a Softmax of scores that a mask hides, or hides no further than is needed, and the product behind it
bias: a MatMul on integers whose results are floats, and its bias
rows: so many rows of a table of codes, with a scale a column
lstm: one of so many steps, sequences, inputs, hidden values and directions
tanh: a Gelu that is written with a Tanh
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from kernel_nets import FLOAT, SCALE, WEIGHT_SCALE, Models, Net


def skip(tokens: int, width: int) -> Models:
    """Six of them behind one another."""

    def spelled(kind: str) -> onnx.ModelProto:
        net, result = Net(), "x"
        gamma, beta = (net.constant(np.full(width, number, np.float32)) for number in (1, 0))
        skipped = net.constant(net.random.standard_normal((1, tokens, width)).astype(np.float32))
        for name in ("", "", "", "", "", "y"):
            result = net.op("LayerNormalization", net.op(kind, result, skipped), gamma, beta, out=name)
        return net.model(FLOAT, [1, tokens, width], FLOAT)

    return {kind: spelled(kind) for kind in ("Add", "Sum")}


def mask(batch: int, heads: int, tokens: int, hidden: int) -> Models:
    """hidden: what is added to the scores of all that comes later. Half of them count."""
    later = np.triu(np.full((tokens, tokens), hidden, np.float32), 1)

    def hiding(number: np.ndarray, needed: bool) -> onnx.ModelProto:
        net, scores = Net(), "x"
        added = net.constant(number)
        if needed:
            span = net.op("Sub", net.op("ReduceMin", scores, keepdims=0), net.op("ReduceMax", scores, keepdims=0))
            added = net.op("Max", added, net.op("Sub", span, net.constant(np.float32(25))))
        value = net.constant(net.random.standard_normal((batch, heads, tokens, 64)).astype(np.float32))
        net.op("MatMul", net.op("Softmax", net.op("Add", scores, added), axis=-1), value, out="y")
        return net.model(FLOAT, [batch, heads, tokens, tokens], FLOAT)

    return {"hidden": hiding(later, False), "as needed": hiding(later, True), "no mask": hiding(0 * later, False)}


def bias(rows: int, given: int, results: int) -> Models:
    def product(way: str) -> onnx.ModelProto:
        net = Net()
        grid, zeros = net.grid(), net.constant(np.zeros(results, np.int8))
        scales, added = net.constant(np.full(results, WEIGHT_SCALE, np.float32)), net.random.standard_normal(results)
        codes, weight = net.op("QuantizeLinear", "x", *grid), net.constant(net.codes((given, results)))
        floats = net.constant(added.astype(np.float32))
        if way == "one operator":
            factors = (codes, weight, grid[0], scales, grid[1], zeros)
            net.op("MatMulIntegerToFloat", *factors, floats, out="y", domain="com.microsoft")
        else:
            steps = np.rint(added / (SCALE * WEIGHT_SCALE)).astype(np.int32)
            step = net.constant(np.full(results, SCALE * WEIGHT_SCALE, np.float32))
            integers = net.op("DequantizeLinear", net.constant(steps), step, axis=0) if way == "Gemm" else floats
            data = net.op("DequantizeLinear", codes, *grid)
            matrix = net.op("DequantizeLinear", weight, scales, zeros, axis=1)
            net.op("Add", net.op("MatMul", data, matrix), integers, out="y")
        return net.model(FLOAT, [1, rows, given], FLOAT)

    return {way: product(way) for way in ("Gemm", "one operator")}


def rows(count: int, columns: int) -> Models:
    def picked(way: str) -> onnx.ModelProto:
        net = Net()
        codes = net.op("Gather", net.constant(net.codes((2000, columns))), net.op("Cast", "x", to=onnx.TensorProto.INT64))
        scales = net.constant(np.full(columns, WEIGHT_SCALE, np.float32))
        if way == "product":
            net.op("Mul", net.op("Cast", codes, to=FLOAT), scales, out="y")
        else:
            net.op("DequantizeLinear", codes, scales, net.constant(np.zeros(columns, np.int8)), axis=2, out="y")
        return net.model(FLOAT, [1, count], FLOAT)

    return {way: picked(way) for way in ("DequantizeLinear", "product")}


def lstm(steps: int, batch: int, inputs: int, hidden: int, directions: int) -> Models:
    direction = {"hidden_size": hidden, "direction": "bidirectional" if directions == 2 else "forward"}

    def made(rows: int) -> onnx.ModelProto:
        """rows: how many have a scale of their own; 0 for the float operator."""
        net = Net()
        weights = [net.codes((directions, 4 * hidden, size)) for size in (inputs, hidden)]
        if not rows:
            floats = (net.constant(codes.astype(np.float32) * np.float32(WEIGHT_SCALE)) for codes in weights)
            net.op("LSTM", "x", *floats, out="y", **direction)
        else:
            shape = (directions, rows) if rows > 1 else (directions,)
            scales = [net.constant(np.full(shape, WEIGHT_SCALE, np.float32)), net.constant(np.zeros(shape, np.int8))] * 2
            turned = (net.constant(np.ascontiguousarray(codes.transpose(0, 2, 1))) for codes in weights)
            net.op("DynamicQuantizeLSTM", "x", *turned, *[""] * 5, *scales, out="y", domain="com.microsoft", **direction)
        return net.model(FLOAT, [steps, batch, inputs], FLOAT)

    return {"float": made(0), "one scale": made(1), "a scale a row": made(4 * hidden)}


def tanh(rows: int, columns: int) -> Models:
    """x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³))), as torch writes it in parts."""

    def gelu(way: str) -> onnx.ModelProto:
        net = Net()
        if way == "FastGelu":
            net.op("FastGelu", "x", out="y", domain="com.microsoft")
            return net.model(FLOAT, [1, rows, columns], FLOAT)
        half, one, cubic, scale = (net.constant(np.float32(number)) for number in (0.5, 1, 0.044715, np.sqrt(2 / np.pi)))
        inner = net.op("Add", "x", net.op("Mul", cubic, net.op("Mul", net.op("Mul", "x", "x"), "x")))
        outer = net.op("Add", net.op("Tanh", net.op("Mul", scale, inner)), one)
        net.op("Mul", net.op("Mul", "x", half), outer, out="y")
        return net.model(FLOAT, [1, rows, columns], FLOAT)

    return {way: gelu(way) for way in ("parts", "FastGelu")}


CASES: Mapping[str, tuple[Callable[..., Models], list[tuple[int, ...]]]] = {
    "skip": (skip, [(16, 256), (64, 256), (128, 384), (197, 384), (128, 768)]),
    "mask": (mask, [(64, 3, 49, -100), (1, 12, 128, -10000), (1, 12, 128, -100), (1, 12, 512, -10000), (8, 4, 16, -10000)]),
    "bias": (bias, [(1, 512, 2048), (11, 384, 1536), (64, 512, 2048), (128, 384, 1536), (197, 768, 768), (197, 768, 3072)]),
    "rows": (rows, [(1, 512), (11, 384), (64, 512), (128, 768), (1024, 384)]),
    "lstm": (lstm, [(50, 1, 13, 32, 1), (50, 1, 24, 40, 1), (50, 1, 32, 48, 1), (50, 1, 40, 64, 1), (40, 10, 100, 128, 1),
                    (100, 1, 40, 128, 1), (50, 32, 128, 128, 1), (64, 16, 256, 256, 1), (32, 1, 512, 256, 2),
                    (50, 1, 1024, 1024, 1)]),
    "tanh": (tanh, [(1, 2048), (11, 1536), (64, 2048), (128, 3072)]),
}  # fmt: skip
