"""What can be chosen: for each layer its widths with their costs and losses, and which layers must agree."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import fsum

from amct_lite.calibrated import Calibrated
from amct_lite.errors import ConfigError, UnsupportedModelError
from amct_lite.plan import ORT
from amct_lite.precision.budget import COSTS
from amct_lite.precision.costs import Meter
from amct_lite.precision.losses import Losses
from amct_lite.precision.widths import FLOATS, Giver, Widths, require_names
from amct_lite.registry import did_you_mean
from amct_lite.search.knapsack import Choice, Variable, join
from amct_lite.types import LayerPlan, QuantPlan, QuantRecord


@dataclass(frozen=True)
class Offers:
    """uniform: by widths, the model with all layers that can have them. in_float: the widths of a layer that is not quantized.
    limits: layer → the only widths it may have, for some layers. notes: what could not be offered."""

    in_float: Widths
    widths: Mapping[str, Widths]
    uniform: Mapping[str, Calibrated]
    plan: QuantPlan
    notes: tuple[str, ...] = ()
    limits: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @cached_property
    def layers(self) -> Mapping[str, tuple[str, ...]]:
        """Widths → the layers that can have them, in the order of the graph; not those of floats."""
        return {
            name: tuple(
                layer.name
                for layer in calibrated.plan.layers
                if _has(layer, self.widths[name]) and name in self.limits.get(layer.name, {name})
            )
            for name, calibrated in self.uniform.items()
        }

    def limited(self, limits: Mapping[str, Collection[str]]) -> Offers:
        """Layers whose name matches a key of `limits` choose among these widths only; of several keys the last one counts.

        Raises ConfigError for a key that no layer matches, and for a layer that is left without any.
        """
        names = [layer.name for layer in self.plan.layers]
        found: dict[str, frozenset[str]] = {}
        for pattern, allowed in limits.items():
            matched = [name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)]
            if not matched:
                raise ConfigError(f"no layer that is searched is called {pattern!r}{did_you_mean(pattern, names)}.")
            require_names(allowed)
            kept = frozenset(self.in_float.name if name in FLOATS else name for name in allowed)
            found |= dict.fromkeys(matched, kept)
        result = replace(self, limits=found)
        for layer, allowed in found.items():
            if self.in_float.name not in allowed and not any(layer in layers for layers in result.layers.values()):
                able = [name for name, layers in self.layers.items() if layer in layers]
                raise ConfigError(
                    f"layer {layer!r} is limited to {', '.join(sorted(allowed))}; it can have {', '.join((*able, 'float'))}."
                )
        return result

    def everywhere(self, *names: str) -> dict[str, str]:
        """Each layer with the first of these widths that it can have, else in float."""
        return {
            layer.name: next((name for name in names if layer.name in self.layers.get(name, ())), self.in_float.name)
            for layer in self.plan.layers
        }

    def estimator(self, losses: Losses) -> Callable[[Mapping[str, str]], float]:
        """Widths of all layers → the sum of what each loses."""
        return lambda picks: fsum(losses[name][layer] for layer, name in picks.items() if name != self.in_float.name)

    def variables(self, cost: str, meter: Meter, losses: Losses) -> tuple[Variable, ...]:
        """The choices of all layers, by their `cost`. Raises ConfigError where limits leave layers that must agree none."""
        records = {self.in_float.name: QuantRecord(())} | {n: given.decision.record for n, given in self.uniform.items()}
        prices = {name: meter.layers(record) for name, record in records.items()}
        free = dict.fromkeys(COSTS, 0)  # a layer without products

        def choice(layer: str, name: str) -> Choice:
            loss = 0.0 if name == self.in_float.name else losses[name][layer]
            return Choice(name, prices[name].get(layer, free)[cost], loss)

        variables = join(
            {layer.name: [choice(layer.name, name) for name in self.names_for(layer.name)] for layer in self.plan.layers},
            agreeing(self.plan),
        )
        for variable in variables:
            if not variable.choices:
                raise ConfigError(
                    f"{', '.join(variable.members)} read the same data or weight and must have the same widths, but the limits "
                    "leave none that all of them can have. Allow float, or the same widths for all of them."
                )
        return variables

    def names_for(self, layer: str) -> list[str]:
        """The widths that `layer` can choose from."""
        allowed = self.limits.get(layer, {self.in_float.name})
        return [
            *[self.in_float.name] * (self.in_float.name in allowed),
            *(n for n, layers in self.layers.items() if layer in layers),
        ]


def offers_of(giver: Giver, in_float: Widths, wanted: Sequence[Widths]) -> Offers:
    """All that `wanted` is possible. Raises UnsupportedModelError where nothing is."""
    uniform: dict[str, Calibrated] = {}
    notes: list[str] = []
    plan = giver.base.plan
    for widths in wanted:
        if giver.base.settings.target == ORT and widths.data != 8:
            notes.append(f"{widths.name} is not offered: the integer kernels of ONNX Runtime take activations of 8 bits")
            continue
        try:
            given = giver.give({layer.name: widths for layer in plan.layers})
        except UnsupportedModelError as error:
            notes.append(f"{widths.name} is not offered: {error}")
            continue
        able = [layer for layer in given.plan.layers if _has(layer, widths)]
        if able:
            uniform[widths.name] = given
        if len(able) < len(plan.layers):
            notes.append(f"{len(able)} of {len(plan.layers)} layers can have {widths.name}{_reason(given, widths)}")
    if not uniform:
        raise UnsupportedModelError(f"no layer can have any of the widths: {'; '.join(notes)}")
    return Offers(in_float, {widths.name: widths for widths in (in_float, *wanted)}, uniform, plan, tuple(notes))


def agreeing(plan: QuantPlan) -> list[set[str]]:
    """The sets of layers that read one tensor or one weight."""
    readers: dict[tuple[str, str], set[str]] = {}
    for layer in plan.layers:
        for tensor in layer.inputs:
            readers.setdefault(("tensor", tensor.name), set()).add(layer.name)
        if layer.weight is not None:
            readers.setdefault(("weight", layer.weight), set()).add(layer.name)
    return [layers for layers in readers.values() if len(layers) > 1]


def _has(layer: LayerPlan, widths: Widths) -> bool:
    """Whether the plan gives `layer` what was asked for; what has no weight has the widths of its data."""
    data = all(tensor.spec.bits == widths.data for tensor in layer.inputs)
    if layer.weight_spec is not None:
        return data and layer.weight_spec.bits == widths.weight
    return data and (len(layer.inputs) == 1 or widths.weight == widths.data)


def _reason(given: Calibrated, widths: Widths) -> str:
    notes = [note for layer in given.plan.layers if not _has(layer, widths) for note in layer.notes if note.startswith("INT8")]
    return f" ({notes[0]})" if notes else ""
