"""Random networks of tokens: embeddings, attention, gated products and recurrences, as exporters of many kinds write them.

    model(seed) -> the network, and samples of its inputs, the same for the same seed

The last samples, FRESH of them, are of other sizes where the network leaves sizes open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from random import Random

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray
Size = int | str
"""A number, or the name of an open dimension."""

OPSETS = (11, 12, 13, 14, 15, 16, 17, 17, 18, 19, 20, 21)
SAMPLES = 6
FRESH = 2
"""So many of the samples, the last, are of other sizes."""
_AGAIN = 1_000_003
"""Between the seeds that are tried one after the other."""
LOWEST = float(np.finfo(np.float32).min)
HIDING = (-np.inf, LOWEST, -1e9, -1e4, -100.0, -65504.0)


class Net:
    """A graph that grows. Values are names; `dims` tells the sizes of those that blocks pass on."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.rng = np.random.default_rng(seed)
        self.opset = self.random.choice(OPSETS)
        self.named = self.chance(0.7)
        self.float = np.dtype(np.float16 if self.chance(0.07) else np.float32)
        self.constants = self.random.choice(["initializer", "initializer", "node", "input", "mixed"])
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.fillers: dict[str, Callable[[dict[str, int]], Array]] = {}
        self.dims: dict[str, tuple[Size, ...]] = {}
        self.tables: list[tuple[str, int, int]] = []
        self.weights: dict[tuple[int, ...], str] = {}
        self.count = 0
        self.batch: Size = self.random.choice(["batch", "batch", 1, 2])
        self.length: Size = self.random.choice(["length", "length", 16, *(self.random.randint(1, 16) for _ in range(2))])
        self.past = False

    # Chance

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def pick(self, *choices: object) -> object:
        return self.random.choice(choices)

    # Names, constants, nodes

    def name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}_{self.count}"

    def const(self, array: object, dtype: type | None = None) -> str:
        array = np.asarray(array, dtype)
        if array.dtype == np.float32:
            array = self.floats(array)
        name = self.name("c")
        tensor = numpy_helper.from_array(array, name)
        how = self.constants if self.constants != "mixed" else self.pick("initializer", "node", "input")
        if how == "node":
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        self.initializers.append(tensor)
        if how == "input":
            self.inputs.append(helper.make_tensor_value_info(name, tensor.data_type, array.shape))
        return name

    def floats(self, array: Array) -> Array:
        """In the type of this network."""
        if self.float == np.float32:
            return array
        return np.where(np.isinf(array), array, np.clip(array, -65504, 65504)).astype(self.float)

    def kind(self, kind: int) -> int:
        """What stands for float32 is the type of this network."""
        return TensorProto.FLOAT16 if kind == TensorProto.FLOAT and self.float == np.float16 else kind

    def number(self, value: float, shape: Sequence[int] | None = None) -> str:
        return self.const(np.full(self.pick((), (), (1,), (1, 1)) if shape is None else shape, value, np.float32))

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def weight(self, *shape: int, spread: float | None = None) -> str:
        """Numbers that keep the variance of what they are multiplied with; some have channels of their own size, or zeros."""
        scale = 1 / sqrt(shape[-2] if len(shape) > 1 else 1) if spread is None else spread
        array = self.rng.standard_normal(shape) * scale
        kind = self.random.random()
        if kind < 0.08:
            array[..., self.rng.integers(shape[-1])] *= 30
        elif kind < 0.12:
            array[..., self.rng.integers(shape[-1])] = 0
        elif kind < 0.13:
            array[...] = 0
        return self.const(array, np.float32)

    def op(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        """The name of the result, or of the first."""
        return self.ops(op_type, *inputs, outputs=outputs, **attributes)[0]

    def ops(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: object) -> list[str]:
        names = [self.name(op_type.lower()) for _ in range(outputs)]
        title = self.name(f"/{op_type}") if self.named else ""
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=title, **attributes))
        return names

    def known(self, name: str, *dims: Size) -> str:
        self.dims[name] = dims
        return name

    def width(self, name: str) -> int:
        """How many channels there are."""
        channels = self.dims[name][-1]
        assert isinstance(channels, int)
        return channels

    def sizes(self, name: str) -> tuple[Size, Size, int]:
        """Of tokens: batch, length, channels."""
        batch, length, _ = self.dims[name]
        return batch, length, self.width(name)

    def input(self, stem: str, kind: int, dims: tuple[Size, ...], fill: Callable[[dict[str, int]], Array]) -> str:
        name = self.name(stem)
        self.inputs.append(helper.make_tensor_value_info(name, self.kind(kind), dims))
        self.fillers[name] = fill
        return self.known(name, *dims)

    def output(self, name: str, kind: int = TensorProto.FLOAT, dims: tuple[Size, ...] | None = None) -> None:
        if name not in {value.name for value in self.outputs}:
            known = self.dims.get(name) if dims is None else dims
            self.outputs.append(helper.make_tensor_value_info(name, self.kind(kind), known))

    # Operators that are written differently from opset to opset

    def with_axes(self, op_type: str, value: str, axes: Sequence[int], since: int, **attributes: object) -> str:
        if self.opset < since:
            return self.op(op_type, value, axes=list(axes), **attributes)
        return self.op(op_type, value, self.ints(*axes), **attributes)

    def unsqueeze(self, value: str, *axes: int) -> str:
        return self.with_axes("Unsqueeze", value, axes, 13)

    def squeeze(self, value: str, *axes: int) -> str:
        return self.with_axes("Squeeze", value, axes, 13)

    def mean(self, value: str, *axes: int, keepdims: int = 1) -> str:
        return self.with_axes("ReduceMean", value, axes, 18, keepdims=keepdims)

    def split(self, value: str, sizes: Sequence[int], axis: int) -> list[str]:
        if self.opset < 13:
            return self.ops("Split", value, outputs=len(sizes), axis=axis, split=list(sizes))
        return self.ops("Split", value, self.ints(*sizes), outputs=len(sizes), axis=axis)

    def cut(self, value: str, start: int, stop: int, axis: int) -> str:
        return self.op("Slice", value, self.ints(start), self.ints(stop), self.ints(axis))

    def cast(self, value: str, kind: int) -> str:
        return self.op("Cast", value, to=self.kind(kind))

    # Sizes

    def size(self, dim: Size, *, whole: bool = False) -> str:
        """A size as an int64 tensor of shape (1,), or () where it is `whole`."""
        if isinstance(dim, int):
            return self.const(dim if whole else [dim], np.int64)
        source = self.random.choice([name for name, dims in self.dims.items() if dim in dims])
        axis = self.dims[source].index(dim)
        shape = self.op("Shape", source)
        if whole:
            return self.op("Gather", shape, self.const(axis, np.int64))
        return self.cut(shape, axis, axis + 1, 0) if self.chance(0.5) else self.op("Gather", shape, self.ints(axis))

    def reshape(self, value: str, *dims: Size) -> str:
        """As few sizes as can be are computed, or all of them."""
        follow = -1 in dims
        known = not follow and all(isinstance(dim, int) for dim in dims)
        before = self.dims.get(value, ())
        same = [here < len(before) and dim == before[here] for here, dim in enumerate(dims)]
        told = [0 if one else -1 if isinstance(dim, str) else dim for one, dim in zip(same, dims, strict=True)]
        if told.count(-1) == 0 and known and self.chance(0.3):
            told[self.random.randrange(len(told))] = -1
        if told.count(-1) <= 1 and (known or follow or self.chance(0.6)):
            return self.known(self.op("Reshape", value, self.ints(*told)), *dims)
        shape = self.op("Concat", *(self.size(dim) for dim in dims), axis=0)
        return self.known(self.op("Reshape", value, shape), *dims)

    def transpose(self, value: str, *perm: int) -> str:
        result = self.op("Transpose", value, perm=list(perm))
        return self.known(result, *(self.dims[value][axis] for axis in perm)) if value in self.dims else result

    # Products

    def linear(self, value: str, outputs: int) -> str:
        """(…, inputs) to (…, outputs)."""
        front, inputs = self.dims[value][:-1], self.width(value)
        way = self.random.choice([_matmul] * 8 + [_gemm, _gemm, _einsum, _left, _pixels, _stack])
        result = way(self, value, inputs, outputs)
        self.known(result, *front, outputs)
        return self.add_bias(result) if self.chance(0.75) else result

    def shared_weight(self, inputs: int, outputs: int) -> str:
        """Now and then one that was used before, or a table."""
        tied = [name for name, rows, width in self.tables if (width, rows) == (inputs, outputs)]
        if tied and self.chance(0.8):
            return self.transpose(tied[0], 1, 0)
        known = self.weights.get((inputs, outputs))
        if known is None or self.chance(0.8):
            known = self.weights[inputs, outputs] = self.weight(inputs, outputs)
        return known

    def add_bias(self, value: str) -> str:
        channels = self.width(value)
        key = (channels,)
        shapes = [(channels,), (1, channels), (1, 1, channels)][: len(self.dims[value])]
        shape = self.random.choice([(channels,)] * 3 + [*shapes, (1,), ()])
        if shape == key and key in self.weights and self.chance(0.2):
            bias = self.weights[key]
        else:
            bias = self.weight(*shape, spread=0.3) if shape else self.number(0.3)
            if shape == key:
                self.weights[key] = bias
        pair = [value, bias]
        if self.chance(0.4):
            pair.reverse()
        return self.known(self.op("Add", *pair), *self.dims[value])

    def save(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "tokens", self.inputs, self.outputs, self.initializers)
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=7 if self.opset < 15 else 8)


def _matmul(net: Net, value: str, inputs: int, outputs: int) -> str:
    return net.op("MatMul", value, net.shared_weight(inputs, outputs))


def _stack(net: Net, value: str, inputs: int, outputs: int) -> str:
    """A constant of three dimensions, where the data have as many."""
    if len(net.dims[value]) != 3:
        return _matmul(net, value, inputs, outputs)
    batch = net.batch if isinstance(net.batch, int) and net.chance(0.5) else 1
    return net.op("MatMul", value, net.weight(batch, inputs, outputs))


def _left(net: Net, value: str, inputs: int, outputs: int) -> str:
    """The constant is the first factor."""
    if len(net.dims[value]) != 3:
        return _matmul(net, value, inputs, outputs)
    turned = net.op("MatMul", net.weight(outputs, inputs), net.op("Transpose", value, perm=[0, 2, 1]))
    return net.op("Transpose", turned, perm=[0, 2, 1])


def _einsum(net: Net, value: str, inputs: int, outputs: int) -> str:
    if net.opset < 12 or len(net.dims[value]) != 3:
        return _matmul(net, value, inputs, outputs)
    return net.op("Einsum", value, net.shared_weight(inputs, outputs), equation="bti,io->bto")


def _pixels(net: Net, value: str, inputs: int, outputs: int) -> str:
    """A Conv of single tokens."""
    if len(net.dims[value]) != 3:
        return _matmul(net, value, inputs, outputs)
    more = [net.weight(outputs, spread=0.3)] if net.chance(0.5) else []
    result = net.op("Conv", net.op("Transpose", value, perm=[0, 2, 1]), net.weight(outputs, inputs, 1), *more)
    return net.op("Transpose", result, perm=[0, 2, 1])


def _gemm(net: Net, value: str, inputs: int, outputs: int) -> str:
    """Of all tokens as rows, with whatever its attributes allow."""
    dims = net.dims[value]
    rows = value if len(dims) == 2 else net.op("Reshape", value, net.ints(-1, inputs))
    attributes: dict[str, object] = {}
    turned = net.chance(0.4)
    weight = net.weight(outputs, inputs, spread=1 / sqrt(inputs)) if turned else net.weight(inputs, outputs)
    if turned:
        attributes["transB"] = 1
    if net.chance(0.15):
        rows, attributes["transA"] = net.op("Transpose", rows, perm=[1, 0]), 1
    if net.chance(0.2):
        attributes["alpha"] = net.pick(0.5, 2.0, -1.0)
    if net.chance(0.2):
        attributes["beta"] = net.pick(0.5, 0.0, 3.0)
    shape = net.random.choice([None, (outputs,), (outputs,), (1, outputs), (1,), ()])
    given = [] if shape is None else [net.weight(*shape, spread=0.3) if shape else net.number(0.2, ())]
    result = net.op("Gemm", rows, weight, *given, **attributes)
    return result if len(dims) == 2 else net.reshape(net.known(result, "rows", outputs), *dims[:-1], outputs)


# Functions of single numbers


def activation(net: Net, x: str) -> str:
    return net.known(net.random.choice(ACTIVATIONS)(net, x), *net.dims[x])


def gelu_erf(net: Net, x: str) -> str:
    root = net.pick(sqrt(2), 1.4142, 1.41421354)
    inner = net.op("Div", x, net.number(root)) if net.chance(0.6) else net.op("Mul", x, net.number(1 / root))
    return _gelu_end(net, x, net.op("Erf", inner))


def gelu_tanh(net: Net, x: str) -> str:
    way = net.random.randrange(3)
    if way == 0:
        cube = net.op("Pow", x, net.number(3.0))
    elif way == 1:
        cube = net.op("Mul", net.op("Mul", x, x), x)
    else:
        cube = net.op("Mul", x, net.op("Mul", x, x))
    total = net.op("Add", *_shuffled(net, x, net.op("Mul", *_shuffled(net, cube, net.number(0.044715)))))
    scaled = net.op("Mul", *_shuffled(net, total, net.number(net.pick(sqrt(2 / np.pi), 0.7978845608, 0.79788))))
    return _gelu_end(net, x, net.op("Tanh", scaled))


def _gelu_end(net: Net, x: str, inner: str) -> str:
    """Halves and products in one of the orders seen; now and then one that makes no Gelu."""
    one = net.number(net.pick(1.0, 1.0, 1.0, 1.0, 1.01))
    half = net.number(net.pick(0.5, 0.5, 0.5, 0.5, 0.4))
    total = net.op("Add", *_shuffled(net, inner, one))
    way = net.random.randrange(4)
    if way == 0:
        return net.op("Mul", *_shuffled(net, net.op("Mul", *_shuffled(net, x, total)), half))
    if way == 1:
        return net.op("Mul", *_shuffled(net, net.op("Mul", *_shuffled(net, x, half)), total))
    if way == 2:
        return net.op("Mul", *_shuffled(net, x, net.op("Mul", *_shuffled(net, total, half))))
    return net.op("Mul", *_shuffled(net, x, net.op("Add", net.op("Mul", inner, half), half)))


def _shuffled(net: Net, *values: str) -> list[str]:
    return net.random.sample(values, len(values))


def silu(net: Net, x: str) -> str:
    return net.op("Mul", *_shuffled(net, x, net.op("Sigmoid", x)))


def quick_gelu(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Sigmoid", net.op("Mul", x, net.number(1.702))))


def doubled(net: Net, x: str) -> str:
    """A Gelu of a Gelu, or of what is near to one."""
    return gelu_erf(net, gelu_tanh(net, x)) if net.chance(0.5) else gelu_tanh(net, net.op("Mul", x, net.number(0.5)))


def gelu_node(net: Net, x: str) -> str:
    return net.op("Gelu", x, approximate=net.pick("none", "tanh")) if net.opset >= 20 else gelu_erf(net, x)


def hard_swish(net: Net, x: str) -> str:
    return net.op("HardSwish", x) if net.opset >= 14 else net.op("Mul", x, net.op("HardSigmoid", x))


def mish(net: Net, x: str) -> str:
    return net.op("Mul", x, net.op("Tanh", net.op("Softplus", x)))


def bounded(net: Net, x: str) -> str:
    return net.op("Clip", x, net.number(net.pick(-1.0, 0.0), ()), net.number(net.pick(1.0, 6.0), ()))


def plain(op_type: str, **attributes: object) -> Callable[[Net, str], str]:
    return lambda net, x: net.op(op_type, x, **attributes)


ACTIVATIONS: tuple[Callable[[Net, str], str], ...] = (
    *(gelu_erf, gelu_erf, gelu_tanh, gelu_tanh, gelu_node, silu, quick_gelu, hard_swish, mish, bounded),
    *(plain("Relu"), plain("Relu"), plain("Tanh"), plain("Sigmoid"), plain("LeakyRelu", alpha=0.1), plain("HardSigmoid")),
    doubled,
    *(plain("Elu"), plain("Erf"), plain("Softplus"), plain("Identity")),
)


# Blocks: (batch, length, channels) to the same


def norm(net: Net, x: str) -> str:
    return net.known(net.random.choice([layer_norm, layer_norm, parted_norm, parted_norm, rms_norm])(net, x), *net.dims[x])


def layer_norm(net: Net, x: str) -> str:
    if net.opset < 17:
        return parted_norm(net, x)
    channels = net.width(x)
    scale = net.const(1 + net.rng.standard_normal(channels) * 0.2, np.float32)
    more = [net.weight(channels, spread=0.2)] if net.chance(0.7) else []
    return net.op("LayerNormalization", x, scale, *more, axis=net.pick(-1, len(net.dims[x]) - 1), epsilon=1e-5)


def parted_norm(net: Net, x: str) -> str:
    channels = net.width(x)
    away = net.op("Sub", x, net.mean(x, -1))
    square = net.op("Pow", away, net.number(2.0)) if net.chance(0.6) else net.op("Mul", away, away)
    spread = net.op("Sqrt", net.op("Add", net.mean(square, -1), net.number(1e-5)))
    even = net.op("Div", away, spread)
    scaled = net.op("Mul", even, net.const(1 + net.rng.standard_normal(channels) * 0.2, np.float32))
    return net.op("Add", *_shuffled(net, scaled, net.weight(channels, spread=0.2))) if net.chance(0.7) else scaled


def rms_norm(net: Net, x: str) -> str:
    channels = net.width(x)
    square = net.op("Pow", x, net.number(2.0)) if net.chance(0.6) else net.op("Mul", x, x)
    root = net.op("Sqrt", net.op("Add", net.mean(square, -1), net.number(1e-6)))
    even = net.op("Div", x, root) if net.chance(0.5) else net.op("Mul", x, net.op("Reciprocal", root))
    return net.op("Mul", *_shuffled(net, even, net.const(1 + net.rng.standard_normal(channels) * 0.2, np.float32)))


def feed_forward(net: Net, x: str) -> str:
    channels = net.width(x)
    wide = channels * net.random.choice([1, 2, 4])
    inner = activation(net, net.linear(x, wide))
    if net.chance(0.3):
        inner = net.known(net.op("Mul", *_shuffled(net, inner, net.linear(x, wide))), *net.dims[x][:-1], wide)
    return net.linear(inner, channels)


def gated(net: Net, x: str) -> str:
    """Both halves of one product."""
    channels = net.width(x)
    both = net.linear(x, 2 * channels)
    if net.chance(0.5):
        left, right = net.split(both, [channels, channels], -1)
    else:
        left, right = net.cut(both, 0, channels, 2), net.cut(both, channels, 2 * channels, -1)
    for half in (left, right):
        net.known(half, *net.dims[x])
    return net.known(net.op("Mul", activation(net, left), right), *net.dims[x])


def parallel(net: Net, x: str) -> str:
    """Two products added, or joined, in front of a third."""
    batch, length, channels = net.sizes(x)
    left, right = net.linear(x, channels), net.linear(x, channels)
    if net.chance(0.4):
        right = net.known(net.op(str(net.pick("Sigmoid", "Relu", "LeakyRelu", "Tanh")), right), *net.dims[x])
    way = net.random.randrange(6)
    if way < 2:
        both = net.known(net.op(str(net.pick("Add", "Mul", "Sub")), left, right), *net.dims[x])
    elif way == 2:
        both = net.known(net.op("Concat", left, right, axis=net.pick(-1, 2)), batch, length, 2 * channels)
    elif way == 3:
        both = net.cut(net.op("Concat", left, right, axis=1), 0, 10**9, 1)
        both = net.known(net.op("Slice", both, net.ints(0), net.size(length), net.ints(1)), *net.dims[x])
    elif way == 4:
        one = net.known(net.mean(right, 1), batch, 1, channels)
        one = net.linear(one, channels) if net.chance(0.5) else one
        both = net.known(net.op("Add", *_shuffled(net, left, one)), *net.dims[x])
    else:
        both = net.known(net.op(str(net.pick("Max", "Min", "Sum", "Mean")), left, right, left), *net.dims[x])
    if net.chance(0.4):
        both = net.known(net.op(str(net.pick("Relu", "LeakyRelu", "Sigmoid")), both), *net.dims[both])
    if net.chance(0.3):
        operator, number = net.random.choice([("Mul", 0.5), ("Add", 1.0), ("Sub", 0.25), ("Div", 3.0), ("Mul", -2.0)])
        both = net.known(net.op(operator, both, net.number(number)), *net.dims[both])
    return net.linear(both, channels)


def convolved(net: Net, x: str) -> str:
    """Convs along the tokens in a row, with pads, pools and sums between."""
    batch, length, channels = net.sizes(x)
    y = net.transpose(x, 0, 2, 1)
    for _ in range(net.random.choice([1, 2, 3])):
        way = net.random.randrange(6)
        if way == 0:
            y = net.known(net.op(str(net.pick("Relu", "LeakyRelu", "Sigmoid")), y), *net.dims[y])
        kernel, apart = net.random.choice([1, 3]), net.random.choice([1, 2])
        side, pads = kernel // 2 * apart, {}
        padded = y
        if net.chance(0.4):
            padded = net.op("Pad", y, net.ints(0, 0, 2 * side, 0, 0, 0), *([net.number(0.0, ())] if net.chance(0.5) else []))
        else:
            pads = {"pads": [side, side]}
        bias = [net.weight(channels, spread=0.2)] if net.chance(0.7) else []
        w = net.weight(channels, channels, kernel, spread=1 / sqrt(kernel * channels))
        found = net.known(net.op("Conv", padded, w, *bias, dilations=[apart], **pads), batch, channels, length)
        if way == 1:
            found = net.known(net.op("Add", *_shuffled(net, y, found)), *net.dims[found])
        elif way == 2:
            pool = str(net.pick("MaxPool", "AveragePool"))
            found = net.known(net.op(pool, found, kernel_shape=[3], pads=[1, 1]), *net.dims[found])
        elif way == 3:
            wide = net.op("Concat", found, y, axis=1)
            w = net.weight(channels, 2 * channels, 1, spread=1 / sqrt(2 * channels))
            found = net.known(net.op("Conv", wide, w), *net.dims[found])
        elif way == 4:
            scaled = net.op("Mul", found, net.const(net.rng.uniform(0.5, 2, (channels, 1)), np.float32))
            found = net.known(net.op("Add", scaled, net.weight(1, channels, 1, spread=0.2)), *net.dims[found])
        y = found
    return net.transpose(y, 0, 2, 1)


def squeezed(net: Net, x: str) -> str:
    """A gate for each channel, made of the mean of all tokens."""
    batch, _, channels = net.sizes(x)
    x = net.linear(x, channels)
    kept = net.random.randrange(2)
    mean = net.known(net.mean(x, 1, keepdims=kept), batch, *[1] * kept, channels)
    inner = net.known(net.op("Relu", net.linear(mean, 4)), *net.dims[mean][:-1], 4)
    gate = net.op(str(net.pick("Sigmoid", "HardSigmoid")), net.linear(inner, channels))
    if not kept:
        gate = net.unsqueeze(gate, 1)
    if net.chance(0.3):
        gate = net.op("Expand", gate, net.op("Shape", x))
    return net.linear(net.known(net.op("Mul", *_shuffled(net, x, gate)), *net.dims[x]), channels)


def windows(net: Net, x: str) -> str:
    """Tokens of an image of 4 by 4 in windows of 2 by 2, where there are 16."""
    batch, length, channels = net.sizes(x)
    if length != 16:
        return swapped(net, x)
    width = channels
    y = net.linear(x, width) if net.chance(0.7) else x
    y = net.reshape(net.known(y, *net.dims[x]), batch, 2, 2, 2, 2, width)
    y = net.transpose(y, 0, 1, 3, 2, 4, 5)
    y = net.linear(net.reshape(y, -1, 4, width), width)
    y = activation(net, y)
    y = net.transpose(net.reshape(y, batch, 2, 2, 2, 2, width), 0, 1, 3, 2, 4, 5)
    return net.linear(net.reshape(y, batch, length, width), width)


def frontend(net: Net, x: str) -> str:
    """A Conv along the tokens."""
    channels, kernel = net.width(x), net.random.choice([1, 3, 5])
    group = net.random.choice([1, 1, channels])
    turned = net.transpose(x, 0, 2, 1)
    bias = [net.weight(channels, spread=0.2)] if net.chance(0.7) else []
    weight = net.weight(channels, channels // group, kernel, spread=1 / sqrt(kernel * channels // group))
    result = net.known(
        net.op("Conv", turned, weight, *bias, pads=[kernel // 2] * 2, group=group), net.dims[x][0], channels, net.dims[x][1]
    )
    return net.transpose(activation(net, result), 0, 2, 1)


def recurrent(net: Net, x: str) -> str:
    """An LSTM or GRU, of the tokens in turn."""
    batch, length, channels = net.sizes(x)
    kind, gates = net.random.choice([("LSTM", 4), ("LSTM", 4), ("GRU", 3)])
    directions = net.random.choice([1, 1, 2])
    hidden = net.random.choice([8, 16, 64])
    w = net.weight(directions, gates * hidden, channels, spread=0.2)
    r = net.weight(directions, gates * hidden, hidden, spread=0.15)
    bias = net.weight(directions, 2 * gates * hidden, spread=0.2) if net.chance(0.7) else ""
    given = [net.transpose(x, 1, 0, 2), w, r, bias]
    if net.chance(0.3) and isinstance(batch, str):
        given.append(net.input("lengths", TensorProto.INT32, (batch,), lambda n: _lengths(net, n)))
    elif net.chance(0.6):
        given.append("")
        shape = net.op("Concat", net.ints(directions), net.size(batch), net.ints(hidden), axis=0)
        state = net.op("Expand", net.weight(directions, 1, hidden, spread=0.3), shape)
        given += [state, state] if kind == "LSTM" else [state]
        if kind == "LSTM" and net.chance(0.3):
            given.append(net.weight(directions, 3 * hidden, spread=0.1))
    direction = "bidirectional" if directions == 2 else net.pick("forward", "reverse")
    attributes: dict[str, object] = {"hidden_size": hidden, "direction": direction}
    if net.chance(0.2):
        attributes["clip"] = 1.5
    if net.chance(0.15):
        attributes["activations"] = (["Sigmoid", "Relu", "Tanh"] if kind == "LSTM" else ["Sigmoid", "Relu"]) * directions
    if kind == "GRU":
        attributes["linear_before_reset"] = net.random.choice([0, 1])
    while given[-1] == "":
        given.pop()
    outputs = net.ops(kind, *given, outputs=net.random.choice([1, 2, 3] if kind == "LSTM" else [1, 2]), **attributes)
    if len(outputs) > 1 and net.chance(0.5):
        net.output(outputs[1], dims=(directions, batch, hidden))
    if directions == 1:
        every = net.known(net.squeeze(outputs[0], 1), length, batch, hidden)
        return net.linear(net.transpose(every, 1, 0, 2), channels)
    every = net.op("Transpose", outputs[0], perm=[2, 0, 1, 3])
    return net.linear(net.reshape(net.known(every, batch, length, 2, hidden), batch, length, 2 * hidden), channels)


def _lengths(net: Net, sizes: dict[str, int]) -> Array:
    most = sizes[net.length] if isinstance(net.length, str) else net.length
    return net.rng.integers(1, most + 1, sizes[str(net.batch)]).astype(np.int32)


def branch(net: Net, x: str) -> str:
    """An If whose bodies read values and weights from outside, and one that is decided by the data."""
    inside = net.linear(x, net.width(x))
    big = net.op("Greater", net.op("ReduceMax", x, keepdims=0), net.number(2.0, ()))
    w = net.weight(net.width(x), net.width(x))

    def body(*nodes: onnx.NodeProto) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(nodes[-1].output[0], net.kind(TensorProto.FLOAT), None)
        return helper.make_graph(nodes, net.name("body"), [], [result])

    names = [net.name("inner") for _ in range(3)]
    one = body(helper.make_node("MatMul", [inside, w], names[:1]))
    two = body(helper.make_node("Tanh", [inside], [names[1]]), helper.make_node("Mul", [names[1], x], [names[2]]))
    return net.known(net.op("If", big, then_branch=one, else_branch=two), *net.dims[x])


def scan(net: Net, x: str) -> str:
    """A running mean of the tokens, one by one."""
    batch, length, channels = net.sizes(x)
    steps = net.transpose(x, 1, 0, 2)
    start = net.mean(x, 1, keepdims=0)
    state, step, out, again = (net.name("scan") for _ in range(4))
    w = net.weight(channels, channels)
    inner = net.name("product")

    def info(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, net.kind(TensorProto.FLOAT), (batch, channels))

    nodes = [
        helper.make_node("MatMul", [state, w], [inner]),
        helper.make_node("Add", [inner, step], [name := net.name("sum")]),
        helper.make_node("Tanh", [name], [out]),
        helper.make_node("Identity", [out], [again]),
    ]
    body = helper.make_graph(nodes, "step", [info(state), info(step)], [info(out), info(again)])
    _, every = net.ops("Scan", start, steps, outputs=2, body=body, num_scan_inputs=1)
    return net.transpose(net.known(every, length, batch, channels), 1, 0, 2)


def halved(net: Net, x: str) -> str:
    """A part in float16."""
    channels = net.width(x)
    half = net.cast(x, TensorProto.FLOAT16)
    if net.chance(0.6):
        w = net.const(net.rng.standard_normal((channels, channels)) / sqrt(channels), np.float16)
        half = net.op("MatMul", half, w)
    half = net.op(str(net.pick("Tanh", "Relu", "Sigmoid")), half)
    return net.known(net.cast(half, TensorProto.FLOAT), *net.dims[x])


def swapped(net: Net, x: str) -> str:
    """Moves alone, in more steps than are needed."""
    batch, length, channels = net.sizes(x)
    parts = net.random.choice([part for part in (1, 2, 4) if channels % part == 0])
    apart = net.reshape(x, batch, length, parts, channels // parts)
    apart = net.transpose(apart, *net.random.choice([(0, 2, 1, 3), (0, 1, 3, 2)]))
    if net.chance(0.5):
        apart = net.known(net.squeeze(net.unsqueeze(apart, 0), 0), *net.dims[apart])
    back = (0, 2, 1, 3) if net.dims[apart][2] == length and net.dims[apart][1] == parts else (0, 1, 3, 2)
    apart = net.transpose(apart, *back)
    return net.reshape(apart, batch, length, channels)


# Attention


def attention(net: Net, x: str) -> str:
    batch, length, channels = net.sizes(x)
    heads = net.random.choice([size for size in (1, 2, 4) if channels % size == 0])
    width = channels // heads
    q, k, v = _projected(net, x, heads, width)
    keys = length
    if width % 2 == 0 and net.chance(0.25):
        q, k = (_turned(net, net.known(one, batch, heads, length, width)) for one in (q, k))
    if not net.past and net.chance(0.25):
        k, v, keys = _with_past(net, k, v, heads, width)
    early = net.chance(0.4)
    apply = "Mul" if net.chance(0.5) else "Div"
    number = net.number(1 / sqrt(width) if apply == "Mul" else sqrt(width))
    if early:
        q = net.op(apply, q, number)
    if net.opset >= 12 and net.chance(0.2):
        scores = net.op("Einsum", q, k, equation="bhid,bhjd->bhij")
    else:
        scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    if not early:
        scores = net.op(apply, scores, number)
    net.known(scores, batch, heads, length, keys)
    for _ in range(net.random.choice([0, 1, 1, 1, 2])):
        scores = net.known(net.random.choice(MASKS)(net, scores), *net.dims[scores])
    weights = net.op("Softmax", scores, axis=net.pick(-1, 3))
    if net.opset >= 12 and net.chance(0.15):
        found = net.op("Einsum", weights, v, equation="bhij,bhjd->bhid")
    else:
        found = net.op("MatMul", weights, v)
    if net.chance(0.1):
        net.output(weights, dims=(batch, heads, length, keys))
    joined = net.transpose(net.known(found, batch, heads, length, width), 0, 2, 1, 3)
    return net.linear(net.reshape(joined, batch, length, channels), channels)


def _projected(net: Net, x: str, heads: int, width: int) -> tuple[str, str, str]:
    """Queries, keys and values, each (batch, heads, length, width)."""
    batch, length, channels = net.sizes(x)
    way = net.random.randrange(4)
    if way == 0:  # one product for all, cut behind a Reshape
        every = net.reshape(net.linear(x, 3 * channels), batch, length, 3, heads, width)
        every = net.op("Transpose", every, perm=[2, 0, 3, 1, 4])
        parts = [net.op("Gather", every, net.const(index, np.int64), axis=0) for index in range(3)]
        return parts[0], parts[1], parts[2]
    if way == 1:
        parts = net.split(net.linear(x, 3 * channels), [channels] * 3, 2)
    elif way == 2:
        every = net.linear(x, 3 * channels)
        parts = [net.cut(every, i * channels, (i + 1) * channels, 2) for i in range(3)]
    else:
        parts = [net.linear(x, channels) for _ in range(3)]
    apart = [net.reshape(net.known(part, batch, length, channels), batch, length, heads, width) for part in parts]
    q, k, v = (net.transpose(part, 0, 2, 1, 3) for part in apart)
    return q, k, v


def _turned(net: Net, q: str) -> str:
    """By an angle that follows from the position."""
    length, half = net.dims[q][-2], net.width(q) // 2
    angles = np.outer(np.arange(64), 100.0 ** (-np.arange(half) / half))
    angles = np.concatenate([angles, angles], axis=1)
    positions = net.op("Range", net.const(0, np.int64), net.size(length, whole=True), net.const(1, np.int64))
    cosine, sine = (net.op("Gather", net.const(table, np.float32), positions) for table in (np.cos(angles), np.sin(angles)))
    low, high = net.split(q, [half, half], -1) if net.chance(0.5) else (net.cut(q, 0, half, 3), net.cut(q, half, 10**9, 3))
    other = net.op("Concat", net.op("Neg", high), low, axis=-1)
    return net.known(net.op("Add", net.op("Mul", q, cosine), net.op("Mul", other, sine)), *net.dims[q])


def _with_past(net: Net, k: str, v: str, heads: int, width: int) -> tuple[str, str, Size]:
    net.past = True
    dims = (net.batch, heads, "past", width)

    def fill(sizes: dict[str, int]) -> Array:
        batch = sizes[net.batch] if isinstance(net.batch, str) else net.batch
        return net.rng.standard_normal((batch, heads, sizes["past"], width)).astype(np.float32)

    joined = []
    for stem, now in (("key", k), ("value", v)):
        before = net.input(f"past_{stem}", TensorProto.FLOAT, dims, fill)
        joined.append(net.known(net.op("Concat", before, now, axis=-2), net.batch, heads, "whole", width))
        net.output(joined[-1])
    return joined[0], joined[1], "whole"


def triangle(net: Net, scores: str) -> str:
    """A constant, added, where the length is known."""
    *_, rows, keys = net.dims[scores]
    hidden = net.random.choice(HIDING)
    if not isinstance(rows, int) or not isinstance(keys, int):
        return cut_triangle(net, scores)
    mask = np.where(np.triu(np.ones((rows, keys), bool), 1), hidden, 0).reshape(net.pick((rows, keys), (1, 1, rows, keys)))
    return net.op("Add", *_shuffled(net, scores, net.const(mask, np.float32)))


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
    return net.op("Add", *_shuffled(net, scores, less))


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
    return net.op("Add", *_shuffled(net, scores, net.op("Where", later, hidden, net.number(0.0))))


def trilu(net: Net, scores: str) -> str:
    *_, rows, keys = net.dims[scores]
    if net.opset < 14:
        return computed_triangle(net, scores)
    value = numpy_helper.from_array(net.floats(np.array([net.random.choice(HIDING)], np.float32)))
    full = net.op("ConstantOfShape", net.op("Concat", net.size(rows), net.size(keys), axis=0), value=value)
    behind = net.op("Add", net.op("Sub", net.size(keys, whole=True), net.size(rows, whole=True)), net.const(1, np.int64))
    return net.op("Add", *_shuffled(net, scores, net.op("Trilu", full, behind, upper=1)))


def given_mask(net: Net, scores: str) -> str:
    """Which tokens count is an input; of each text one does at least."""
    batch, *_, keys = net.dims[scores]
    kind = net.random.choice([TensorProto.INT64, TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT32])
    left = net.chance(0.3)

    def fill(sizes: dict[str, int]) -> Array:
        size = [sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in (batch, keys)]
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
    return net.op("Add", *_shuffled(net, scores, net.op("Mul", net.op("Sub", net.number(1.0), numbers), net.number(hidden))))


def position_bias(net: Net, scores: str) -> str:
    """A number for each head, or for each pair of tokens, that hides nothing."""
    _, heads, rows, keys = net.dims[scores]
    assert isinstance(heads, int)
    shape = (heads, rows, keys) if isinstance(rows, int) and isinstance(keys, int) else (1, heads, 1, 1)
    return net.op("Add", *_shuffled(net, scores, net.weight(*shape, spread=1.0)))


MASKS = (triangle, cut_triangle, computed_triangle, trilu, given_mask, given_mask, position_bias)
BLOCKS: tuple[Callable[[Net, str], str], ...] = (
    *(attention,) * 6,
    *(feed_forward,) * 5,
    *(gated, gated, parallel, parallel, parallel, convolved, convolved, squeezed, windows, windows),
    *(recurrent, recurrent, frontend, branch, scan, halved, swapped),
)
DEADLY = (recurrent, branch, scan)
"""In float16 ONNX Runtime (1.31) dies of them."""


# Beginnings and ends


def ids(net: Net, rows: int) -> str:
    kind = net.random.choice([TensorProto.INT64, TensorProto.INT32])
    lowest = -rows if net.chance(0.15) else 0

    def fill(sizes: dict[str, int]) -> Array:
        shape = [sizes[dim] if isinstance(dim, str) else dim for dim in (net.batch, net.length)]
        return net.rng.integers(lowest, rows, shape).astype(helper.tensor_dtype_to_np_dtype(kind))

    return net.input("ids", kind, (net.batch, net.length), fill)


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
    return net.known(net.op("Add", *_shuffled(net, x, rows_of)), *net.dims[x])


def measured(net: Net, channels: int) -> str:
    """Floats come in, some channels of which may be far larger than the others."""
    sizes_of = np.ones(channels, np.float32)
    if net.chance(0.2):
        sizes_of[net.rng.integers(channels)] = 40

    def fill(sizes: dict[str, int]) -> Array:
        shape = [sizes[dim] if isinstance(dim, str) else dim for dim in (net.batch, net.length)]
        return (net.rng.standard_normal((*shape, channels)) * sizes_of).astype(np.float32)

    return net.input("x", TensorProto.FLOAT, (net.batch, net.length, channels), fill)


def pooled(net: Net, x: str) -> str:
    batch, _, channels = net.sizes(x)
    way = net.random.randrange(4)
    if way == 0:
        one = net.mean(x, 1, keepdims=0)
    elif way == 1:
        one = net.op("Gather", x, net.const(net.pick(0, -1), np.int64), axis=1)
    elif way == 2:
        one = net.squeeze(net.cut(x, 0, 1, 1), 1)
    else:
        one = net.with_axes("ReduceMax", x, [1], 18, keepdims=0)
    one = net.known(one, batch, channels)
    if batch == 1 and net.chance(0.3):  # a vector
        vector = net.squeeze(one, 0)
        outputs = net.random.choice([1, 5])
        way = net.chance(0.5)
        factors = (vector, net.weight(channels, outputs)) if way else (net.weight(outputs, channels), vector)
        return net.known(net.op("MatMul", *factors), outputs)
    return net.linear(one, net.random.choice([2, 10]))


def head(net: Net, x: str) -> None:
    channels = net.width(x)
    if net.chance(0.5):
        result = pooled(net, x)
    else:
        tied = [rows for _, rows, width in net.tables if width == channels]
        result = net.linear(x, net.random.choice([*tied, 7, 12]))
    ending = net.random.random()
    if net.chance(0.15):  # words that must not be said
        unwanted = np.where(net.rng.random(net.width(result)) < 0.3, net.random.choice(HIDING), 0)
        unwanted[0] = 0
        result = net.known(net.op("Add", *_shuffled(net, result, net.const(unwanted, np.float32))), *net.dims[result])
        ending = net.random.random() / 5
    if ending < 0.15:
        result = net.known(net.op("Softmax", result, axis=-1), *net.dims[result])
        if net.chance(0.3):
            result = net.known(net.op("Log", result), *net.dims[result])
    elif ending < 0.25 and len(net.dims[result]) > 1:
        result = activation(net, result)
    elif ending < 0.32:
        net.output(net.op("ArgMax", result, axis=-1, keepdims=0), TensorProto.INT64, net.dims[result][:-1])
    net.output(result)


def model(seed: int) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """The network of `seed`, and samples for it; another one where ONNX Runtime does not take what was drawn."""
    while True:
        net = Net(seed)
        _draw(net)
        drawn, samples = net.save(), _samples(net)
        if _runs(drawn, samples):
            return drawn, samples
        seed += _AGAIN


def _draw(net: Net) -> None:
    channels = net.random.choice([4, 8, 16, 32, 64])
    blocks = [block for block in BLOCKS if net.float == np.float32 or block not in DEADLY]
    x = embedded(net, channels) if net.chance(0.6) else measured(net, channels)
    if net.chance(0.4):
        x = norm(net, x)
    for _ in range(net.random.choice([1, 1, 2, 2, 3])):
        x = _residual(net, x, net.random.choice(blocks))
    if net.chance(0.15):
        net.output(x)
    head(net, x)


def _runs(drawn: onnx.ModelProto, samples: list[dict[str, Array]]) -> bool:
    try:
        onnx.checker.check_model(drawn, full_check=True)
        for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
            options = onnxruntime.SessionOptions()
            options.log_severity_level, options.intra_op_num_threads = 4, 1
            options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
            session = onnxruntime.InferenceSession(drawn.SerializeToString(), options, providers=["CPUExecutionProvider"])
            for sample in samples:
                session.run(None, sample)
    except Exception:  # onnx and ONNX Runtime have no common base for theirs
        return False
    return True


def _residual(net: Net, x: str, block: Callable[[Net, str], str]) -> str:
    """Normalized before or behind, or neither."""
    way = net.random.choice(["before", "behind", "behind", "neither", "alone"])
    found = block(net, norm(net, x) if way == "before" else x)
    if way == "alone":
        return found
    total = net.known(net.op("Add", *_shuffled(net, x, found)), *net.dims[x])
    return norm(net, total) if way == "behind" else total


def _samples(net: Net) -> list[dict[str, Array]]:
    batch, length, past = net.random.randint(1, 2), net.random.randint(1, 16), net.random.randint(1, 6)
    samples = []
    for number in range(SAMPLES):
        other = number >= SAMPLES - FRESH
        sizes = {
            "batch": net.random.randint(1, 3) if other else batch,
            "length": net.random.randint(1, 16) if other else length,
            "past": net.random.choice([0, 0, 1, 5]) if other else past,
        }
        whole = sizes["length"] if isinstance(net.length, str) else net.length
        sizes["whole"] = whole + sizes["past"]
        drawn = {name: fill(sizes) for name, fill in net.fillers.items()}
        samples.append({name: net.floats(array) if array.dtype == np.float32 else array for name, array in drawn.items()})
    return samples
