"""The ways in which a layer may be quantized, by name, and their scales.

W8A8: weights and activations 8 bits wide, and so for other widths; W8: the weights alone; A8: the activations alone; FP16:
both in float16.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from amct_lite import ir
from amct_lite.analysis.variants import Variant
from amct_lite.correction.analytic import mean_shift
from amct_lite.decide import Sketches, activation_qparams, weight_qparams
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers
from amct_lite.ops import Layer
from amct_lite.registry import did_you_mean
from amct_lite.types import AnyArray, FloatArray, LayerPlan, QParams, QuantPlan, QuantRecord, QuantSpec
from amct_lite.weights import raise_scales

WEIGHT_BITS = (4, 6, 7, 8)
DATA_BITS = (4, 8, 16)
CUSTOMARY = ("W8A8", "W4A8", "W8A16", "W8", "A8", "FP16")


@dataclass(frozen=True)
class Candidate:
    """weight, data: bits, None for float; half: float16 instead of either."""

    name: str
    weight: int | None = None
    data: int | None = None
    half: bool = False


def parse_candidates(names: Sequence[str]) -> tuple[Candidate, ...]:
    """Each once. Raises ConfigError for a name that is none."""
    if isinstance(names, str):
        raise ConfigError(f"candidates = {names!r} must be a list of names, such as [{names!r}].")
    return tuple(dict.fromkeys(map(parse_candidate, names)))


def parse_candidate(name: str) -> Candidate:
    """Raises ConfigError for a name that is none."""
    if name.upper() == "FP16":
        return Candidate("FP16", half=True)
    found = re.fullmatch(r"(?:W(\d+))?(?:A(\d+))?", name.upper())
    weight, data = (int(bits) if bits else None for bits in (found.groups() if found else (None, None)))
    if not (weight or data) or weight not in {None, *WEIGHT_BITS} or data not in {None, *DATA_BITS}:
        raise ConfigError(
            f"unknown candidate {name!r}{did_you_mean(name.upper(), CUSTOMARY)}; write {', '.join(CUSTOMARY)}, or other "
            f"widths (weights: {', '.join(map(str, WEIGHT_BITS))} bits, activations: {', '.join(map(str, DATA_BITS))})."
        )
    return Candidate(name.upper(), weight, data)


@dataclass(frozen=True)
class Scales:
    """Where the scales of candidates come from: the record, where it has the width; else weights from their values, and
    activations from the sketches (None: there are none). correct_biases: for the mean error of weights, from the sketches.
    rounded: the model with weights on the record's grid whose rounding was learned; None: there are none."""

    record: QuantRecord
    plan: QuantPlan
    sketches: Sketches | None = None
    correct_biases: bool = True
    rounded: ir.Model | None = None

    def variants(self, model: ir.Model, candidates: Sequence[Candidate], layers: Collection[str]) -> tuple[Variant, ...]:
        """For each of `layers` in the order of the graph each candidate that means something for it.

        Raises CalibrationError for scales that cannot be had, with what to do.
        """
        learned = {item.layer.name: item.layer for item in quantized_layers(self.rounded or model, self.record)}
        return tuple(
            variant
            for item in quantized_layers(model, self.record)
            if item.layer.name in layers
            for candidate in candidates
            if (variant := self._variant(item, candidate, learned[item.layer.name])) is not None
        )

    def _variant(self, item: QuantizedLayer, candidate: Candidate, learned: Layer) -> Variant | None:
        layer = item.layer
        if candidate.half:
            return Variant(layer.name, candidate.name, half=True)
        if (layer.weight is None or candidate.weight is None) and (not layer.data or candidate.data is None):
            return None
        data = tuple(self._data(item, candidate, position) for position in range(len(layer.data)))
        if layer.weight is None or candidate.weight is None:
            return Variant(layer.name, candidate.name, data)
        item = replace(item, activation=(data[0] if data else None) or item.activation)
        if item.weight.bits == candidate.weight:
            item = replace(item, layer=learned)
        else:
            item = replace(
                item, weight=self._weight(item, candidate.weight), recurrence=self._recurrence(item, candidate.weight)
            )
        bias = self._bias(item, layer.weight_array, rounded=data[:1] != (None,)) if data else None
        source = None if item.layer.shares_weight(layer) else item.layer.weight_array
        return Variant(layer.name, candidate.name, data, item.weight, bias, source, recurrence=item.recurrence)

    def _data(self, item: QuantizedLayer, candidate: Candidate, position: int) -> QParams | None:
        known = item.data_params(position)
        if candidate.data is None:
            return None
        if known.bits == candidate.data:
            return known
        what = f"{candidate.name} of {item.layer.name} needs {candidate.data}-bit activations; the record has {known.bits} bits"
        if self.sketches is None:
            raise CalibrationError(
                f"{what}, and there is no calibration file to decide others from. Pass it (--from; `amct-lite calibrate` "
                f"writes <prefix>_calibration.npz), or leave {candidate.name} out."
            )
        tensor = self._planned(item, what).inputs[position]
        return activation_qparams(replace(tensor, spec=replace(tensor.spec, bits=candidate.data)), self.sketches)

    def _weight(self, item: QuantizedLayer, bits: int) -> QParams:
        """Scales of the kind that the record has, raised where the bias would not fit into int32."""
        layer = item.layer
        weight = weight_qparams(self._planned_weight(item, bits), layer)
        if layer.bias_array is None:
            return weight
        scales, _ = raise_scales(weight.scales, layer.bias_array, item.activation.scale[0])
        return QParams.of(scales, 0, bits)

    def _recurrence(self, item: QuantizedLayer, bits: int) -> QParams | None:
        """Likewise, of the weight of a hidden state."""
        if item.recurrence is None:
            return None
        return weight_qparams(self._planned_weight(item, bits), item.layer, item.layer.recurrence_array)

    def _planned_weight(self, item: QuantizedLayer, bits: int) -> LayerPlan:
        planned = self._planned(item, f"{bits}-bit weights of {item.layer.name} are not in the record")
        spec = QuantSpec(bits, symmetric=True, per_channel=not item.weight.per_tensor)
        return replace(planned, weight_spec=spec)

    def _planned(self, item: QuantizedLayer, what: str) -> LayerPlan:
        found = next((layer for layer in self.plan.layers if layer.name == item.layer.name), None)
        if found is None:
            raise CalibrationError(f"{what}, and the configuration leaves the layer in float. Leave the candidate out.")
        return found

    def _bias(self, item: QuantizedLayer, weight: AnyArray, *, rounded: bool) -> FloatArray | None:
        """As an export writes it: corrected, and in whole accumulator steps where data and weight are `rounded`."""
        bias = item.layer.bias_array
        if self.sketches is not None and self.correct_biases:
            shift = mean_shift(item, self.sketches, weight)
            if not isinstance(shift, str):
                bias = ((0 if bias is None else bias.astype(np.float64)) - shift).astype(np.float32)
        if bias is None or not rounded:
            return bias
        scale = item.accumulator_scale
        steps: FloatArray = np.rint(bias.astype(np.float64) / scale.astype(np.float64)).astype(np.float32)
        return steps * scale
