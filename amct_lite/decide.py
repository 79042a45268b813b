"""From finished sketches to a record: the range of each activation, the scale of each weight, repaired where it must be.

Nothing is run here, and the sketches are not changed: another method decides anew from the same sketches.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from math import inf

import numpy as np

from amct_lite import ir
from amct_lite.errors import CalibrationError, NumericsError
from amct_lite.numerics.affine import SMALLEST_SCALE
from amct_lite.numerics.shared_range import covering, gate_of, reaching
from amct_lite.numerics.sketch import Sketch
from amct_lite.observers import make_observer
from amct_lite.ops import Layer, bind
from amct_lite.record import UNIT_DATA, UNIT_WEIGHT, RecurrentRecord, split_key
from amct_lite.types import AnyArray, LayerPlan, LayerRecord, QParams, QuantPlan, QuantRecord, TensorPlan
from amct_lite.weights import make_weight_quantizer, raise_scales

HALF = "FLOAT16"
"""op_data_type of a layer that the source computes in float16; absent for float32."""

Sketches = Mapping[tuple[str, int | None], Sketch]


@dataclass(frozen=True)
class Decision:
    """The record, and per layer what had to be repaired so that its int32 biases fit, or is lost as too small."""

    record: QuantRecord
    repairs: Mapping[str, str]


def decide(
    model: ir.Model, plan: QuantPlan, sketches: Sketches, unfused: Container[str] = (), half: Container[str] = ()
) -> Decision:
    """A record for every layer and tensor of `plan`, in the order of the graph.

    sketches: robust ones, by (tensor, channel axis). unfused: the layers that were kept apart from their normalizations, half:
    those that the source computes in float16, which the record says.
    Raises CalibrationError that names the tensor or layer whose values give no usable scale.
    """
    nodes = {str(node.name): node for node in model.graph}
    alone = cache(partial(activation_qparams, sketches=sketches))  # tensors of one grid ask for each other's
    fitted = cache(partial(_fitted, plan=plan, alone=alone))
    weights: dict[tuple[object, ...], QParams] = {}
    layers: list[LayerRecord] = []
    repairs: dict[str, str] = {}
    for planned in plan.layers:
        data = tuple(map(fitted, planned.inputs))
        first, weight = data[0] if data else UNIT_DATA, data[1] if len(data) > 1 else UNIT_WEIGHT
        inputs = zip(planned.inputs, data, strict=True)
        told = [_no_input(params, sketch_of(tensor, sketches)) for tensor, params in inputs]
        recurrence: QParams | None = None
        if planned.weight is not None:
            layer = bind(nodes[planned.name])
            assert isinstance(layer, Layer)
            key = (
                planned.weight,
                planned.weight_spec,
                planned.weight_algorithm,
                planned.weight_options,
                layer.weight_axis,
                layer.group,
            )
            if key not in weights:
                weights[key] = weight_qparams(planned, layer)
            weight, repair = _repaired(layer, first, weights[key])
            told += [repair, _vanished(layer, weight)]
            if layer.recurrence is not None:
                recurrence = weight_qparams(planned, layer, layer.recurrence_array)
        if any(told):
            repairs[planned.name] = "; ".join(filter(None, told))
        apart, data_type = planned.name in unfused or None, HALF if planned.name in half else ""
        entry = LayerRecord(planned.name, first, weight, skip_fusion=apart, data_type=data_type, has_data=bool(data))
        layers.append(entry if recurrence is None else RecurrentRecord(**vars(entry), recurrence=recurrence))
    for read in plan.reads:
        layers.append(LayerRecord(read.key, fitted(read.tensor), None, tensor_quantize=True))
    order = {name: place for place, name in enumerate(nodes)}
    layers.sort(key=lambda entry: order[split_key(entry.key)[0] if entry.tensor_quantize else entry.key])
    return Decision(QuantRecord(tuple(layers)), repairs)


def _fitted(tensor: TensorPlan, plan: QuantPlan, alone: Callable[[TensorPlan], QParams]) -> QParams:
    """The range of a tensor, together with those that must have the same, and within its bounds."""
    if not tensor.spec.symmetric and (same := _as_factor(tensor, plan, alone)) is not None:
        return same
    if not tensor.grid and tensor.bounds is None:
        found = alone(tensor)
    else:
        members = [other for other in plan.tensors if other.name in tensor.grid] or [tensor]
        found = covering([alone(member) for member in members], tensor.spec, tensor.bounds or (-inf, inf))
    return found if tensor.reach is None or tensor.spec.symmetric else reaching(found, tensor.reach)


def _as_factor(tensor: TensorPlan, plan: QuantPlan, alone: Callable[[TensorPlan], QParams]) -> QParams | None:
    """The parameters of a HardSigmoid with which it has the codes of what it multiplies; None for others, and without such."""
    gate = tensor.gate
    if gate is None:
        return None
    source = next((other for other in plan.tensors if other.name == gate.source), None)
    return None if source is None else gate_of(_fitted(source, plan, alone), gate.alpha, gate.reach)


def activation_qparams(tensor: TensorPlan, sketches: Sketches) -> QParams:
    """The range of one activation. Raises CalibrationError that names the tensor."""
    observer = make_observer(tensor.algorithm, dict(tensor.options))
    try:
        return observer.qparams(sketch_of(tensor, sketches), tensor.spec)
    except NumericsError as error:
        raise CalibrationError(f"tensor {tensor.name!r}: {error}") from error


def sketch_of(tensor: TensorPlan, sketches: Sketches) -> Sketch:
    """What was observed of a tensor. One whose channels are told apart serves those who do not ask for channels, too: the layer
    that did may have been skipped since. Raises CalibrationError where there is none, or nothing in it."""
    found = _observed(tensor, sketches)
    if found is None:
        raise CalibrationError(_not_observed([tensor.name]))
    if not found.count:
        raise CalibrationError(
            f"tensor {tensor.name!r} was empty in all samples, so its range is not known. Give samples in which it has values, "
            f"or keep the layers that read it in float (--skip)."
        )
    return found


def require_observed(plan: QuantPlan, sketches: Sketches) -> None:
    """Raises CalibrationError where a saved calibration lacks tensors of `plan`, before anything is run."""
    if missing := [tensor.name for tensor in plan.tensors if _observed(tensor, sketches) is None]:
        between = any(read.passed_on and read.tensor.name in missing for read in plan.reads)
        raise CalibrationError(
            _not_observed(missing, " For ort, tensors between the layers are rounded, too." if between else "")
        )


def _observed(tensor: TensorPlan, sketches: Sketches) -> Sketch | None:
    found = sketches.get(tensor.key)
    if found is None and tensor.channel_axis is None:
        found = next((sketch for (name, _), sketch in sketches.items() if name == tensor.name), None)
    return found


def _not_observed(missing: list[str], why: str = "") -> str:
    others = f" (the first of {len(missing)} that it lacks)" if len(missing) > 1 else ""
    return (
        f"the calibration holds nothing about tensor {missing[0]!r}{others}: it was made for another target, or with other "
        f"layers skipped.{why} Calibrate again with data (--data, without --from); a calibration for ort serves every target."
    )


def weight_qparams(planned: LayerPlan, layer: Layer, weight: AnyArray | None = None) -> QParams:
    """The scales of one weight (None: the layer's own), before any repair. Raises CalibrationError that names the layer."""
    quantizer = make_weight_quantizer(planned.weight_algorithm, dict(planned.weight_options))
    spec = planned.weight_spec
    assert spec is not None
    try:
        return quantizer.qparams(layer.rows(layer.weight_array if weight is None else weight), spec)
    except NumericsError as error:
        raise CalibrationError(
            f"the weight of {planned.name} ({planned.op_type}): {error} Repair the model or skip the layer."
        ) from error


def _no_input(params: QParams, sketch: Sketch) -> str:
    """A sentence about data of which nothing is left, by the same rule."""
    largest = max(-sketch.low, sketch.high)
    if params.scale[0] != 1 or largest >= SMALLEST_SCALE * 256:
        return ""
    if largest == 0:
        return "its input is 0 in all samples"
    return f"all values of its input become 0: below {SMALLEST_SCALE * 256:.1g} they are too small for a scale"


def _vanished(layer: Layer, weight: QParams) -> str:
    """A sentence about channels of which nothing is left, because a scale below float32's epsilon becomes 1 (AMCT's rule)."""
    if not (weight.scales == 1).any():
        return ""
    largest = np.abs(layer.rows(layer.weight_array)).max(axis=1, initial=0)
    gone = int(np.count_nonzero((weight.scales == 1) & (largest > 0) & (largest < SMALLEST_SCALE * 128)))
    if not gone:
        return ""
    small = f"{SMALLEST_SCALE * 128:.1g}"
    return f"all weights of {gone} of {len(largest)} channels become 0: below {small} they are too small for a scale"


def _repaired(layer: Layer, activation: QParams, weight: QParams) -> tuple[QParams, str]:
    """The weight scales raised just enough for the bias to fit into int32, and a sentence about it."""
    bias = layer.bias_array
    if bias is None:
        return weight, ""
    scales, channels = raise_scales(weight.scales, bias, activation.scale[0])
    if not len(channels):
        return weight, ""
    raised = QParams.of(scales, 0, weight.bits)
    where = "its scale" if weight.per_tensor else f"the scale of {len(channels)} of {len(weight.scale)} channels"
    return replace(weight, scale=raised.scale), f"raised {where} so that the bias fits into int32"
