"""The cost of a model on paper: a row a layer, the totals in each arithmetic, what is not counted."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from amct_lite.cli.layout import NARROW, console, count_of, print_table, quantity, say, size
from amct_lite.diagnosis.bitops import Cost, LayerCost
from amct_lite.reports.wording import some

_SHOWN = 4


def print_cost(cost: Cost) -> None:
    """Everything, on standard output."""
    out = console()
    if cost.layers:
        _print_layers(out, cost)
    columns = ("arithmetic", "#bitops", "#weights", "#activations", "#peak", "at")
    bound = "≥ " if cost.unknown_shapes else ""
    rows = [
        (
            name,
            quantity(total.bitops),
            size(total.weight_bytes),
            f"{bound}{size(total.activation_bytes)}",
            f"{bound}{size(total.peak_activation_bytes)}",
            escape(total.peak_at),
        )
        for name, total in cost.totals.items()
    ]
    print_table(out, "total", columns, rows)
    reasons: dict[str, list[str]] = {}
    for skip in cost.not_counted:
        reasons.setdefault(skip.reason, []).append(f"{skip.node} ({skip.op_type})")
    for reason, nodes in reasons.items():
        say(out, f"[bold yellow]not counted:[/] {_listed(out, nodes)}: {escape(reason)}")
    if names := cost.unknown_shapes:
        tensors = count_of(len(names), "tensor")
        say(out, f"[bold yellow]bytes left out:[/] {tensors} without a static shape: {_listed(out, names)}")
    shapes = ", ".join(f"{name} {dims}" for name, dims in cost.input_shapes.items())
    say(
        out,
        f"{escape(cost.model)} at {escape(shapes)}: {quantity(cost.macs)} MACs, {quantity(cost.flops)} FLOPs, "
        f"{quantity(cost.parameters)} parameters in {count_of(len(cost.layers), 'layer')}",
    )


def _listed(out: Console, names: Sequence[str]) -> str:
    """A few of them in a terminal, all elsewhere."""
    return escape(some(names, _SHOWN if out.is_terminal else len(names)))


def _print_layers(out: Console, cost: Cost) -> None:
    narrow = out.width < NARROW
    columns = ["layer", "op", *([] if narrow else ["output"]), "#MACs", "#act×wts", "#bitops", "#share"]
    columns += [] if narrow else ["#params", "#weights", "#activation"]
    rows = [_cells(layer, cost.main.bitops, narrow=narrow) for layer in cost.layers]
    print_table(out, f"{cost.model}: cost of each layer", columns, rows)


def _cells(layer: LayerCost, total: int, *, narrow: bool) -> list[str]:
    cells = [layer.name, layer.op_type]
    cells += [] if narrow else ["×".join(map(str, layer.output))]
    cells += [quantity(layer.macs), f"{layer.act_bits}×{layer.weight_bits}", quantity(layer.bitops)]
    cells.append(f"{100 * layer.bitops / total:.1f} %" if total else "—")
    return cells if narrow else [*cells, quantity(layer.parameters), size(layer.weight_bytes), size(layer.activation_bytes)]
