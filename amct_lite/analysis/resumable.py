"""Measuring over batches, with a journal: what an interrupted run has measured is not measured again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import Any

from amct_lite.analysis.figures import Sums
from amct_lite.analysis.network_error import Measured, NetworkError
from amct_lite.analysis.variants import Variant
from amct_lite.journal import LineJournal
from amct_lite.types import Feeds


def measure_all(
    network: NetworkError,
    variants: Sequence[Variant],
    batches: Sequence[Feeds],
    journal: LineJournal,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[Variant, Measured]:
    """Variant → what was measured in all of `batches`. tell: (how many more pieces of the network are done, of how many)."""
    known = {(entry.get("batch"), entry.get("variant")): entry for entry in journal.entries}
    effort = network.effort
    total = sum(effort[variant] for variant in variants) * len(batches)
    measured = dict.fromkeys(variants, Measured())
    for number, batch in enumerate(batches):
        left = set(variants)
        for variant in variants:
            if entry := known.get((number, variant.digest)):
                measured[variant] += _from_entry(entry)
                left.remove(variant)
                tell(effort[variant], total)
        for results in network.measure(batch, left) if left else ():
            journal.add(_entry(number, variant, result) for variant, result in results)
            for variant, result in results:
                measured[variant] += result
                tell(effort[variant], total)
    return measured


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
