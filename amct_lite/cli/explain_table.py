"""What is executed, on paper: a row a layer with the kernel and why it is float, the time of each kind of kernel, a summary."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from amct_lite.cli.layout import NARROW, console, count_of, print_annotated, print_table, say
from amct_lite.diagnosis.explain import DeployExplanation, Explanation, LayerKernel
from amct_lite.diagnosis.requantizing import Handover
from amct_lite.reports.wording import is_slower, on_integers

_MOST_KINDS = 12


def print_explanation(explanation: Explanation | DeployExplanation) -> None:
    """Everything, on standard output."""
    out = console()
    if isinstance(explanation, DeployExplanation):
        _print_deploy(out, explanation)
    else:
        _print_kernels(out, explanation)


def _print_kernels(out: Console, found: Explanation) -> None:
    timed = found.float_microseconds is not None
    if found.layers:
        columns = ("layer", "kernel", "#µs", *(("#float µs",) if timed else ()))
        rows = [(layer.name, _kernel(layer), *_times(layer, timed=timed)) for layer in found.layers]
        _print_rows(out, f"{found.model}: what ONNX Runtime executes", columns, rows, found.layers)
    columns = ("kernel", "#nodes", "#µs", *(("#float nodes", "#float µs") if timed else ()))
    kinds = [
        (kind.op_type, str(kind.count), _us(kind.microseconds), str(kind.float_count), _us(kind.float_microseconds))[
            : len(columns)
        ]
        for kind in found.kinds[:_MOST_KINDS]
    ]
    print_table(out, "time of one run", columns, kinds)
    if (more := len(found.kinds) - _MOST_KINDS) > 0:
        say(out, f"… and {more} more; --json has them all")
    integer = sum(layer.integer for layer in found.layers)
    against = f", float model {found.float_microseconds:,.0f} µs" if found.float_microseconds is not None else ""
    say(
        out,
        f"{on_integers(integer, len(found.layers))}; {found.quantize} QuantizeLinear and "
        f"{found.dequantize} DequantizeLinear between kernels; all kernels {found.microseconds:,.0f} µs{against}",
    )
    if found.stored:
        say(
            out,
            f"[bold yellow]{found.stored} stored weights and biases[/] become floats in every run, for layers in float.",
        )
    if not (found.quantize or found.dequantize or found.stored or integer):
        advice = "Give the model that a run wrote: <prefix>_ort_model.onnx or <prefix>_fake_quant_model.onnx."
        say(out, f"[bold yellow]nothing is quantized[/] in {escape(found.model)}. {advice}")
    for skip in found.slow:
        say(out, f"[bold yellow]slow on integers:[/] {escape(f'{skip.node} ({skip.op_type}): {skip.reason}')}")
    slow = [layer for layer in found.layers if layer.integer and is_slower(layer.microseconds, layer.float_microseconds)]
    if slow:
        lost = sum((layer.microseconds or 0) - (layer.float_microseconds or 0) for layer in slow)
        say(
            out,
            f"[bold yellow]slower on integers:[/] {escape(', '.join(layer.name for layer in slow))}, {lost:,.0f} µs in all. "
            "calibrate --target ort --tune leaves in float what gains by it.",
        )


def _kernel(layer: LayerKernel) -> str:
    return layer.kernel if layer.integer else f"[yellow]{layer.kernel}[/]"


def _print_rows(
    out: Console,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    layers: Sequence[LayerKernel | Handover],
) -> None:
    """With the reasons in a column; in a narrow terminal below, each once, with the layers that it holds for."""
    if out.width >= NARROW:
        print_annotated(out, title, columns, rows, ["; ".join(layer.reasons) for layer in layers])
        return
    print_table(out, title, columns, rows)
    concerned: dict[str, list[str]] = {}
    for layer in layers:
        for reason in layer.reasons:
            concerned.setdefault(reason, []).append(layer.name)
    for reason, names in concerned.items():
        say(out, f"{escape(', '.join(names))}: [dim]{escape(reason)}[/]")
    if concerned:
        out.print()


def _times(layer: LayerKernel, *, timed: bool) -> tuple[str, ...]:
    own = "—" if layer.microseconds is None else _us(layer.microseconds)
    exact = "—" if layer.float_microseconds is None else _us(layer.float_microseconds)
    return (own, exact) if timed else (own,)


def _us(microseconds: float) -> str:
    return f"{microseconds:,.0f}" if microseconds else "—"


def _print_deploy(out: Console, found: DeployExplanation) -> None:
    rows = [(row.name, row.op_type, "integers" if row.fused else "[yellow]float[/]") for row in found.layers]
    _print_rows(out, f"{found.model}: what layers hand on", ("layer", "op", "hands on"), rows, found.layers)
    fused = sum(row.fused for row in found.layers)
    say(
        out,
        f"{fused} of {count_of(len(found.layers), 'quantized layer')} hand integers on: AscendDequant meets the next "
        "AscendQuant, at most a Relu between them",
    )
    if found.unquantized:
        say(out, f"[bold yellow]not quantized:[/] {escape(', '.join(found.unquantized))}")
