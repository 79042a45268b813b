"""What can be chosen: for each layer its widths with their costs and losses, and which layers must agree."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from amct_lite.calibrated import Calibrated
from amct_lite.errors import ConfigError, UnsupportedModelError
from amct_lite.plan import ORT
from amct_lite.precision.budget import BITOPS, COSTS, Budget
from amct_lite.precision.costs import Meter
from amct_lite.precision.losses import WORST, Losses, strength
from amct_lite.precision.widths import FLOAT16, FLOAT32, FLOATS_OF, Giver, Widths, require_names
from amct_lite.registry import matching
from amct_lite.search.knapsack import Choice, Variable, join
from amct_lite.types import LayerPlan, QuantPlan, QuantRecord

AS_GOOD_AS_FLOAT32 = 1e-6
"""Error over signal, 60 dB: no layer is left in float32 for so little, however much the budget has to spare."""
_NO_FLOAT16 = "float16 is not offered: ONNX Runtime's CPU computes in float32, and float16 would only be converted to and fro"


@dataclass(frozen=True)
class Offers:
    """uniform: by widths, the model with all layers that can have them. floats: what a layer can be left in, the target's own
    first. limits: layer → the only widths it may have, for some layers. too_large: the layers that float16 cannot hold. notes:
    what could not be offered."""

    floats: tuple[Widths, ...]
    widths: Mapping[str, Widths]
    uniform: Mapping[str, Calibrated]
    plan: QuantPlan
    notes: tuple[str, ...] = ()
    limits: Mapping[str, frozenset[str]] = field(default_factory=dict)
    too_large: frozenset[str] = frozenset()

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

    @property
    def lossy(self) -> Mapping[str, tuple[str, ...]]:
        """The same with float16, which loses something, too."""
        halves = [layer.name for layer in self.plan.layers if FLOAT16.name in self.names_for(layer.name)]
        return {**({FLOAT16.name: tuple(halves)} if halves else {}), **self.layers}

    def limited(self, limits: Mapping[str, Collection[str]]) -> Offers:
        """Layers whose name matches a key of `limits` choose among these widths only; of several keys the last one counts.

        Raises ConfigError for a key that no layer matches, and for a layer that is left without any.
        """
        names = [layer.name for layer in self.plan.layers]
        found: dict[str, frozenset[str]] = {}
        for pattern, allowed in limits.items():
            matched = matching(pattern, names, where="the search")
            require_names(allowed)
            floats = [widths.name for widths in self.floats] if "float" in allowed else []
            found |= dict.fromkeys(matched, frozenset((*allowed, *floats)))
        result = replace(self, limits=found)
        for layer, allowed in found.items():
            if not result.names_for(layer):
                told = ", ".join(sorted(allowed))
                raise ConfigError(f"layer {layer!r} is limited to {told}; it can have {', '.join(self.names_for(layer))}.")
        return result

    def within_range(self, losses: Losses) -> Offers:
        """Without float16 for the layers that overflow in it. Raises ConfigError for one that may have nothing else."""
        halves = losses.get(FLOAT16.name, {})
        beyond = [layer for layer, loss in halves.items() if loss >= WORST]
        notes = [f"float16 is not offered to {layer}: its values or weights are too large for it" for layer in beyond]
        result = replace(self, too_large=frozenset(beyond), notes=(*self.notes, *notes))
        for layer in beyond:
            if not result.names_for(layer):
                raise ConfigError(
                    f"layer {layer!r} is limited to float16, which its values or weights are too large for. Allow float32."
                )
        return result

    def everywhere(self, *names: str) -> dict[str, str]:
        """Each layer with the first of these widths that it can have, else in float."""
        wanted = (*names, *(kind.name for kind in self.floats))
        able = {layer.name: self.names_for(layer.name) for layer in self.plan.layers}
        return {layer: next((name for name in wanted if name in names), FLOAT32.name) for layer, names in able.items()}

    def learned(self, giver: Giver) -> Offers:
        """The same models with the roundings that their layers learn, each alone."""
        return replace(self, uniform={name: giver.learned(given, apart=True) for name, given in self.uniform.items()})

    def variables(self, budget: Budget, meter: Meter, losses: Losses | None = None) -> tuple[Variable, ...]:
        """The choices of all layers, by what they cost of `budget`; without `losses`, as before any is measured, each loses 0.

        Raises ConfigError where limits leave layers that must agree none.
        """
        names = [layer.name for layer in self.plan.layers]
        prices = {name: meter.layers(given.decision.record, {}) for name, given in self.uniform.items()}
        prices |= {kind.name: meter.layers(QuantRecord(()), dict.fromkeys(names, kind.data)) for kind in self.floats}
        free = dict.fromkeys(COSTS, 0)  # a layer without products

        def choice(layer: str, name: str) -> Choice:
            loss = 0.0 if losses is None or name == FLOAT32.name else losses[name][layer]
            exact = name == FLOAT16.name and loss < AS_GOOD_AS_FLOAT32
            return Choice(name, prices[name].get(layer, free)[budget.cost], 0.0 if exact else strength(loss))

        variables = join(
            {layer: [choice(layer, name) for name in self.names_for(layer)] for layer in names},
            agreeing(self.plan),
        )
        for variable in variables:
            if not variable.choices:
                raise ConfigError(
                    f"{', '.join(variable.members)} read the same data or weight and must have the same widths, but the limits "
                    "leave none that all of them can have. Allow float, or the same widths for all of them."
                )
        return tuple(map(self._without_trade, variables)) if budget.kind == BITOPS else variables

    def _without_trade(self, variable: Variable) -> Variable:
        """Of tables the width that the plan gives them, where it is offered: float would save none of the bit operations."""
        planned = {layer.name: layer.weight_spec for layer in self.plan.layers if not layer.inputs}
        if not planned.keys() >= set(variable.members):
            return variable
        spec = planned[variable.members[0]]
        offered = ((choice, self.widths[choice.name]) for choice in variable.choices)
        kept = [choice for choice, widths in offered if widths.quantized and spec is not None and widths.weight == spec.bits]
        return replace(variable, choices=tuple(kept) or variable.choices)

    def names_for(self, layer: str) -> list[str]:
        """The widths that `layer` can choose from."""
        floats = [kind.name for kind in self.floats if kind.name in self.limits.get(layer, {kind.name})]
        floats = [name for name in floats if name != FLOAT16.name or layer not in self.too_large]
        return [*floats, *(name for name, layers in self.layers.items() if layer in layers)]

    def bits(self, picks: Mapping[str, str]) -> dict[str, int]:
        """The layers that `picks` leaves in float, and the bits of these floats."""
        return {layer: kind.data for layer, name in picks.items() if not (kind := self.widths[name]).quantized}


def offers_of(giver: Giver, floats: tuple[Widths, ...], wanted: Sequence[Widths]) -> Offers:
    """All that `wanted` is possible, beside `floats`; `learned` gives the roundings. Raises UnsupportedModelError where nothing
    is."""
    uniform: dict[str, Calibrated] = {}
    plan = giver.base.plan
    notes = [_NO_FLOAT16] if FLOAT16 not in FLOATS_OF[plan.target] else []
    for widths in wanted:
        if giver.base.settings.target == ORT and widths.data != 8:
            notes.append(f"{widths.name} is not offered: the integer kernels of ONNX Runtime take activations of 8 bits")
            continue
        try:
            given = giver.decided({layer.name: widths for layer in plan.layers})
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
    return Offers(floats, {widths.name: widths for widths in (FLOAT32, *floats, *wanted)}, uniform, plan, tuple(notes))


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
