"""Sensitivities on paper: a row a layer and candidate, the most sensitive first, with a bar on a logarithmic scale."""

from __future__ import annotations

import math

from rich.markup import escape

from amct_lite.analysis.sensitivity import Effect, Sensitivities
from amct_lite.cli.layout import NARROW, console, count_of, print_table, say

_BAR = 16
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_DECADES = 5.0
"""What a full bar stands for: damages that many powers of ten below the largest have none."""


def print_sensitivities(found: Sensitivities, model: str, *, limit: int | None = None) -> None:
    """On standard output."""
    out = console()
    effects = sorted(found.effects, key=lambda effect: -effect.damage)
    largest = max((effect.damage for effect in effects if math.isfinite(effect.damage)), default=0.0)
    exact, narrow = found.method == "exact", out.width < NARROW
    columns = ["layer", "op", "candidate", "#own SQNR dB", *(["#output SQNR dB"] if exact else [])]
    columns += [f"#{'' if exact else '≈ '}{found.metric}", *([] if narrow else ["relative (log)"])]
    rows = []
    for effect in effects[:limit]:
        cells = [effect.layer, effect.op_type, effect.candidate, _db(effect.local.sqnr_db)]
        cells += [_worst(effect)] if exact else []
        cells.append(f"{effect.damage:.3g}")
        rows.append(cells if narrow else [*cells, bar(effect.damage, largest)])
    print_table(out, f"{model}: each layer quantized alone, the most sensitive first", columns, rows)
    if limit is not None and limit < len(effects):
        say(out, f"[dim]{len(effects) - limit} more rows; --limit {len(effects)} shows them.[/]")
    for note in found.notes:
        say(out, f"[dim]note:[/] {escape(note)}")
    way = "measured" if exact else "estimated"
    say(out, f"{way}: {_counts(found)}, ranked by {escape(found.metric)} at the outputs; 0 is no change")


def bar(damage: float, largest: float) -> str:
    """In eighths of a character; a bar shorter by a fifth is a damage ten times smaller."""
    if damage <= 0 or largest <= 0:
        return ""
    share = 1.0 if damage >= largest else max(0.0, 1 + math.log10(damage / largest) / _DECADES)
    whole, eighths = divmod(round(share * _BAR * 8), 8)
    return "█" * whole + _EIGHTHS[eighths].strip()


def _counts(found: Sensitivities) -> str:
    layers = len({effect.layer for effect in found.effects})
    return f"{count_of(layers, 'layer')} as {', '.join(found.candidates)} on {count_of(found.samples, 'sample')}"


def _worst(effect: Effect) -> str:
    """Of several outputs the one that suffers most."""
    return _db(min((figures.sqnr_db for figures in effect.outputs.values()), default=math.nan))


def _db(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "∞" if value > 0 else "—"
