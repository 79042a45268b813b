"""The few values that travel between the stages. Frozen, comparable, free of ONNX and of numpy state.

Scales are Python floats that are exactly representable as float32; zero points are Python ints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
DoubleArray = NDArray[np.float64]
IntArray = NDArray[np.int32]
AnyArray = NDArray[Any]
Feeds = dict[str, AnyArray]


@dataclass(frozen=True)
class QuantSpec:
    """A signed integer grid, `bits` wide; `symmetric` fixes the zero point at 0; `per_channel`: a scale a channel; `narrow`:
    without the lowest code."""

    bits: int = 8
    symmetric: bool = False
    per_channel: bool = False
    narrow: bool = False

    @property
    def qmin(self) -> int:
        return -(1 << (self.bits - 1)) + self.narrow

    @property
    def qmax(self) -> int:
        return (1 << (self.bits - 1)) - 1


@dataclass(frozen=True)
class QParams:
    """Scale and zero point, one per channel or a single one; lengths agree."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    bits: int = 8

    @property
    def per_tensor(self) -> bool:
        return len(self.scale) == 1

    @cached_property
    def scales(self) -> FloatArray:
        """(C,) float32."""
        return np.array(self.scale, dtype=np.float32)

    @cached_property
    def zero_points(self) -> IntArray:
        """(C,) int32."""
        return np.array(self.zero_point, dtype=np.int32)

    @staticmethod
    def of(scale: AnyArray | float, zero_point: AnyArray | int, bits: int = 8) -> QParams:
        """From arrays or numbers of equal length; scales are rounded to float32."""
        scales = np.atleast_1d(np.asarray(scale, dtype=np.float32))
        zero_points = np.broadcast_to(np.atleast_1d(np.asarray(zero_point)), scales.shape)
        return QParams(tuple(scales.tolist()), tuple(int(z) for z in zero_points), bits)


@dataclass(frozen=True)
class Skip:
    """A node that stays in float, and why, in a sentence the user reads."""

    node: str
    op_type: str
    reason: str


@dataclass(frozen=True)
class Fusion:
    """Which layers take in the normalizations around them: all; none (not `enabled`); or all but some.

    skip: nodes that a user named, by name, pattern or operator type; place: where, for messages. apart: the exact names of
    layers and normalizations that stay apart, which `passes.fusion` makes of `skip`, or a record holds. take_apart: whether
    operators become several for which ONNX Runtime has integer kernels.
    """

    enabled: bool = True
    skip: tuple[str, ...] = ()
    apart: frozenset[str] = frozenset()
    take_apart: bool = False
    place: str = field(default="skip_fusion", compare=False)

    def keeps_apart(self, *nodes: str) -> bool:
        """Whether the fold that these nodes take part in is not wanted. `skip` must have been resolved."""
        return not self.enabled or not self.apart.isdisjoint(nodes)


FUSE_ALL = Fusion()


@dataclass(frozen=True)
class PassReport:
    """What one preparing pass did: how many places it changed, and where it refused and why.

    unfused: the layers that it would have folded into, had `Fusion` not kept them apart.
    """

    name: str
    changed: int
    skips: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()
    unfused: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gone:
    """A node of the user's model that the prepared one does not have, at least not as that operator. became: the rest of a
    sentence about it, with what to do."""

    name: str
    op_type: str
    became: str


@dataclass(frozen=True)
class Gate:
    """The tensor clip(alpha · (x + reach), 0, 1), a HardSigmoid, by which x is multiplied. source: the name of x."""

    source: str
    alpha: float
    reach: float


@dataclass(frozen=True)
class TensorPlan:
    """One activation to quantize: observed once, however many layers read it.

    channel_axis: where the input channels lie (1 for convolutions, -1 for matrix products; None: not told apart).
    channels: how many there are (1 when they are not told apart). grid: the names of the tensors that must have one scale with
    it, its own among them. bounds: what its range need not go beyond. reach: how far below 0 a HardSigmoid of it, by which it
    is multiplied, is more than 0. gate: of what it is the HardSigmoid.
    """

    name: str
    spec: QuantSpec
    channel_axis: int | None
    channels: int
    algorithm: str
    options: tuple[tuple[str, Any], ...] = ()
    grid: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    reach: float | None = None
    gate: Gate | None = None

    @property
    def key(self) -> tuple[str, int | None]:
        """What its sketch is kept under."""
        return self.name, self.channel_axis


@dataclass(frozen=True)
class LayerPlan:
    """One layer to quantize.

    data: the indices of its activation inputs; inputs: the tensor at each of them. weight: the name of the constant
    weight (None: no weight, or a product of two variable tensors), weight_spec, weight_algorithm and
    weight_options how to quantize it. balance: the share of the activation's range that moves into the weight (0: none).
    """

    name: str
    op_type: str
    data: tuple[int, ...]
    inputs: tuple[TensorPlan, ...]
    weight: str | None = None
    weight_spec: QuantSpec | None = None
    weight_algorithm: str = ""
    weight_options: tuple[tuple[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    balance: float = 0.0


INPUT_INDEX = "0|[1-9][0-9]{,8}"
"""The input of a node, in the keys of single tensors: one spelling for each."""


@dataclass(frozen=True)
class TensorRead:
    """One input of a node that stays in float: the node reads this tensor rounded to integers and back.

    passed_on: whether that is only so that integers are handed on between layers; nobody asked for this tensor by name.
    """

    node: str
    op_type: str
    index: int
    tensor: TensorPlan
    passed_on: bool = False

    @property
    def key(self) -> str:
        """`node:index`, as records and configurations say it."""
        return f"{self.node}:{self.index}"


@dataclass(frozen=True)
class QuantPlan:
    """Every decision, explicit: the layers to quantize and the ones that are not, each with its reason.

    reads: the tensors that are quantized on their own, in front of nodes that stay in float. halves: the layers that stay in
    float and compute in float16.
    """

    layers: tuple[LayerPlan, ...]
    skips: tuple[Skip, ...]
    target: str
    reads: tuple[TensorRead, ...] = ()
    halves: tuple[str, ...] = ()

    @cached_property
    def tensors(self) -> tuple[TensorPlan, ...]:
        """Each observed activation once: those of the layers in the order of the graph, then the other reads."""
        observed = (*(t for layer in self.layers for t in layer.inputs), *(read.tensor for read in self.reads))
        return tuple({t.key: t for t in observed}.values())

    @cached_property
    def readers(self) -> frozenset[tuple[str, int]]:
        """(node name, input index) of every quantized activation input."""
        layers = {(layer.name, index) for layer in self.layers for index in layer.data}
        return frozenset(layers | {(read.node, read.index) for read in self.reads})


@dataclass(frozen=True)
class Balance:
    """Layers whose input is divided and whose weight is multiplied, channel by channel.

    factors: layer → one for each input channel, float32 numbers above 0. strengths: layer → what they were made with,
    empty where they were given. fold: whether the division goes into the weights in front where these can take it.
    """

    factors: Mapping[str, tuple[float, ...]]
    strengths: Mapping[str, float] = field(default_factory=dict)
    fold: bool = False


@dataclass(frozen=True)
class Subject:
    """What some figures were measured on, as digests: of the float model as it was loaded, of the record, of the exported
    model that was run. None for what played no part."""

    model: str | None = None
    record: str | None = None
    exported: str | None = None


@dataclass(frozen=True)
class LayerRecord:
    """What a record says of one key (a node name, or `node:index` for tensor quantization).

    activation: per-tensor. weight: None for an op without weight (and for tensor quantization). For a product of two
    variable tensors `weight` holds the second tensor's parameters. The fields after `weight` are AMCT's, kept as read.
    has_data: False for a table that rows are picked of, whose activation stands for nothing.
    """

    key: str
    activation: QParams
    weight: QParams | None
    shift_bit: tuple[int, ...] = ()
    skip_fusion: bool | None = None
    tensor_quantize: bool = False
    balance_factor: tuple[float, ...] = ()
    data_type: str = ""
    has_data: bool = True
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class QuantRecord:
    """A whole record, in file order. `source`: the file it was read from, for messages."""

    layers: tuple[LayerRecord, ...]
    source: str | None = field(default=None, compare=False)

    @cached_property
    def by_key(self) -> dict[str, LayerRecord]:
        return {layer.key: layer for layer in self.layers}
