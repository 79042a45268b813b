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
    network: Callable[[Sequence[Variant]], NetworkError],
    variants: Sequence[Variant],
    batches: Sequence[Feeds],
    journal: LineJournal,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> dict[Variant, Measured]:
    """Variant → what was measured in all of `batches`.

    network: makes what measures. tell: (how many more steps are done, of how many).
    """
    known = {(entry.get("batch"), entry.get("variant")): _from_entry(entry) for entry in journal.entries}
    lacking = {
        number: [variant for variant in variants if (number, variant.digest) not in known] for number in range(len(batches))
    }
    if wanted := [variant for variant in variants if any(variant in lack for lack in lacking.values())]:
        measuring = network(wanted)
        total = measuring.steps * len(batches)
        for number, batch in enumerate(batches):
            if not lacking[number]:
                tell(measuring.steps, total)
                continue
            found = measuring.measure(batch, lambda done: tell(done, total))
            journal.add(_entry(number, variant, found[variant]) for variant in lacking[number])
            known |= {(number, variant.digest): found[variant] for variant in lacking[number]}
    return {
        variant: sum((known[number, variant.digest] for number in range(len(batches))), start=Measured())
        for variant in variants
    }


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
