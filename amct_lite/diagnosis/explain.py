"""Why a quantized model is as fast as it is: what ONNX Runtime really executes of it, kernel by kernel, with the time of each;
of a deploy model, which layers hand their integers on. Nothing is written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from amct_lite import ir
from amct_lite.calibration.data import random_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.diagnosis.requantizing import Handover, handovers, is_deploy
from amct_lite.errors import ConfigError
from amct_lite.ops import WEIGHTED
from amct_lite.runtime import RuntimeOptions, optimized
from amct_lite.types import Feeds, Skip, Subject
from amct_lite.validate.blockers import blockers
from amct_lite.validate.executed import executed
from amct_lite.validate.kernels import FLOAT_KERNELS, INTEGER_KERNELS
from amct_lite.validate.profile import KernelTime, kernel_times, layer_times
from amct_lite.validate.slow import slow_kernels

_QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
_LAYERS = WEIGHTED | {"LSTM"} | INTEGER_KERNELS


@dataclass(frozen=True)
class LayerKernel:
    """One layer. kernel: the operator that is executed for it, "—" where it is lost among others. integer: whether that
    computes on integers. reasons: why not. microseconds, float_microseconds: of one run, in this and in the float model."""

    name: str
    op_type: str
    kernel: str
    integer: bool
    reasons: tuple[str, ...]
    microseconds: float | None
    float_microseconds: float | None


@dataclass(frozen=True)
class KindTime:
    """All kernels of one operator: how many, and microseconds of one run together; the same of the float model."""

    op_type: str
    count: int
    microseconds: float
    float_count: int
    float_microseconds: float


@dataclass(frozen=True)
class Explanation:
    """What ONNX Runtime executes. quantize, dequantize: nodes left between the kernels; stored: DequantizeLinear of weights and
    biases, computed anew in every run. microseconds: all kernels, one run; float_microseconds: None without a float model.
    slow: nodes whose integer kernels take longer than the float ones by their form."""

    model: str
    layers: tuple[LayerKernel, ...]
    kinds: tuple[KindTime, ...]
    quantize: int
    dequantize: int
    stored: int
    microseconds: float
    float_microseconds: float | None
    slow: tuple[Skip, ...] = ()
    subject: Subject | None = None

    def to_json(self) -> str:
        """Indented JSON with the fields above."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class DeployExplanation:
    """Of a deploy model: which layers hand their integers on."""

    model: str
    layers: tuple[Handover, ...]
    unquantized: tuple[str, ...] = field(default=())
    subject: Subject | None = None

    def to_json(self) -> str:
        """Indented JSON with the fields above, and `fused` a layer."""
        rows = [{**asdict(layer), "fused": layer.fused} for layer in self.layers]
        content = asdict(self) | {"layers": rows}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def explain(
    model: str | Path | ir.Model,
    exact: str | Path | ir.Model | None = None,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    options: RuntimeOptions | None = None,
) -> Explanation | DeployExplanation:
    """What is executed of `model`, a QuantizeLinear/DequantizeLinear or a deploy model, on noise of its input shapes.

    exact: the float model, timed beside it. input_shapes: sizes of open dimensions.
    Raises UnsupportedModelError for a model that ONNX Runtime does not take, DataError for an open dimension, ConfigError
    where the two models have other inputs.
    """
    name = Path(model).name if not isinstance(model, ir.Model) else "model"
    loaded = _loaded(model)
    subject = Subject(exported=ir.checksum(loaded))
    ir.name_nodes(loaded)
    ir.infer_shapes(loaded)
    if is_deploy(loaded):
        left = tuple(str(node.name) for node in loaded.graph if node.op_type in WEIGHTED and _is_float_layer(node))
        return DeployExplanation(name, handovers(loaded), left, subject)
    chosen = options or RuntimeOptions()
    (feeds,) = random_data(input_specs(loaded), 1, shapes=input_shapes)
    float_model = _loaded(exact) if exact is not None else None
    if float_model is not None:
        if is_deploy(float_model):
            raise ConfigError(
                "the model to time beside it is a deploy model, which ONNX Runtime does not run: pass the float one."
            )
        if quantized := next((node for node in float_model.graph if node.op_type in _QDQ and not node.domain), None):
            raise ConfigError(
                f"the model to time beside it is quantized itself: it holds {quantized.name} ({quantized.op_type}). Pass the "
                "float model that it was made from."
            )
        ir.name_nodes(float_model)
        _require_same_inputs(loaded, float_model)
    return replace(_explained(name, loaded, float_model, feeds, chosen), subject=subject)


def _explained(name: str, model: ir.Model, float_model: ir.Model | None, feeds: Feeds, options: RuntimeOptions) -> Explanation:
    graph = optimized(model, options).graph
    times, *others = kernel_times([model] if float_model is None else [model, float_model], feeds, options)
    float_times = others[0] if others else ()
    layers = [node for node in model.graph if node.op_type in _LAYERS]
    kernels = {str(node.name): node for node in graph if node.op_type in FLOAT_KERNELS | INTEGER_KERNELS}
    names = executed(layers, kernels)
    float_layers = [node for node in float_model.graph if node.op_type in _LAYERS] if float_model is not None else []
    taken, float_taken = layer_times(layers, times), layer_times(float_layers, float_times)
    rows = []
    for node in layers:
        layer = str(node.name)
        taken_by = kernels.get(names.get(layer, ""))
        kernel = taken_by.op_type if taken_by is not None else "—"
        integer = kernel in INTEGER_KERNELS
        reasons = () if integer else blockers(node, taken_by)
        rows.append(LayerKernel(layer, node.op_type, kernel, integer, reasons, taken.get(layer), float_taken.get(layer)))
    dequantizers = [node for node in graph if node.op_type == "DequantizeLinear"]
    stored = sum(node.inputs[0] is not None and node.inputs[0].is_initializer() for node in dequantizers)
    quantize = sum(node.op_type == "QuantizeLinear" for node in graph)
    total, float_total = (sum(kernel.microseconds for kernel in found) for found in (times, float_times))
    return Explanation(
        *(name, tuple(rows), _kinds(times, float_times), quantize, len(dequantizers) - stored, stored),
        *(total, float_total if others else None, slow_kernels(model)),
    )


def _kinds(times: Sequence[KernelTime], float_times: Sequence[KernelTime]) -> tuple[KindTime, ...]:
    """A row for each operator, those that take longest in the quantized model first."""
    counts, float_counts = (Counter(kernel.op_type for kernel in found) for found in (times, float_times))
    taken: Counter[str] = Counter()
    float_taken: Counter[str] = Counter()
    for total, found in ((taken, times), (float_taken, float_times)):
        for kernel in found:
            total[kernel.op_type] += kernel.microseconds  # type: ignore[assignment]  # a Counter of floats
    kinds = sorted({*counts, *float_counts}, key=lambda op: (-taken[op], -float_taken[op], op))
    return tuple(KindTime(op, counts[op], taken[op], float_counts[op], float_taken[op]) for op in kinds)


def _is_float_layer(node: ir.Node) -> bool:
    producers = [value.producer() for value in node.inputs if value is not None]
    return not any(producer is not None and producer.op_type == "AscendQuant" for producer in producers)


def _loaded(model: str | Path | ir.Model) -> ir.Model:
    return ir.clone(model) if isinstance(model, ir.Model) else ir.load(model).model


def _require_same_inputs(model: ir.Model, exact: ir.Model) -> None:
    ours, theirs = ({str(value.name) for value in m.graph.inputs} for m in (model, exact))
    if not theirs <= ours:
        raise ConfigError(
            f"the float model has the inputs {', '.join(sorted(theirs))}, the quantized one {', '.join(sorted(ours))}: "
            "they are not the same network. Pass the float model that it was made from."
        )
