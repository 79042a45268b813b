"""Small convolutional networks that nobody wrote: drawn from what the rewrites for ONNX Runtime look for.

    model(seed) -> (onnx.ModelProto, feeds)

The last FRESH feeds are of the same distribution and not meant for calibration; where the model leaves sizes open, theirs are
others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from graph import Feeds, Graph, open_session
from onnx import TensorProto, helper, numpy_helper

FRESH = 3
SAMPLES = 5
_SCALES = (1.0, 2.0, 0.5, 2.0, 1.0, 2.0, 1.0, 0.5)
"""Of all samples, those of calibration first: the same size throughout would leave nothing to decide."""

Step = Callable[[Graph], object]


def model(seed: int) -> tuple[onnx.ModelProto, list[Feeds]]:
    """The network of that number, the same each time."""
    for attempt in range(50):
        rng = np.random.default_rng([seed, attempt])
        graph, inputs = _start(rng)
        wanted, shares = int(rng.integers(5, 26)), _mood(rng)
        for _ in range(6 * wanted):
            if len(graph) >= wanted:
                break
            graph.attempt(_STEPS[int(rng.choice(len(_STEPS), p=shares))])
        graph.attempt(_end)
        if len(graph) < 3 or not graph.weights:
            continue
        axes = {name: {0: "N"} if graph.chance(0.5) else {} for name in inputs[:1]}
        axes = {name: {**axes[inputs[0]], **_open_sizes(graph, name)} for name in inputs}
        found = graph.model(axes)
        if graph.chance(0.4):
            found = onnx.shape_inference.infer_shapes(found)
        for candidate, opened in ((found, axes), (_closed(found, graph, inputs), {})):
            feeds = _feeds(rng, graph, inputs, opened)
            if _is_valid(candidate, feeds):
                return candidate, feeds
    raise AssertionError(f"no valid graph for seed {seed}")


# inputs and samples


def _start(rng: np.random.Generator) -> tuple[Graph, list[str]]:
    graph = Graph(rng, int(rng.choice([11, 12, 13, 13, 14, 15, 16, 17, 17, 18, 19, 20, 21])))
    rank = int(rng.choice([3, 4, 5], p=[0.06, 0.9, 0.04]))
    channels = int(rng.choice([1, 2, 3, 3, 4, 5, 8, 12, 16]))
    sizes = [int(rng.integers(4, 33 if rank < 5 else 9)) for _ in range(rank - 2)]
    sizes = [size // 4 * 4 for size in sizes] if graph.chance(0.6) else sizes
    batch = int(rng.choice([1, 1, 2]))
    inputs = [graph.input("x", _draw(rng, (batch, channels, *sizes)))]
    if graph.chance(0.15):
        more = channels if graph.chance(0.5) else int(rng.integers(1, 9))
        inputs.append(graph.input("y", _draw(rng, (batch, more, *sizes))))
    if rank == 4 and graph.chance(0.1):
        inputs.append(_bytes(graph, inputs[0]))
    return graph, inputs


def _bytes(g: Graph, like: str) -> str:
    """An image as bytes, prepared inside of the network."""
    name = g.input("image", g.rng.integers(0, 256, g.shape(like)).astype(np.uint8))
    x = g.op("Cast", name, to=TensorProto.FLOAT)
    if g.chance(0.5):
        x = g.op("Sub", x, g.constant(127.5))
    x = g.op("Div", x, g.constant(255.0)) if g.chance(0.5) else g.op("Mul", x, g.constant(1 / 255))
    if g.chance(0.5):
        g.op("Add", x, like)
    return name


def _draw(rng: np.random.Generator, shape: tuple[int, ...], kind: str = "normal", scale: float = 1.0) -> np.ndarray:
    if kind == "bytes":
        return rng.integers(0, 256, shape).astype(np.uint8)
    array = {"normal": rng.normal(size=shape), "positive": rng.random(shape), "negative": rng.random(shape) * 3 - 4}[kind]
    return (array * scale).astype(np.float32)


def _mood(rng: np.random.Generator) -> np.ndarray:
    """How often each step is taken in one network: some never, so that others meet each other."""
    shares = _SHARES * rng.choice([0, 0.5, 1, 3], p=[0.35, 0.15, 0.3, 0.2], size=len(_SHARES))
    shares[0] = _SHARES[0]  # layers in any case
    return shares / shares.sum()


def _open_sizes(graph: Graph, name: str) -> dict[int, str]:
    rank = len(graph.shape(name))
    return {axis: f"S{axis}" for axis in range(2, rank)} if graph.chance(0.4) else {}


def _feeds(rng: np.random.Generator, graph: Graph, inputs: list[str], axes: Mapping[str, Mapping[int, str]]) -> list[Feeds]:
    """Those of calibration have the sizes of the graph, the last FRESH others where these are open."""
    feeds = []
    kinds = {name: str(rng.choice(["normal", "normal", "normal", "positive", "negative"])) for name in inputs}
    kinds |= {name: "bytes" for name in inputs if graph.values[name].dtype == np.uint8}
    for number, scale in enumerate(_SCALES):
        other = number >= SAMPLES
        batch, more = (int(rng.integers(1, 4)), int(rng.choice([-4, 0, 4, 3]))) if other else (0, 0)

        def size(name: str, axis: int, length: int, batch: int = batch, more: int = more) -> int:
            if axis not in axes.get(name, {}):
                return length
            return (batch or length) if axis == 0 else max(length + more, 4)

        shapes = {name: tuple(size(name, axis, n) for axis, n in enumerate(graph.shape(name))) for name in inputs}
        feeds.append({name: _draw(rng, shape, kinds[name], scale) for name, shape in shapes.items()})
    return feeds


def _closed(found: onnx.ModelProto, graph: Graph, inputs: list[str]) -> onnx.ModelProto:
    """`found` with the sizes of the graph where it left some open."""
    closed = onnx.ModelProto()
    closed.CopyFrom(found)
    for value in closed.graph.input:
        if value.name in inputs:
            for dim, size in zip(value.type.tensor_type.shape.dim, graph.shape(value.name), strict=True):
                dim.dim_value = size
    del closed.graph.value_info[:]
    for value in closed.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.ClearField("value")
    return closed


def _is_valid(found: onnx.ModelProto, feeds: list[Feeds]) -> bool:
    """Whether ONNX takes it, and ONNX Runtime computes the same numbers with its optimizations as without."""
    try:
        onnx.checker.check_model(found, full_check=True)
        plain, fast = open_session(found, optimize=False), open_session(found)
        for sample in feeds:
            for left, right in zip(plain.run(None, sample), fast.run(None, sample), strict=True):
                largest = np.abs(left).max(initial=1e-3)
                if not np.isfinite(left).all() or left.size == 0 or np.abs(left - right).max() > 1e-4 * largest:
                    return False
    except Exception:  # neither has an exception of its own
        return False
    return True


# weights and constants


def _weight(g: Graph, shape: tuple[int, ...], axis: int = 0, fan_in: int | None = None) -> str:
    """An earlier one of that shape now and then; dead and huge channels among the new ones. axis: of the output channels."""
    again = [name for name in g.weights if g.shape(name) == shape]
    if again and g.chance(0.3):
        return str(again[-1])
    array = g.rng.normal(size=shape) / np.sqrt(fan_in or max(1, np.prod(shape) // shape[axis]))
    quirk, channel = g.rng.random(), int(g.rng.integers(shape[axis]))
    along = np.moveaxis(array, axis, 0)
    if quirk < 0.03:
        along[...] = 0
    elif quirk < 0.09:
        along[channel] = 0
    elif quirk < 0.13:
        along[channel] *= 20
    elif quirk < 0.16:
        along[channel] *= 1e-6
    elif quirk < 0.19:
        along[...] = np.abs(along)
    name = g.constant(array)
    g.weights.append(name)
    return name


def _bias(g: Graph, channels: int) -> list[str]:
    kind = g.rng.random()
    if kind < 0.3:
        return []
    return [g.constant(np.zeros(channels) if kind < 0.36 else g.rng.normal(size=channels) * g.choose(0.1, 0.1, 0.5, 20))]


def _channels(g: Graph, group: int = 1) -> int:
    return group * max(1, int(g.choose(1, 2, 3, 4, 6, 8, 12, 16, 16, 20, 24, 32, 40)) // group)


def _small(g: Graph, rank: int = 4) -> str:
    """An image that is not too large to go on with."""
    return g.pick(rank, lambda array: array.size <= 60_000)


# layers


def conv(g: Graph, x: str | None = None, channels: int | None = None) -> str:
    rank = 4 if g.chance(0.93) else g.choose(3, 5)
    x = x or _small(g, rank)
    wide, spatial = g.shape(x)[1], len(g.shape(x)) - 2
    group = g.choose(1, 1, 1, 1, wide, wide, 2, 4)
    if wide % group:
        group = 1
    out = channels or (wide * g.choose(1, 1, 1, 2) if group == wide > 1 else _channels(g, group))
    if out % group:
        group = 1
    kernel = _kernel(g, spatial)
    dilations = [g.choose(1, 2, 3) for _ in range(spatial)] if g.chance(0.1) else None
    strides = None if g.chance(0.7) else [g.choose(1, 2, 2, 3) for _ in range(spatial)]
    w = _weight(g, (out, wide // group, *kernel))
    shape = {"kernel_shape": kernel} if g.chance(0.8) else {}
    return str(
        g.op("Conv", x, w, *_bias(g, out), group=group, strides=strides, dilations=dilations, **shape, **_pads(g, kernel))
    )


def _kernel(g: Graph, spatial: int) -> list[int]:
    size = g.choose(1, 1, 1, 2, 3, 3, 3, 3, 5, 7)
    if g.chance(0.1):
        return [g.choose(1, size) for _ in range(spatial)]
    return [size] * spatial


def _pads(g: Graph, kernel: list[int]) -> dict[str, object]:
    kind = g.rng.random()
    if kind < 0.6:
        return {"pads": [size // 2 for size in kernel] * 2}
    if kind < 0.75:
        return {}
    if kind < 0.85:
        return {"pads": [int(g.rng.integers(0, size)) for size in [*kernel, *kernel]]}
    return {"auto_pad": g.choose("SAME_UPPER", "SAME_LOWER", "VALID")}


def conv_transpose(g: Graph) -> None:
    x = g.pick(4, lambda array: array.size <= 8_000)
    wide = g.shape(x)[1]
    group = g.choose(1, 1, 1, 2, wide)
    if wide % group:
        group = 1
    if g.chance(0.6):  # it enlarges by its stride
        size, stride, before, behind, more = g.choose(
            (2, 2, 0, 0, 0), (4, 2, 1, 1, 0), (3, 2, 1, 1, 1), (3, 2, 0, 1, 0), (3, 3, 0, 0, 0)
        )
        out = _channels(g)
        w = _weight(g, (wide, out, size, size), axis=1, fan_in=wide * 2)
        pads = {"pads": [before, before, behind, behind], "output_padding": [more, more]}
        g.op("ConvTranspose", x, w, *_bias(g, out), strides=[stride, stride], **pads)
        return
    out, kernel, strides = _channels(g, group), [g.choose(1, 2, 3, 4)] * 2, [g.choose(1, 2, 2, 3)] * 2
    extra = {"output_padding": [1, 1]} if strides[0] > 1 and g.chance(0.2) else {}
    pads = {"pads": [g.choose(0, 1) for _ in range(4)]} if g.chance(0.5) else {}
    if g.chance(0.1):
        extra, pads = {}, {"auto_pad": g.choose("SAME_UPPER", "SAME_LOWER")}
    dilations = [2, 2] if g.chance(0.05) else None
    w = _weight(g, (wide, out // group, *kernel), axis=1, fan_in=wide * 2)
    g.op(
        "ConvTranspose",
        x,
        w,
        *_bias(g, out),
        group=group,
        strides=strides,
        dilations=dilations,
        kernel_shape=kernel,
        **pads,
        **extra,
    )


def gemm(g: Graph) -> str:
    x = g.pick(2)
    wide, out, turned = g.shape(x)[1], _channels(g), g.chance(0.5)
    w = _weight(g, (out, wide) if turned else (wide, out), axis=0 if turned else 1, fan_in=wide)
    numbers = {"alpha": 0.5} if g.chance(0.1) else {}
    numbers |= {"beta": 2.0} if g.chance(0.1) else {}
    if g.chance(0.3):
        y = g.op("MatMul", x, g.op("Transpose", w, perm=[1, 0]) if turned else w)
        return str(g.op("Add", *_either_way(g, y, g.constant(g.rng.normal(size=out))))) if g.chance(0.6) else str(y)
    shape = g.choose((out,), (1, out), (1,), ())
    bias = [g.constant(g.rng.normal(size=shape))] if g.chance(0.7) else []
    return str(g.op("Gemm", x, w, *bias, transB=int(turned), **numbers))


def matmul(g: Graph) -> None:
    """Pixels as rows, a product, and back."""
    x = _small(g)
    _, c, h, w = g.shape(x)
    out = _channels(g)
    rows = g.op("Transpose", _reshape(g, x, (0, c, -1)), perm=[0, 2, 1])
    y = g.op("MatMul", rows, _weight(g, (c, out), axis=1))
    if g.chance(0.5):
        y = g.op("Add", *_either_way(g, y, g.constant(g.rng.normal(size=out))))
    _reshape(g, g.op("Transpose", y, perm=[0, 2, 1]), (0, out, h, w))


def products(g: Graph) -> None:
    """Channels by channels, as in an attention of an image."""
    x = _small(g)
    rows = _reshape(g, x, (0, g.shape(x)[1], -1))
    scores = g.op("MatMul", rows, g.op("Transpose", rows, perm=[0, 2, 1]))
    y = g.op("MatMul", g.op("Softmax", scores, axis=2), rows)
    _reshape(g, y, (0, *g.shape(x)[1:]))


def batch_norm(g: Graph, x: str | None = None) -> str:
    x = x or g.pick(g.choose(4, 4, 4, 3, 2))
    wide = g.shape(x)[1]
    scale = g.rng.normal(size=wide) if g.chance(0.4) else g.rng.random(wide) + 0.5
    if g.chance(0.1):
        scale[int(g.rng.integers(wide))] = 0
    numbers = [scale, g.rng.normal(size=wide), g.rng.normal(size=wide), g.rng.random(wide) + 0.3]
    return str(g.op("BatchNormalization", x, *map(g.constant, numbers)))


def other_norms(g: Graph) -> None:
    x = _small(g)
    wide = g.shape(x)[1]
    if g.chance(0.5):
        g.op("InstanceNormalization", x, g.constant(g.rng.random(wide) + 0.5), g.constant(g.rng.normal(size=wide)))
    else:
        g.op("LRN", x, size=3)


# elementwise


def activation(g: Graph, x: str | None = None) -> str:
    x = x or g.pick(None)
    kind = g.choose(*_ACTIVATIONS)
    return str(kind(g, x))


def _clip(g: Graph, x: str) -> str:
    low, high = g.choose(
        ("0", "6"), ("0", ""), ("", "6"), ("-1", "1"), ("0.3", "2"), ("-2", "-0.5"), ("0", "1"), ("", ""), ("0", "0.01")
    )
    bounds = [g.constant(float(bound)) if bound else "" for bound in (low, high)]
    while bounds and not bounds[-1]:
        bounds.pop()
    return str(g.op("Clip", x, *bounds))


def _hard_swish(g: Graph, x: str) -> str:
    if g.opset >= 14 and g.chance(0.4):
        return str(g.op("HardSwish", x))
    if g.chance(0.4):
        gate = g.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        return str(g.op("Mul", *_either_way(g, x, gate)))
    shifted = g.op("Add", *_either_way(g, x, g.constant(3.0)))
    bounded = g.op("Clip", shifted, g.constant(0.0), g.constant(6.0))
    if g.chance(0.5):
        product = g.op("Mul", *_either_way(g, x, bounded))
        return str(g.op("Div", product, g.constant(6.0)) if g.chance(0.5) else g.op("Mul", product, g.constant(1 / 6)))
    gate = g.op("Div", bounded, g.constant(6.0)) if g.chance(0.5) else g.op("Mul", bounded, g.constant([1 / 6]))
    return str(g.op("Mul", *_either_way(g, x, gate)))


def _gelu(g: Graph, x: str) -> str:
    half = g.op("Erf", g.op("Div", x, g.constant(2**0.5)))
    return str(g.op("Mul", g.op("Mul", x, g.op("Add", half, g.constant(1.0))), g.constant(0.5)))


def _prelu(g: Graph, x: str) -> str:
    shape = (g.shape(x)[1], *[1] * (len(g.shape(x)) - 2)) if g.chance(0.7) and len(g.shape(x)) > 1 else (1,)
    return str(g.op("PRelu", x, g.constant(g.rng.random(shape) * 0.5)))


def _named(op_type: str, **attributes: object) -> Callable[[Graph, str], str]:
    return lambda g, x: str(g.op(op_type, x, **attributes))


_ACTIVATIONS: tuple[Callable[[Graph, str], str], ...] = (
    *[_named("Relu")] * 6,
    *[_clip] * 5,
    *[_hard_swish] * 3,
    _named("LeakyRelu", alpha=0.1),
    _named("LeakyRelu"),
    _named("LeakyRelu", alpha=1.5),
    _named("LeakyRelu", alpha=-0.5),
    *[_named("HardSigmoid")] * 2,
    _named("HardSigmoid", alpha=1 / 6, beta=0.5),
    _named("HardSigmoid", alpha=-0.3, beta=0.5),
    _named("HardSigmoid", alpha=0.3, beta=1.5),
    *[_named("Sigmoid")] * 2,
    *[lambda g, x: str(g.op("Mul", *_either_way(g, x, g.op("Sigmoid", x))))] * 2,
    lambda g, x: str(g.op("Mul", x, g.op("Tanh", g.op("Softplus", x)))),
    _named("Tanh"),
    _named("Elu"),
    _named("Abs"),
    _named("Neg"),
    _named("Softplus"),
    _gelu,
    _prelu,
)


def _either_way(g: Graph, left: str, right: str) -> tuple[str, str]:
    return (left, right) if g.chance(0.6) else (right, left)


def combine(g: Graph) -> None:
    """Two tensors of which one fits the other."""
    x = g.pick(None)
    shape = g.shape(x)

    def fits(array: np.ndarray) -> bool:
        return array.ndim == len(shape) and all(a in {1, b} for a, b in zip(array.shape[1:], shape[1:], strict=True))

    others = [name for name in g.tensors(fits) if name != x] or [x]
    y = others[int(g.rng.integers(len(others)))]
    g.op(g.choose("Add", "Add", "Add", "Mul", "Mul", "Sub", "Max", "Min"), *_either_way(g, x, y))


def with_constant(g: Graph, x: str | None = None) -> str:
    x = x or g.pick(None)
    op_type = g.choose("Add", "Add", "Mul", "Mul", "Sub", "Div", "Pow")
    if op_type == "Pow":
        return str(g.op("Pow", x, g.constant(2.0)))
    shape = g.shape(x)
    channel = (shape[1], *[1] * (len(shape) - 2)) if len(shape) > 1 else (1,)
    drawn = g.choose((), (), (1,), channel, channel, (1, *channel), shape[1:], (1,) * len(shape))
    array = g.rng.normal(size=drawn) * g.choose(0.1, 1, 1, 5)
    if g.chance(0.15):
        array = np.full(drawn, g.choose(0.0, 1.0, -1.0, 0.5, 255.0, 1 / 255))
    if op_type == "Div":
        array = np.where(np.abs(array) < 0.1, 0.5, array)
    operands = (x, g.constant(array))
    return str(g.op(op_type, *(operands if op_type == "Div" and g.chance(0.9) else _either_way(g, *operands))))


def identity(g: Graph) -> None:
    """What changes nothing, or next to nothing."""
    x = g.pick(None)
    rank = len(g.shape(x))
    turn = list(g.rng.permutation(rank))
    steps: list[Callable[[], object]] = [
        lambda: g.op("Identity", x),
        lambda: g.op("Dropout", x),
        lambda: g.op("Mul", x, g.constant(1.0)),
        lambda: g.op("Add", x, g.constant(0.0)),
        lambda: g.op("Cast", x, to=TensorProto.FLOAT),
        lambda: g.op("Relu", g.op("Relu", x)),
        lambda: g.op("Transpose", g.op("Transpose", x, perm=turn), perm=list(np.argsort(turn))),
        lambda: g.op("Pad", x, g.constant([0] * 2 * rank, np.int64)),
        lambda: g.op("Concat", x, axis=min(1, rank - 1)),
        lambda: g.op("Neg", g.op("Neg", x)),
        lambda: g.op("Slice", x, g.constant([0], np.int64), g.constant([2**31], np.int64), g.constant([0], np.int64)),
        lambda: g.op("Sum", x),
        lambda: g.op("Max", x, g.constant(-3.0)),
        lambda: g.op("MaxPool", x, kernel_shape=[1] * max(rank - 2, 1)),
    ]
    g.choose(*steps)()


# moves


def _reshape(g: Graph, x: str, shape: tuple[int, ...]) -> str:
    if g.opset >= 14 and g.chance(0.1) and 0 not in shape:
        return str(g.op("Reshape", x, g.constant(shape, np.int64), allowzero=1))
    return str(g.op("Reshape", x, g.constant(shape, np.int64)))


def concat(g: Graph) -> None:
    x = g.pick(g.choose(4, 4, 4, 3, 2))
    shape, axis = g.shape(x), g.choose(1, 1, 1, 1, len(g.shape(x)) - 1)

    def fits(array: np.ndarray) -> bool:
        alike = [a == b or i == axis for i, (a, b) in enumerate(zip(array.shape, shape, strict=False))]
        return array.ndim == len(shape) and all(alike)

    others = g.tensors(fits)
    joined = [x, *(others[int(g.rng.integers(len(others)))] for _ in range(g.choose(1, 1, 2)))]
    if g.chance(0.12):
        joined.append(g.constant(g.rng.normal(size=shape)))
    g.op("Concat", *(joined[i] for i in g.rng.permutation(len(joined))), axis=axis - len(shape) if g.chance(0.3) else axis)


def split(g: Graph) -> None:
    x = g.pick(None, lambda array: array.ndim > 1 and array.shape[1] > 1)
    wide = g.shape(x)[1]
    parts = 2 if wide % 2 == 0 and g.chance(0.7) else g.choose(2, 3)
    parts = min(parts, wide)
    at = sorted(g.rng.choice(np.arange(1, wide), parts - 1, replace=False))
    sizes = [int(size) for size in np.diff([0, *at, wide])] if wide % parts or g.chance(0.4) else [wide // parts] * parts
    if g.opset < 13:
        found = g.op("Split", x, count=len(sizes), axis=1, split=sizes)
    else:
        found = g.op("Split", x, g.constant(sizes, np.int64), count=len(sizes), axis=1)
    for part in found:
        if g.chance(0.4):
            g.choose(activation, with_constant)(g, part)
    if g.chance(0.3):
        g.op("Concat", *reversed(found), axis=1)


def slice_of(g: Graph) -> None:
    x = g.pick(None, lambda array: array.ndim > 1)
    shape = g.shape(x)
    axis = int(g.rng.integers(1, len(shape)))
    begin, step = g.choose(0, 0, 1, -2), g.choose(1, 1, 1, 2)
    end = g.choose(2**31, 2**31, -1, shape[axis] // 2)
    if g.chance(0.1):
        begin, end, step = -1, -(2**31), -1
    numbers = [g.constant([number], np.int64) for number in (begin, end, axis - len(shape) if g.chance(0.3) else axis, step)]
    g.op("Slice", x, *(numbers[:3] if step == 1 and g.chance(0.5) else numbers))


def pad(g: Graph, x: str | None = None) -> str:
    x = x or _small(g)
    rank = len(g.shape(x))
    ends = [0, 0, *(g.choose(0, 1, 2) for _ in range(rank - 2)), 0, 0, *(g.choose(0, 1, 2) for _ in range(rank - 2))]
    if g.chance(0.15):
        ends[1] = 1
    if g.chance(0.1):
        ends[rank + 1] = 2
    if g.chance(0.08):
        ends[2] = -1
    mode = g.choose("constant", "constant", "constant", "reflect", "edge")
    value = [g.constant(g.choose(0.0, 0.0, 1.0, -0.7, -10.0))] if mode == "constant" and g.chance(0.7) else []
    return str(g.op("Pad", x, g.constant(ends, np.int64), *value, mode=mode))


def pool(g: Graph, x: str | None = None) -> str:
    x = x or _small(g, 4 if g.chance(0.95) else g.choose(3, 5))
    spatial = len(g.shape(x)) - 2
    op_type = g.choose("MaxPool", "AveragePool", "AveragePool", "LpPool")
    kernel = [g.choose(2, 2, 3, 3, 5, 1)] * spatial if g.chance(0.85) else [g.choose(1, 2, 3) for _ in range(spatial)]
    strides = g.choose(None, [2] * spatial, [1] * spatial, [g.choose(1, 2, 3) for _ in range(spatial)])
    attributes: dict[str, object] = {"kernel_shape": kernel, "strides": strides}
    kind = g.rng.random()
    if kind < 0.4:
        attributes["pads"] = [size // 2 for size in kernel] * 2
    elif kind < 0.55:
        attributes["pads"] = [g.choose(0, size // 2) for size in [*kernel, *kernel]]
    elif kind < 0.7:
        attributes["auto_pad"] = g.choose("SAME_UPPER", "SAME_LOWER", "VALID")
    if op_type != "LpPool" and g.chance(0.25):
        attributes["ceil_mode"] = 1
    if op_type == "AveragePool" and g.chance(0.4):
        attributes["count_include_pad"] = 1
    if (op_type == "MaxPool" and g.chance(0.1)) or (op_type == "AveragePool" and g.opset >= 19 and g.chance(0.1)):
        attributes["dilations"] = [2] * spatial
    return str(g.op(op_type, x, **attributes))


def mean(g: Graph, x: str | None = None) -> str:
    """Over all pixels, in one of its forms."""
    x = x or g.pick(4)
    if g.chance(0.45):
        return str(g.op(g.choose("GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool"), x))
    axes = g.choose([2, 3], [-1, -2], [2, 3], [2], [3], [1], [1, 2, 3])
    return str(
        _reduce(g, g.choose("ReduceMean", "ReduceMean", "ReduceMean", "ReduceMax", "ReduceSum"), x, axes, keep=g.choose(0, 1))
    )


def _reduce(g: Graph, op_type: str, x: str, axes: list[int], *, keep: int) -> str:
    as_input = g.opset >= (13 if op_type == "ReduceSum" else 18)
    if as_input:
        return str(g.op(op_type, x, g.constant(axes, np.int64), keepdims=keep))
    return str(g.op(op_type, x, axes=axes, keepdims=keep))


def resize(g: Graph) -> None:
    x = g.pick(4, lambda array: array.size <= 12_000)
    mode = g.choose("nearest", "nearest", "nearest", "linear", "cubic")
    way = g.choose("half_pixel", "asymmetric", "asymmetric", "align_corners", "pytorch_half_pixel")
    rounding = {"nearest_mode": g.choose("floor", "round_prefer_floor", "ceil")} if mode == "nearest" else {}
    empty = g.constant([], np.float32)
    if g.chance(0.75):
        factors = g.choose([1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 3, 2], [1, 1, 0.5, 0.5], [1, 1, 1.5, 2], [1, 1, 1, 1])
        g.op("Resize", x, empty, g.constant(factors), mode=mode, coordinate_transformation_mode=way, **rounding)
        return
    _, c, h, w = g.shape(x)
    pixels = g.constant([c, g.choose(2 * h, h + 3, 7), g.choose(2 * w, w, 5)], np.int64)
    sizes = g.op("Concat", _batch(g, x), pixels, axis=0)
    g.op("Resize", x, empty, empty, sizes, mode=mode, coordinate_transformation_mode=way, **rounding)


def _batch(g: Graph, x: str) -> str:
    """How many samples there are, from the shape of `x`."""
    return str(g.op("Slice", g.op("Shape", x), *(g.constant([n], np.int64) for n in (0, 1, 0))))


def shuffle(g: Graph) -> None:
    """Channels of groups mixed."""
    groups = g.choose(2, 2, 3, 4)
    x = g.pick(4, lambda array: array.shape[1] % groups == 0 and array.shape[1] > groups)
    _, c, h, w = g.shape(x)
    apart = _reshape(g, x, (g.choose(0, -1), groups, c // groups, h, w))
    _reshape(g, g.op("Transpose", apart, perm=[0, 2, 1, 3, 4]), (g.choose(0, -1), c, h, w))


def pixels(g: Graph) -> None:
    """Channels to pixels or back, named or spelled."""
    kind = g.choose("depth", "depth", "space", "spelled", "spelled_back")
    if kind in {"depth", "spelled"}:
        x = g.pick(4, lambda array: array.shape[1] % 4 == 0 and array.size < 30_000)
    else:
        x = g.pick(4, lambda array: array.shape[2] % 2 == 0 and array.shape[3] % 2 == 0)
    _, c, h, w = g.shape(x)
    if kind == "depth":
        g.op("DepthToSpace", x, blocksize=2, mode=g.choose("DCR", "CRD"))
    elif kind == "space":
        g.op("SpaceToDepth", x, blocksize=2)
    elif kind == "spelled":
        first = g.chance(0.5)
        parts = _reshape(g, x, (0, 2, 2, c // 4, h, w) if first else (0, c // 4, 2, 2, h, w))
        _reshape(
            g, g.op("Transpose", parts, perm=[0, 3, 4, 1, 5, 2] if first else [0, 1, 4, 2, 5, 3]), (0, c // 4, 2 * h, 2 * w)
        )
    else:
        parts = _reshape(g, x, (0, c, h // 2, 2, w // 2, 2))
        _reshape(g, g.op("Transpose", parts, perm=g.choose([0, 3, 5, 1, 2, 4], [0, 1, 3, 5, 2, 4])), (0, 4 * c, h // 2, w // 2))


def windows(g: Graph) -> None:
    """An image cut into windows of tokens, a layer on them, and put together."""
    x = g.pick(4, lambda array: array.shape[2] % 4 == 0 and array.shape[3] % 4 == 0)
    n, c, h, w = g.shape(x)
    cut = _reshape(g, g.op("Transpose", x, perm=[0, 2, 3, 1]), (n, h // 4, 4, w // 4, 4, c))
    tokens = _reshape(g, g.op("Transpose", cut, perm=[0, 1, 3, 2, 4, 5]), (-1, 16, c))
    out = _channels(g)
    tokens = g.op("MatMul", tokens, _weight(g, (c, out), axis=1))
    back = _reshape(g, tokens, (n, h // 4, w // 4, 4, 4, out))
    image = _reshape(g, g.op("Transpose", back, perm=[0, 1, 3, 2, 4, 5]), (n, h, w, out))
    g.op("Transpose", image, perm=[0, 3, 1, 2])


def move(g: Graph) -> None:
    x = g.pick(None, lambda array: array.ndim > 1)
    shape = g.shape(x)
    kind = g.choose("transpose", "flatten", "rows", "unsqueeze", "squeeze", "reverse", "tile", "gather", "expand")
    if kind == "transpose":
        g.op("Transpose", x, perm=[0, *(int(i) + 1 for i in g.rng.permutation(len(shape) - 1))])
    elif kind == "flatten":
        g.op("Flatten", x, axis=1)
    elif kind == "rows":
        _reshape(g, x, (0, -1))
    elif kind == "unsqueeze":
        axes = [g.choose(1, 2, -1)]
        g.op("Unsqueeze", x, g.constant(axes, np.int64)) if g.opset >= 13 else g.op("Unsqueeze", x, axes=axes)
    elif kind == "squeeze":
        axes = [i for i, size in enumerate(shape) if size == 1 and i > 0]
        if axes:
            g.op("Squeeze", x, g.constant(axes, np.int64)) if g.opset >= 13 else g.op("Squeeze", x, axes=axes)
    elif kind == "tile":
        g.op("Tile", x, g.constant([1, *(g.choose(1, 1, 2) for _ in shape[1:])], np.int64))
    elif kind == "gather":
        g.op("Gather", x, g.constant(g.rng.integers(shape[1], size=g.choose(1, 3, 4)), np.int64), axis=1)
    elif kind == "expand":
        g.op("Expand", x, g.constant([1] * len(shape), np.int64))


# blocks


def gate(g: Graph) -> None:
    """Squeeze and excitation."""
    x = _small(g)
    c = g.shape(x)[1]
    squeezed = g.op("GlobalAveragePool", x) if g.chance(0.5) else _reduce(g, "ReduceMean", x, [2, 3], keep=1)
    inner = max(1, c // g.choose(1, 2, 4))
    if g.chance(0.7):
        y = g.op("Conv", squeezed, _weight(g, (inner, c, 1, 1)), *_bias(g, inner))
        y = activation(g, y) if g.chance(0.5) else g.op("Relu", y)
        y = g.op("Conv", y, _weight(g, (c, inner, 1, 1)), *_bias(g, c))
    else:
        y = g.op("Gemm", _reshape(g, squeezed, (-1, c)), _weight(g, (c, inner), axis=1))
        y = g.op("Gemm", g.op("Relu", y), _weight(g, (inner, c), axis=1), g.constant(g.rng.normal(size=c)))
        y = _reshape(g, y, (-1, c, 1, 1))
    y = g.op("HardSigmoid", y) if g.chance(0.4) else g.op("Sigmoid", y)
    product = g.op("Mul", *_either_way(g, x, y))
    if g.chance(0.2):
        g.op("Add", product, x)


def conv_block(g: Graph) -> None:
    y = conv(g)
    if g.chance(0.5):
        y = batch_norm(g, y)
    if g.chance(0.8):
        activation(g, y)


def residual(g: Graph) -> None:
    x = _small(g)
    c = g.shape(x)[1]
    y = g.op("Conv", x, _weight(g, (c, c, 3, 3)), *_bias(g, c), pads=[1] * 4)
    if g.chance(0.7):
        y = activation(g, y)
    if g.chance(0.5):
        y = g.op("Conv", y, _weight(g, (c, c, 1, 1)), *_bias(g, c))
    y = g.op("Add", *_either_way(g, x, y))
    if g.chance(0.6):
        activation(g, y)


def inverted(g: Graph) -> None:
    """Wide, depthwise, narrow."""
    x = _small(g)
    c = g.shape(x)[1]
    wide = min(c * g.choose(2, 3), 40)
    y = activation(g, g.op("Conv", x, _weight(g, (wide, c, 1, 1)), *_bias(g, wide)))
    y = activation(g, g.op("Conv", y, _weight(g, (wide, 1, 3, 3)), *_bias(g, wide), group=wide, pads=[1] * 4))
    y = g.op("Conv", y, _weight(g, (c, wide, 1, 1)), *_bias(g, c))
    if g.chance(0.6):
        g.op("Add", y, x)


def dense(g: Graph) -> None:
    """Joined, normalized, convolved, as in a DenseNet."""
    x = _small(g)
    for _ in range(g.choose(1, 2)):
        y = g.op("Relu", batch_norm(g, x)) if g.chance(0.8) else batch_norm(g, x)
        grown = g.choose(4, 8)
        y = g.op("Conv", y, _weight(g, (grown, g.shape(x)[1], 3, 3)), pads=[1] * 4)
        x = g.op("Concat", x, y, axis=1)
    if g.chance(0.7):
        batch_norm(g, x)


def shuffled(g: Graph) -> None:
    """The unit of a ShuffleNet: half of the channels through layers, joined, shuffled; perhaps more than once."""
    x = g.pick(4, lambda array: array.shape[1] % 2 == 0 and array.size <= 30_000)
    for _ in range(g.choose(1, 2, 3)):
        c, h, w = g.shape(x)[1:]
        half = c // 2
        if g.opset < 13:
            kept, y = g.op("Split", x, count=2, axis=1, split=[half, half])
        elif g.chance(0.5):
            kept, y = g.op("Split", x, g.constant([half, half], np.int64), count=2, axis=1)
        else:
            ends = [[g.constant([n], np.int64) for n in (first, end, 1)] for first, end in ((0, half), (half, c))]
            kept, y = (g.op("Slice", x, *numbers) for numbers in ends)
        y = g.op("Relu", g.op("Conv", y, _weight(g, (half, half, 1, 1)), *_bias(g, half)))
        y = g.op("Conv", y, _weight(g, (half, 1, 3, 3)), *_bias(g, half), group=half, pads=[1] * 4)
        y = g.op("Conv", y, _weight(g, (half, half, 1, 1)), *_bias(g, half))
        y = g.op("Concat", kept, g.op("Relu", y), axis=1)
        apart = _reshape(g, y, (0, 2, half, h, w))
        x = _reshape(g, g.op("Transpose", apart, perm=[0, 2, 1, 3, 4]), (0, c, h, w))
    conv(g, x)


def where(g: Graph) -> None:
    """Of two tensors, or a tensor and a number, by what a third says."""
    x = g.pick(None)
    other = g.choose(g.constant(0.0), g.constant(-1.0), x, activation(g, x))
    asked = g.op(g.choose("Greater", "Less"), g.pick(None) if g.chance(0.3) else x, g.constant(0.3))
    g.op("Where", asked, *_either_way(g, x, other))


def softmax(g: Graph) -> None:
    g.op("Softmax", g.pick(None, lambda array: array.ndim > 1), axis=g.choose(1, -1))


def branch(g: Graph) -> None:
    """An If whose bodies read a tensor from outside."""
    x = g.pick(None)
    shape = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [None] * len(g.shape(x)))
    yes = [helper.make_node("Relu", [x], ["inner"])]
    no = [helper.make_node("Neg", [x], ["inner"])]
    weights = []
    if len(g.shape(x)) == 4 and g.chance(0.4):
        c = g.shape(x)[1]
        weights = [numpy_helper.from_array(g.rng.normal(size=(c, c, 1, 1)).astype(np.float32), "inner_w")]
        yes = [helper.make_node("Conv", [x, "inner_w"], ["inner"])]
    known = g.chance(0.5)
    asked = g.constant(g.chance(0.5), np.bool_) if known else g.op("Greater", _total(g, x), g.constant(0.0))
    then = helper.make_graph(yes, "then", [], [shape], weights)
    other = helper.make_graph(no, "other", [], [shape])
    g.op("If", asked, then_branch=then, else_branch=other)


def _total(g: Graph, x: str) -> str:
    return str(g.op("ReduceMean", x, keepdims=0))


def sizes(g: Graph) -> None:
    """A shape that is computed from a shape."""
    x = g.pick(4)
    g.op("Reshape", x, g.op("Concat", _batch(g, x), g.constant([-1], np.int64), axis=0))


def head(g: Graph) -> None:
    """A classifier."""
    y = mean(g)
    rank = len(g.shape(y))
    if rank > 2:
        y = g.op("Flatten", y, axis=1) if g.chance(0.6) else _reshape(g, y, (0, -1))
    y = gemm(g)
    if g.chance(0.4):
        g.op("Softmax", y, axis=1)


_WEIGHTED: tuple[tuple[Step, float], ...] = (
    (conv, 10),
    (conv_block, 10),
    (conv_transpose, 3),
    (gemm, 3),
    (matmul, 2),
    (products, 1),
    (batch_norm, 4),
    (other_norms, 1),
    (activation, 12),
    (combine, 9),
    (with_constant, 9),
    (identity, 4),
    (concat, 6),
    (split, 4),
    (slice_of, 4),
    (pad, 4),
    (pool, 6),
    (mean, 3),
    (resize, 4),
    (shuffle, 2),
    (pixels, 3),
    (windows, 1),
    (move, 3),
    (gate, 3),
    (residual, 3),
    (inverted, 3),
    (dense, 2),
    (shuffled, 2),
    (where, 1),
    (softmax, 1),
    (branch, 1),
    (sizes, 0.5),
    (head, 2),
)
_STEPS = tuple(step for step, _ in _WEIGHTED)
_SHARES = np.array([share for _, share in _WEIGHTED]) / sum(share for _, share in _WEIGHTED)


def _end(g: Graph) -> None:
    """A last layer as a rule, so that something is quantized behind what was drawn."""
    if g.chance(0.6):
        conv(g)
