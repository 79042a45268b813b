"""Small convolutional networks that nobody wrote: drawn from what the rewrites for ONNX Runtime look for.

    model(seed) -> (onnx.ModelProto, feeds)

The last FRESH feeds are of the same distribution and not meant for calibration; where the model leaves sizes open, theirs are
others. The steps that a network is drawn from lie in image_parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from graph import Feeds, Graph, RefusedError, run_both_ways
from image_parts import activations, blocks, convolutions, elementwise, moves, norms, others, pooling, products, subgraphs
from onnx import TensorProto

FRESH = 3
SAMPLES = 5
_SCALES = (1.0, 2.0, 0.5, 2.0, 1.0, 2.0, 1.0, 0.5)
"""Of all samples, those of calibration first: the same size throughout would leave nothing to decide."""


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
        return all(all(map(_agree, plain, fast)) for plain, fast in run_both_ways(found, feeds))
    except RefusedError:
        return False


def _agree(plain: np.ndarray, fast: np.ndarray) -> bool:
    """Whether they are the same numbers, but for rounding. Truth values are no numbers: nothing is compared with them."""
    if plain.dtype == np.bool_ or plain.shape != fast.shape or plain.size == 0 or not np.isfinite(plain).all():
        return False
    return bool(np.abs(plain - fast).max() <= 1e-4 * np.abs(plain).max(initial=1e-3))


# steps

Step = Callable[[Graph], object]
_WEIGHTED: tuple[tuple[Step, float], ...] = (
    (convolutions.conv, 10),
    (blocks.conv_block, 10),
    (convolutions.conv_transpose, 3),
    (products.gemm, 3),
    (products.matmul, 2),
    (products.products, 1),
    (norms.batch_norm, 4),
    (norms.other_norms, 1),
    (activations.activation, 12),
    (elementwise.combine, 9),
    (elementwise.with_constant, 9),
    (elementwise.identity, 4),
    (moves.concat, 6),
    (moves.split, 4),
    (moves.slice_of, 4),
    (pooling.pad, 4),
    (pooling.pool, 6),
    (pooling.mean, 3),
    (pooling.resize, 4),
    (moves.shuffle, 2),
    (moves.pixels, 3),
    (moves.windows, 1),
    (moves.move, 3),
    (blocks.gate, 3),
    (blocks.residual, 3),
    (blocks.inverted, 3),
    (blocks.dense, 2),
    (blocks.shuffled, 2),
    (elementwise.where, 1),
    (norms.softmax, 1),
    (subgraphs.branch, 1),
    (others.other, 3),
    (moves.sizes, 0.5),
    (blocks.head, 2),
)
_STEPS = tuple(step for step, _ in _WEIGHTED)
_SHARES = np.array([share for _, share in _WEIGHTED]) / sum(share for _, share in _WEIGHTED)


def _end(g: Graph) -> None:
    """A last layer as a rule, so that something is quantized behind what was drawn."""
    if g.chance(0.6):
        convolutions.conv(g)
