"""An inspection on paper: the plain facts of a model, then the plan."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from amct_lite.cli.layout import console, count_of, entries, print_annotated, say, size
from amct_lite.cli.output import print_skips
from amct_lite.inspection import Dims, Inspection
from amct_lite.ops import OPS
from amct_lite.reports.wording import by_reason, some
from amct_lite.types import LayerPlan, PassReport, TensorPlan

_MOST_NAMED = 3
"""Of the nodes that a pass left alone for one reason."""


def print_inspection(found: Inspection) -> None:
    """Everything, on standard output."""
    out = console()
    _print_facts(out, found)
    if found.plan.layers or found.plan.reads:
        _print_plan(out, found)
    if found.plan.skips:
        print_skips(out, found.plan.skips)
    if not (found.plan.layers or found.plan.reads or found.plan.skips):
        say(out, f"it holds none of the operators that are quantized: {', '.join(OPS.names())}")
    say(
        out,
        f"target {found.plan.target}: {entries(len(found.plan.layers), len(found.plan.reads))} would be quantized, "
        f"{len(found.plan.skips)} left in float",
    )


def _print_facts(out: Console, found: Inspection) -> None:
    raised = f", raised to {found.prepared_opset}" if found.prepared_opset != found.opset else ""
    say(
        out,
        f"[bold]{escape(found.model)}[/]: opset {found.opset}{raised}; {count_of(found.nodes, 'node')}; "
        f"{count_of(found.parameters, 'parameter')}, {size(found.weight_bytes)}",
    )
    for kind, tensors in (("input", found.inputs), ("output", found.outputs)):
        for tensor in tensors:
            say(out, f"{kind:<6} {escape(tensor.name)}: {tensor.dtype} {escape(_dims(tensor.shape))}")
    if changed := _changes(found.passes):
        say(out, f"[dim]prepared:[/] {changed}")
    for report in found.passes:
        for reason, skips in by_reason(report.skips):
            nodes = some([f"{skip.node} ({skip.op_type})" for skip in skips], _MOST_NAMED)
            say(out, f"[dim]{_words(report)} not at {escape(nodes)}:[/] {escape(reason)}")
    for note in found.notes:
        say(out, f"[dim]note:[/] {escape(note)}")


def _print_plan(out: Console, found: Inspection) -> None:
    rows = [
        (
            layer.name,
            layer.op_type,
            "×".join(map(str, found.weight_shapes.get(layer.name, ()))) or "—",
            _granularity(layer),
            _activation(layer.inputs),
        )
        for layer in found.plan.layers
    ]
    rows += [(read.key, read.op_type, "—", "—", _activation((read.tensor,))) for read in found.plan.reads]
    columns = ("layer", "op", "weight", "weight scales", "activation")
    notes = ["; ".join(layer.notes) for layer in found.plan.layers] + [""] * len(found.plan.reads)
    print_annotated(out, "would be quantized", columns, rows, notes)


def _granularity(layer: LayerPlan) -> str:
    if layer.weight_spec is None:
        return "—"
    scales = "per channel" if layer.weight_spec.per_channel else "per tensor"
    width = f"int{layer.weight_spec.bits} " if layer.weight_spec.bits != 8 else ""
    return f"{width}{scales} {layer.weight_algorithm}"


def _activation(inputs: tuple[TensorPlan, ...]) -> str:
    """All data inputs of a layer are quantized alike but for their ranges."""
    words = dict.fromkeys(f"int{t.spec.bits} {'symmetric ' if t.spec.symmetric else ''}{t.algorithm}" for t in inputs)
    return " / ".join(words)


def _changes(passes: tuple[PassReport, ...]) -> str:
    """`fold batch norm 5 ×, remove dead 20 ×`; a pass that ran twice is counted once."""
    counts: dict[str, int] = {}
    for report in passes:
        counts[_words(report)] = counts.get(_words(report), 0) + report.changed
    return ", ".join(f"{words} {count} ×" for words, count in counts.items() if count)


def _words(report: PassReport) -> str:
    return report.name.replace("_", " ")


def _dims(shape: Dims) -> str:
    if shape is None:
        return "of unknown rank"
    return f"({', '.join('?' if dim is None else str(dim) for dim in shape)}{',' if len(shape) == 1 else ''})"
