"""Measuring over batches, with a journal: what an interrupted run has measured is not measured again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from amct_lite import ir
from amct_lite.analysis.figures import MetricFunction, Sums
from amct_lite.analysis.network_error import Measured, NetworkError
from amct_lite.analysis.sharing import Measuring, measure_shared
from amct_lite.analysis.variants import Variant
from amct_lite.journal import Journal
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds
from amct_lite.workers import Workers


@dataclass(frozen=True)
class Job:
    """model: prepared. metric: the user's, None for none. workers: who shares the batches."""

    model: ir.Model
    metric: MetricFunction | None
    options: RuntimeOptions
    workers: Workers | None = None


def measure_all(
    job: Job,
    variants: Sequence[Variant],
    batches: Sequence[Feeds],
    journal: Journal,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[Variant, Measured]:
    """Variant → what was measured in all of `batches`. tell: (how many more steps are done, of how many)."""
    known = {(entry.get("batch"), entry.get("variant")): _from_entry(entry) for entry in journal.entries}
    lacking = {
        number: [variant for variant in variants if (number, variant.digest) not in known] for number in range(len(batches))
    }
    if wanted := [variant for variant in variants if any(variant in lack for lack in lacking.values())]:
        network = NetworkError(job.model, wanted, job.metric, job.options)
        todo = [(number, batches[number]) for number, lack in lacking.items() if lack]
        total = network.steps * len(batches)
        if known_before := network.steps * (len(batches) - len(todo)):
            tell(known_before, total)
        for number, found in _measured(job, network, todo, lambda done: tell(done, total)):
            journal.add(_entry(number, variant, found[variant]) for variant in lacking[number])
            known |= {(number, variant.digest): found[variant] for variant in lacking[number]}
    return {
        variant: sum((known[number, variant.digest] for number in range(len(batches))), start=Measured())
        for variant in variants
    }


def _measured(
    job: Job, network: NetworkError, batches: Sequence[tuple[int, Feeds]], tell: Callable[[int], None]
) -> Iterator[tuple[int, Mapping[Variant, Measured]]]:
    """Here, or by the workers: the same numbers."""
    if job.workers is None:
        for number, batch in batches:
            yield number, network.measure(batch, tell)
        return
    with Measuring.of(job.model, network.variants, job.metric, job.options, job.workers) as measuring:
        for number, found in measure_shared(measuring, batches, job.workers):
            tell(network.steps)
            yield number, dict(zip(network.variants, found, strict=True))


def _entry(batch: int, variant: Variant, measured: Measured) -> dict[str, Any]:
    return {
        "batch": batch,
        "variant": variant.digest,
        "layer": variant.layer,
        "candidate": variant.candidate,
        "local": astuple(measured.local),
        "outputs": {name: astuple(sums) for name, sums in measured.outputs.items()},
        "custom": measured.custom,
        "samples": measured.samples,
    }


def _from_entry(entry: dict[str, Any]) -> Measured:
    outputs = {str(name): Sums(*sums) for name, sums in entry["outputs"].items()}
    return Measured(Sums(*entry["local"]), outputs, float(entry["custom"]), int(entry["samples"]))
