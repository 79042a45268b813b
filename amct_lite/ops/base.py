"""What the tool knows of a quantizable operator: one `OpSpec` row each, registered by its ONNX op type.

A row binds a node to a `Layer` (or refuses it with a reason), says what the Ascend target thinks of it, and how the same
layer is computed on integers. No row edits a graph it did not create, none knows of records or files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.ir.build import Inserter
from amct_lite.numerics.axes import from_rows, to_rows
from amct_lite.registry import Registry
from amct_lite.types import AnyArray, DoubleArray, FloatArray

OPS: Registry[OpSpec] = Registry("operator", "amct_lite.ops")
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with a weight. In float, none may read a dequantized tensor: ONNX Runtime would quantize its weight unasked."""


@dataclass(frozen=True)
class Layer:
    """A node bound to its roles.

    data: indices of the activation inputs; none for a table that rows are picked of. weight: index of the constant weight
    input (None: no weight). bias: index of the bias input on `bias_node` (the node itself, or the Add behind a MatMul); the
    index may lie beyond the node's present inputs, then the layer has no bias yet but can be given one. weight_axis,
    input_axis: axes of the output and of the input channels in the weight (input_axis None: they are not told apart).
    channel_axis: axis of the input channels in the data (None: likewise). channels: Cout, None without weight. recurrence:
    index of the constant weight that a hidden state is multiplied with, with rows like the other's. result: index of the
    output that stands for all of the node's.
    """

    node: ir.Node
    data: tuple[int, ...] = (0,)
    weight: int | None = None
    weight_axis: int = 0
    input_axis: int | None = None
    channel_axis: int | None = None
    bias: int | None = None
    bias_node: ir.Node | None = None
    channels: int | None = None
    input_channels: int = 1
    group: int = 1
    recurrence: int | None = None
    result: int = 0

    @property
    def name(self) -> str:
        return str(self.node.name)

    @property
    def op_type(self) -> str:
        return self.node.op_type

    @property
    def output(self) -> ir.Value:
        """The value that carries the finished layer: behind the bias Add, where there is one."""
        return (self.bias_node or self.node).outputs[self.result]

    @property
    def outputs(self) -> tuple[ir.Value, ...]:
        """All that the finished layer gives, `output` among them."""
        return tuple(value for value in (self.bias_node or self.node).outputs if value.name)

    @property
    def weight_value(self) -> ir.Value | None:
        return None if self.weight is None else self.node.inputs[self.weight]

    @property
    def weight_array(self) -> AnyArray:
        array = ir.constant_of(self.weight_value)
        assert array is not None, f"{self.name} was bound with a constant weight"
        return array

    @property
    def recurrence_array(self) -> AnyArray:
        array = None if self.recurrence is None else ir.constant_of(self.node.inputs[self.recurrence])
        assert array is not None, f"{self.name} was bound with a hidden state"
        return array

    def shares_weight(self, other: Layer) -> bool:
        """Whether both have the very same weight, as copies of a model do: decided without reading it."""
        ours, theirs = self.weight_value, other.weight_value
        return ours is not None and theirs is not None and ours.const_value is theirs.const_value

    @property
    def bias_array(self) -> AnyArray | None:
        """(Cout,) float32, or None when the layer has no bias now."""
        if self.bias is None or self.bias_node is None or self.bias >= len(self.bias_node.inputs):
            return None
        return ir.constant_of(self.bias_node.inputs[self.bias])

    def rows(self, weight: AnyArray) -> AnyArray:
        """The weight as (Cout, n): a row holds what one output channel is computed from."""
        return to_rows(weight, self.weight_axis, groups=self._groups)

    def from_rows(self, rows: AnyArray, shape: tuple[int, ...]) -> AnyArray:
        """The inverse of `rows` for a weight of `shape`."""
        return from_rows(rows, shape, self.weight_axis, groups=self._groups)

    @property
    def balance_refusal(self) -> str:
        """The reason why its input cannot be divided and its weight multiplied channel by channel; empty when they can."""
        if self.weight is None:
            return "it has no constant weight"
        if not self.data:
            return "it has no data"
        if self.recurrence is not None:
            return "its kernel rounds the data itself"
        if self.input_axis is None or self.channel_axis is None:
            return "its constant is the first factor"
        return ""

    def input_rows(self, weight: AnyArray) -> AnyArray:
        """The weight as (Cin, n): a row holds what one input channel is multiplied with."""
        return to_rows(weight, self.input_axis, groups=self._input_groups)

    def from_input_rows(self, rows: AnyArray, shape: tuple[int, ...]) -> AnyArray:
        """The inverse of `input_rows` for a weight of `shape`."""
        return from_rows(rows, shape, self.input_axis, groups=self._input_groups)

    @property
    def _input_groups(self) -> int:
        """A grouped ConvTranspose has all input channels on axis 0 anyway; a grouped Conv has them group by group."""
        return self.group if self.input_axis != 0 else 1

    @property
    def _groups(self) -> int:
        """A grouped Conv has all output channels on axis 0 anyway; a grouped ConvTranspose has them group by group."""
        return self.group if self.weight_axis != 0 else 1


Bind = Callable[[ir.Node], "Layer | str | None"]
IntegerForm = Callable[[Inserter, ir.Node, ir.Value, int, ir.Value | None], ir.Value]
MeanShift = Callable[[Layer, DoubleArray, DoubleArray], DoubleArray | None]
Indices = NDArray[np.int64]
Columns = Callable[[AnyArray, tuple[int, ...], Indices], FloatArray]
"""(data, spatial shape of the output, P flat positions in the output without its channels) → (P, group, n) float32: what the
rows of the weight are multiplied with there."""


def _nothing(_layer: Layer) -> str | None:
    return None


def _no_shift(_layer: Layer, _delta: DoubleArray, _mean: DoubleArray) -> DoubleArray | None:
    return None


def _no_integers(_b: Inserter, node: ir.Node, *_rest: object) -> ir.Value:
    raise ExportError(f"{node.name} ({node.op_type}) cannot be computed on integers alone. Remove it from the record.")


def _no_columns(_layer: Layer) -> Columns | str:
    return "its outputs are not known as products with its weight"


@dataclass(frozen=True)
class OpSpec:
    """One row.

    bind: node → Layer, the reason why no target quantizes it, or None where it is nothing to quantize.
    integer_form: (inserter, node, int8 codes, zero point, int8 weight or second codes) → accumulators, without bias;
    int32 wherever stock ONNX Runtime has an integer kernel. Every sum is exact. An op that ATC never takes needs none.
    mean_shift: (layer, weight error, (Cin,) input means) → (Cout,) expected change of the output, None when unknown.
    columns: layer → what gathers the columns of output positions, or why nothing can.
    ascend: the reason why ATC does not take it. ascend_symmetric: whether the NPU wants a zero point of 0.
    per_channel_on_ascend: whether the contract gives the op one weight scale per channel there.
    only_ort: the reason why it is quantized for ONNX Runtime's CPU kernels alone: ATC does not take it, and in a model for any
    runtime it stays in float, unless a record says otherwise. Empty for most.
    ort: the reason why it is better left in float on ONNX Runtime's CPU kernels.
    per_channel_on_ort: whether these take a weight scale for each channel.
    channel_shape: (a (Cout,) vector, rank of the output) → the vector shaped to broadcast along the output channels.
    bias: index of the input that is the bias, where there is one: all weights lie in front of it.
    input_axis: axis of the input channels in the weight, along which INT4 codes are packed; None: no weight.
    output_axis: axis of the output channels in the weight of an op whose float kernel is to be preferred to its integer form as
    long as it gives the same integers.
    """

    op_type: str
    bind: Bind
    integer_form: IntegerForm = _no_integers
    mean_shift: MeanShift = _no_shift
    columns: Callable[[Layer], Columns | str] = _no_columns
    ascend: Callable[[Layer], str | None] = _nothing
    ascend_symmetric: Callable[[Layer], bool] = field(default=lambda _layer: False)
    per_channel_on_ascend: bool = True
    only_ort: str = ""
    ort: Callable[[Layer], str | None] = _nothing
    per_channel_on_ort: Callable[[Layer], bool] = field(default=lambda _layer: True)
    channel_shape: Callable[[AnyArray, int], AnyArray] = field(default=lambda vector, _rank: vector)
    bias: int = 2
    input_axis: int | None = None
    output_axis: int | None = None


def bind(node: ir.Node) -> Layer | str | None:
    """The layer that `node` is, the reason why it cannot be quantized, or None for an op that has no row."""
    spec = OPS.find(node.op_type) if node.domain in {"", "ai.onnx"} else None
    return None if spec is None else spec.bind(node)


def constant_weight(node: ir.Node, index: int) -> AnyArray | str:
    """The float32 weight at `index`, or the reason why there is none."""
    value = node.inputs[index] if index < len(node.inputs) else None
    array = ir.constant_of(value)
    if array is None:
        return "its weight is not a constant (it is computed at run time or is a graph input)"
    if array.dtype != np.float32:
        return f"its weight is {array.dtype}, not float32"
    if array.size == 0:
        return "its weight is empty"
    return array


def constant_data(node: ir.Node) -> bool:
    """Whether the data, its first input, are a constant: nothing to calibrate."""
    return ir.constant_of(node.inputs[0]) is not None


def vector_bias(node: ir.Node, index: int, channels: int) -> str | None:
    """The reason why the bias at `index` cannot be an int32 vector; None when absent or a constant of (Cout,)."""
    if index >= len(node.inputs) or node.inputs[index] is None:
        return None
    bias = ir.constant_of(node.inputs[index])
    if bias is None:
        return "its bias is not a constant"
    if bias.shape != (channels,) or bias.dtype != np.float32:
        return f"its bias has shape {bias.shape} and type {bias.dtype}, not ({channels},) float32"
    if not np.isfinite(bias).all():
        return "its bias holds NaN or an infinite value"
    return None
