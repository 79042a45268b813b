"""What quantizing one layer alone does to its own output and to the outputs of the network, for each layer and candidate.

`exact` runs the rest of the network for each layer and candidate; `estimate` measures every layer's own error, and how
strongly the outputs react to it on a few batches only.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path

from amct_lite import ir
from amct_lite.analysis.batches import MOST_ROWS, regroup
from amct_lite.analysis.candidates import Scales, parse_candidates
from amct_lite.analysis.figures import Figures, MetricFunction, damage_of, finite, require_metric
from amct_lite.analysis.network_error import Measured, measure_local
from amct_lite.analysis.ranking import Ranking
from amct_lite.analysis.reactions import choose_probes, interpolate
from amct_lite.analysis.resumable import Job, measure_all
from amct_lite.analysis.variants import Variant
from amct_lite.calibration.feeds import content_of
from amct_lite.calibration.tame import batch_size
from amct_lite.errors import CalibrationError, ConfigError, DataError
from amct_lite.journal import Journal
from amct_lite.registry import did_you_mean
from amct_lite.running import RunOptions
from amct_lite.types import Feeds, QuantRecord, Subject

METHODS = ("auto", "exact", "estimate")
EXACT_UP_TO = 40
"""Layers times candidates for which `auto` is exact: each costs about half an inference pass over the samples."""


@dataclass(frozen=True)
class Effect:
    """Of one layer, quantized alone as `candidate` says.

    local: at the layer's own output. outputs: at each float output of the network; empty where it was estimated.
    damage: the metric, 0 for no effect, higher is worse; measured by `exact`, else estimated.
    """

    layer: str
    op_type: str
    candidate: str
    local: Figures
    outputs: Mapping[str, Figures]
    damage: float


@dataclass(frozen=True)
class Sensitivities:
    """effects: by layer in the order of the graph, then by candidate in the order asked for; a candidate that means nothing
    for a layer (weights of a pooling) has none. method: "exact" or "estimate". metric: what `damage` is. notes: what the user
    should know. subject: what was measured, where that was read from files."""

    method: str
    metric: str
    samples: int
    candidates: tuple[str, ...]
    effects: tuple[Effect, ...]
    notes: tuple[str, ...] = ()
    subject: Subject | None = None

    def damages(self, candidate: str) -> dict[str, float]:
        """Layer → damage, in the order of the graph."""
        return {effect.layer: effect.damage for effect in self.effects if effect.candidate == candidate}

    def ranking(self, candidate: str) -> Ranking:
        """(layer, -damage), the most sensitive first: a score that is higher the less a layer suffers, like all rankings."""
        return tuple(sorted(((layer, -damage) for layer, damage in self.damages(candidate).items()), key=lambda item: item[1]))

    def to_json(self) -> str:
        """Indented JSON with the fields above; null for what is not finite."""
        return json.dumps(finite(asdict(self)), indent=1, ensure_ascii=False)


def measure_sensitivity(
    model: ir.Model,
    scales: Scales,
    feeds: Sequence[Feeds],
    *,
    candidates: Sequence[str] = ("W8A8",),
    layers: Collection[str] | None = None,
    method: str = "auto",
    metric: str | MetricFunction = "nmse",
    journal: Path | None = None,
    tell: Callable[[str], None] = lambda _text: None,
    options: RunOptions | None = None,
) -> Sensitivities:
    """The effect of each layer of a record (single tensors are left out), quantized alone, as each candidate has it.

    model: prepared. scales: where they come from, the record among it. feeds: at least one batch. candidates: W8A8, W4A8, W8A16
    and the like, W8 (weights alone), A8 (activations alone), FP16. layers: only these. metric: nmse, mse, cosine (1 - cosine),
    kl, sqnr (minus the dB), or a function of the outputs of one batch, averaged over the samples.
    journal: a file that keeps what is measured, from which an interrupted run goes on; the caller removes it. tell: what is
    taken from it, before the rest is measured. options: its workers share the batches; the figures stay the same.
    With a `Calibrated` c: measure_sensitivity(c.source.prepared, Scales(c.decision.record, c.plan, c.usable), feeds).
    Raises ConfigError for a name that is not known, DataError without a batch, CalibrationError for what has no sketch.
    """
    require_metric(metric)
    if method not in METHODS:
        raise ConfigError(f"unknown method {method!r}{did_you_mean(method, METHODS)}; choose one of {', '.join(METHODS)}.")
    chosen = parse_candidates(candidates)
    if not feeds:
        raise DataError("there is no sample to measure with. Pass at least one batch.")
    names = [
        entry.key for entry in scales.record.layers if not entry.tensor_quantize and (layers is None or entry.key in layers)
    ]
    variants = scales.variants(model, chosen, names)
    if not variants:
        raise CalibrationError("there is nothing to measure: the record has no layer that these candidates mean something for.")
    if method == "auto":
        method = "exact" if len(variants) <= EXACT_UP_TO else "estimate"
    run = _Run(model, variants, tuple(feeds), metric, options or RunOptions())
    kept = Journal(journal, _key(model, feeds, metric, method) if journal else "")
    if kept.entries:
        tell(f"{_resumed(kept, variants)} from {journal}, of an interrupted run; delete it to begin anew.")
    elif kept.replaced:
        tell(f"{journal} was of an interrupted run with another model, other samples or another metric: this one begins anew.")
    effects = run.exact(kept) if method == "exact" else run.estimate(kept)
    return Sensitivities(
        method,
        metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__),
        sum(batch_size(batch) for batch in feeds),
        tuple(candidate.name for candidate in chosen),
        effects,
        _notes(scales.record),
    )


@dataclass(frozen=True)
class _Run:
    """One measurement. variants: grouped by layer, in the order of the graph."""

    model: ir.Model
    variants: tuple[Variant, ...]
    feeds: tuple[Feeds, ...]
    metric: str | MetricFunction
    options: RunOptions

    def exact(self, journal: Journal) -> tuple[Effect, ...]:
        batches = regroup(self.model, self.feeds, MOST_ROWS, self.options.runtime)
        measured = measure_all(self._job, self.variants, batches, journal, partial(self.options.progress, "network"))
        return tuple(
            self._effect(variant, found.local.figures(), _figures(found), self._damage(found))
            for variant, found in measured.items()
        )

    def estimate(self, journal: Journal) -> tuple[Effect, ...]:
        """Measured is the first variant of each layer, or of some layers, on a few samples; the others follow from their local
        errors and the reaction there."""
        first = {variant.layer: variant for variant in reversed(self.variants)}
        layers = list(dict.fromkeys(variant.layer for variant in self.variants))
        samples = regroup(self.model, self.feeds, 1, self.options.runtime)
        probes = choose_probes(layers, len(samples))
        batches = [samples[number] for number in probes.samples]
        probed = [first[layer] for layer in probes.layers]
        measured = measure_all(self._job, probed, batches, journal, partial(self.options.progress, "probes"))
        reactions = interpolate(
            layers, {v.layer: reaction for v, found in measured.items() if (reaction := self._reaction(found))}
        )
        local = {variant: found.local for variant, found in measured.items()}
        if others := [variant for variant in self.variants if variant not in local]:
            tell = partial(self.options.progress, "local errors")
            local |= measure_local(self.model, others, batches, self.options.runtime, lambda done: tell(done, len(batches)))
        return tuple(
            self._effect(variant, figures, {}, figures.nmse * reactions[variant.layer] if figures.nmse else 0.0)
            for variant in self.variants
            for figures in (local[variant].figures(),)
        )

    @property
    def _job(self) -> Job:
        metric = None if isinstance(self.metric, str) else self.metric
        return Job(self.model, metric, self.options.runtime, self.options.workers)

    def _reaction(self, found: Measured) -> float | None:
        """None where the layer's own error is 0, which tells nothing."""
        cause = found.local.figures().nmse
        return self._damage(found) / cause if cause and math.isfinite(cause) else None

    def _damage(self, found: Measured) -> float:
        return damage_of(self.metric, _figures(found)) if isinstance(self.metric, str) else found.custom

    def _effect(self, variant: Variant, local: Figures, outputs: Mapping[str, Figures], damage: float) -> Effect:
        return Effect(variant.layer, self._op_types[variant.layer], variant.candidate, local, outputs, damage)

    @cached_property
    def _op_types(self) -> dict[str, str]:
        return {str(node.name): node.op_type for node in self.model.graph}


def _figures(found: Measured) -> dict[str, Figures]:
    return {name: sums.figures() for name, sums in found.outputs.items()}


def _key(model: ir.Model, feeds: Sequence[Feeds], metric: str | MetricFunction, method: str) -> str:
    """A digest of all that figures depend on, beside the variants."""
    digest = hashlib.sha256("\n".join((ir.checksum(model), method, _source(metric))).encode())
    for batch in feeds:
        for name, array in sorted(batch.items()):
            digest.update(f"{name}{array.shape}{array.dtype}".encode())
            digest.update(content_of(array))
    return digest.hexdigest()


def _source(metric: str | MetricFunction) -> str:
    """The name of a metric; of a function its text, where it has one."""
    if isinstance(metric, str):
        return metric
    try:
        return inspect.getsource(metric)
    except (TypeError, OSError):
        return getattr(metric, "__qualname__", type(metric).__qualname__)


def _resumed(kept: Journal, variants: Sequence[Variant]) -> str:
    wanted = {variant.digest: variant.layer for variant in variants}
    found = [wanted[digest] for entry in kept.entries if (digest := entry.get("variant")) in wanted]
    return f"{len(found)} measurements of {len(set(found))} of {len(set(wanted.values()))} layers are taken"


def _notes(record: QuantRecord) -> tuple[str, ...]:
    tensors = sum(entry.tensor_quantize for entry in record.layers)
    left_out = "1 single tensor of the record is" if tensors == 1 else f"{tensors} single tensors of the record are"
    return (f"{left_out} left out: layers alone are measured",) if tensors else ()
