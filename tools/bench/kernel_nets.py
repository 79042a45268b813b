"""Networks of integer kernels for kernel_cases.py and pointwise_cases.py: a graph written node by node, what stands around
what is timed, those of many layers, and a last layer in all ways to write it.

Random weights, the same for all ways to write a layer; scales are always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
SCALE, WEIGHT_SCALE = 0.02, 0.002


class Net:
    """A graph under construction: x → y, in nodes and constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)

    def constant(self, array: object) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: object) -> str:
        name = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def split(self, value: str, sizes: str) -> list[str]:
        names = [f"v{len(self.nodes)}_{part}" for part in range(2)]
        self.nodes.append(helper.make_node("Split", [value, sizes], names, axis=1))
        return names

    def grid(self) -> tuple[str, str]:
        return self.constant(np.float32(SCALE)), self.constant(np.uint8(128))

    def codes(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.random.integers(-127, 128, shape).astype(np.int8)

    def rounded(self, codes: np.ndarray, axis: int = 0) -> str:
        """The weight that int8 `codes` stand for, with a scale a channel."""
        size = codes.shape[axis]
        scales = [self.constant(np.full(size, WEIGHT_SCALE, np.float32)), self.constant(np.zeros(size, np.int8))]
        return self.op("DequantizeLinear", self.constant(codes), *scales, axis=axis)

    def model(self, source: int, shape: list[int], result: int) -> onnx.ModelProto:
        ends = [[helper.make_tensor_value_info("x", source, shape)], [helper.make_tensor_value_info("y", result, None)]]
        graph = helper.make_graph(self.nodes, "net", *ends, self.constants)
        return helper.make_model(graph, opset_imports=OPSETS, ir_version=8)


Models = Mapping[str, onnx.ModelProto]


def between(kind: str, shape: list[int], weight: np.ndarray | None = None, **attributes: object) -> onnx.ModelProto:
    """One layer that reads and writes codes."""
    net = Net()
    grid = net.grid()
    weights = [] if weight is None else [net.rounded(weight)]
    result = net.op(kind, net.op("DequantizeLinear", "x", *grid), *weights, **attributes)
    net.op("QuantizeLinear", result, *grid, out="y")
    return net.model(UINT8, shape, UINT8)


def among_layers(
    change: Callable[[Net, str, tuple[str, str]], str], given: int, read: int, size: int, ends: int = 0
) -> onnx.ModelProto:
    """`change` of the codes of a 1×1 layer with `given` channels; another such layer reads the result, with `read` ones. ends:
    how many the first reads and the last gives, if not as many."""
    net = Net()
    grid = net.grid()
    first = net.rounded(net.codes((given, ends or given, 1, 1)))
    last = net.rounded(net.codes((ends or read, read, 1, 1)))
    codes = net.op("QuantizeLinear", net.op("Conv", net.op("DequantizeLinear", "x", *grid), first), *grid)
    data = net.op("DequantizeLinear", change(net, codes, grid), *grid)
    net.op("QuantizeLinear", net.op("Conv", data, last), *grid, out="y")
    return net.model(UINT8, [1, ends or given, size, size], UINT8)


def in_blocks(first: np.ndarray, second: np.ndarray, size: int, *, widen_first: bool, **attributes: object) -> Models:
    """Two layers, of which the second gives the channels it has, or sixteens that are cut again. widen_first: it is a depthwise
    one, whose channels the first layer gives."""
    models = {}
    for way, missing in (("as it is", 0), ("sixteens, cut", -len(second) % 16)):
        net, more = Net(), [(0, missing), (0, 0), (0, 0), (0, 0)]
        grid = net.grid()
        weights = net.rounded(np.pad(first, more) if widen_first else first), net.rounded(np.pad(second, more))
        group = {"group": len(second) + missing} if widen_first else {}
        hidden = net.op("Conv", net.op("DequantizeLinear", "x", *grid), weights[0])
        data = net.op("DequantizeLinear", net.op("QuantizeLinear", hidden, *grid), *grid)
        codes = net.op("QuantizeLinear", net.op("Conv", data, weights[1], **group, **attributes), *grid)
        bounds = (net.constant(np.array([number])) for number in (0, len(second), 1))
        net.op("DequantizeLinear", net.op("Slice", codes, *bounds) if missing else codes, *grid, out="y")
        models[way] = net.model(UINT8, [1, first.shape[1], size, size], FLOAT)
    return models


def moved(net: Net, codes: str, channels: int, block: int, size: int) -> str:
    """The codes of an image of `channels`, whose pixels were channels."""
    shapes = [1, size, size, block, block * channels], [1, size * block, size * block, channels]
    apart, whole = (net.constant(np.array(shape)) for shape in shapes)
    rows = net.op("Reshape", net.op("Transpose", codes, perm=[0, 2, 3, 1]), apart)
    pixels = net.op("Reshape", net.op("Transpose", rows, perm=[0, 1, 3, 2, 4]), whole)
    return net.op("Transpose", pixels, perm=[0, 3, 1, 2])


def saturated(net: Net, data: str, zero: str) -> str:
    """A HardSigmoid of `data` as a sum; `zero`: the zero point of its codes."""
    three = net.op("DequantizeLinear", net.constant(np.uint8(1)), net.constant(np.float32(3)), zero)
    codes = net.op("QuantizeLinear", net.op("Add", data, three), net.constant(np.float32(6 / 255)), zero)
    return net.op("DequantizeLinear", codes, net.constant(np.float32(1 / 255)), zero)


def ghost_block(channels: int, size: int, computed: int, read: int) -> onnx.ModelProto:
    """A 1×1 layer, a depthwise one behind it, and a 1×1 layer that reads both: with so many channels each."""
    net = Net()
    grid = net.grid()
    weights = [net.rounded(net.codes(shape)) for shape in ((computed, 32, 1, 1), (computed, 1, 3, 3), (32, 2 * read, 1, 1))]
    first = net.op("QuantizeLinear", net.op("Conv", net.op("DequantizeLinear", "x", *grid), weights[0]), *grid)
    second = net.op("Conv", net.op("DequantizeLinear", first, *grid), weights[1], group=computed, pads=[1] * 4)
    both = [first, net.op("QuantizeLinear", second, *grid)]
    if read < computed:
        both = [net.op("Slice", codes, *(net.constant(np.array([number])) for number in (0, channels, 1))) for codes in both]
    data = net.op("DequantizeLinear", net.op("Concat", *both, axis=1), *grid)
    net.op("QuantizeLinear", net.op("Conv", data, weights[2]), *grid, out="y")
    return net.model(UINT8, [1, 32, size, size], UINT8)


def shuffled_halves(count: int, size: int, runs: bool) -> onnx.ModelProto:
    """Two 1×1 layers of `count` channels each, which are shuffled, and two that read half of them each."""
    net = Net()
    grid = net.grid()
    data, halves = net.op("DequantizeLinear", "x", *grid), net.constant(np.array([count // 2] * 2))
    given = [net.op("Conv", data, net.rounded(net.codes((count, count, 1, 1)))) for _ in range(2)]
    codes = [net.op("QuantizeLinear", result, *grid) for result in given]
    if runs:
        pieces = [net.split(value, halves) for value in codes]
        parts = [net.op("Concat", *pair, axis=1) for pair in zip(*pieces, strict=True)]
    else:
        shapes = (net.constant(np.array(shape)) for shape in ([1, 2, count, size, size], [1, 2 * count, size, size]))
        apart = net.op("Reshape", net.op("Concat", *codes, axis=1), next(shapes))
        whole = net.op("Reshape", net.op("Transpose", apart, perm=[0, 2, 1, 3, 4]), next(shapes))
        parts = net.split(whole, net.constant(np.array([count] * 2)))
    read = [
        net.op("Conv", net.op("DequantizeLinear", part, *grid), net.rounded(net.codes((16, count, 1, 1)))) for part in parts
    ]
    ends = [net.op("DequantizeLinear", net.op("QuantizeLinear", result, *grid), *grid) for result in read]
    net.op("QuantizeLinear", net.op("Add", *ends), *grid, out="y")
    return net.model(UINT8, [1, count, size, size], UINT8)


def last_layer(way: str, shape: tuple[int, int, int, int], size: int, pads: dict[str, object]) -> onnx.ModelProto:
    """A 1×1 layer, and behind it one whose floats leave the network, with a weight of this shape, written this `way`."""
    net, inputs = Net(), shape[1]
    first, codes = net.codes((inputs, inputs, 1, 1)), net.codes(shape)
    step = np.float32(WEIGHT_SCALE)
    if way == "float network":
        hidden = net.op("Relu", net.op("Conv", "x", net.constant(first * step)))
        net.op("Conv", hidden, net.constant(codes * step), out="y", **pads)
        return net.model(FLOAT, [1, inputs, size, size], FLOAT)
    grid = net.grid()
    data = net.op("DequantizeLinear", net.op("QuantizeLinear", "x", *grid), *grid)
    handed_on = net.op("QuantizeLinear", net.op("Conv", data, net.rounded(first)), *grid)
    hidden = net.op("DequantizeLinear", handed_on, *grid)
    if way == "codes":
        net.op("Conv", hidden, net.rounded(codes), out="y", **pads)
    elif way == "floats":
        net.op("Conv", hidden, net.constant(codes * step), out="y", **pads)
    elif way == "four at once":
        wide = np.stack([np.pad(codes, [*[(0, 0)] * 3, (place, 3 - place)]) for place in range(4)]).reshape(
            -1, *shape[1:3], shape[3] + 3
        )
        strips = net.op("Conv", hidden, net.constant(wide * step), strides=[1, 4], **pads)
        apart = net.op("Reshape", strips, net.constant(np.array([1, 4, shape[0], size, size // 4])))
        rows = net.op("Transpose", apart, perm=[0, 2, 3, 4, 1])
        net.op("Reshape", rows, net.constant(np.array([1, shape[0], size, size])), out="y")
    elif way == "rounded":
        result = net.op("Conv", hidden, net.rounded(codes), **pads)
        net.op("DequantizeLinear", net.op("QuantizeLinear", result, *grid), *grid, out="y")
    elif way == "MatMul":
        rows = net.op("MatMul", net.op("Transpose", hidden, perm=[0, 2, 3, 1]), net.rounded(codes[:, :, 0, 0].T.copy(), 1))
        net.op("Transpose", rows, perm=[0, 3, 1, 2], out="y")
    else:
        unsigned = way.endswith("uint8")
        weight = net.constant((codes.astype(np.int16) + 128).astype(np.uint8) if unsigned else codes)
        zeros = [grid[1], *[net.constant(np.uint8(128))] * unsigned]
        sums = net.op("Cast", net.op("ConvInteger", handed_on, weight, *zeros, **pads), to=FLOAT)
        net.op("Mul", sums, net.constant(np.float32(SCALE * WEIGHT_SCALE)), out="y")
    return net.model(FLOAT, [1, inputs, size, size], FLOAT)
