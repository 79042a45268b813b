"""How fast a model for ONNX Runtime is here: whoever asked for speed must hear when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from amct_lite.cli.layout import count_of, say, size
from amct_lite.result import QuantizeResult
from amct_lite.runtime import RuntimeOptions

if TYPE_CHECKING:
    from amct_lite.reports.report import Report
    from amct_lite.validate.speed import Speed

CERTAIN = 1.05
"""Times of two models that differ by less may be in the other order when they are measured again."""


def speed_of(result: QuantizeResult, runtime: RuntimeOptions) -> Speed | None:
    """Measured beside the float model on a sample; None where there is no such model, or no sample."""
    deploy = result.exports.deploy
    if result.exports.target != "ort" or deploy is None or result.sample is None:
        return None
    from amct_lite.validate.speed import compare_speed

    return compare_speed(result.source.original, deploy, [result.sample], runtime.on_cpu())


def speed_content(speed: Speed) -> dict[str, Any]:
    """For programs."""
    return {
        "float_ms": speed.float_ms,
        "quantized_ms": speed.integer_ms,
        "of_float": speed.ratio,
        "threads": speed.threads,
        "shapes": {name: list(shape) for name, shape in speed.shapes.items()},
        "scatter": speed.scatter,
    }


def gained_beside_time(report: Report) -> str:
    """A sentence where only tables are quantized, from which nobody expects speed; else empty."""
    if not report.layers or any(row.scale_d is not None for row in report.layers):
        return ""
    integer, exact = size(report.sizes["ort"]), size(report.sizes["float"])
    return f"Only tables are quantized, which saves size, not time: weights of {integer}, {exact} in float."


def _time(milliseconds: float) -> str:
    """Three digits, never as a power of ten."""
    return f"{milliseconds:.3g} ms" if milliseconds < 999.5 else f"{milliseconds / 1000:.3g} s"


def say_speed(out: Console, speed: Speed, *, quiet: bool, gained: str = "") -> None:
    """A line; `quiet` leaves only what should worry. gained: what is, if it is not time."""
    shapes = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in speed.shapes.items())
    told = (
        f"float {_time(speed.float_ms)}, quantized {_time(speed.integer_ms)} ({speed.ratio:.2f} of float; "
        f"{count_of(speed.threads, 'thread')}, {escape(shapes)})"
    )
    doubt = f"; the machine is busy, runs scatter {speed.scatter:.1f}-fold: measure again when it is not" if speed.busy else ""
    certain = speed.ratio > max(CERTAIN, speed.scatter if speed.busy else 0.0)
    if speed.ratio > 1 and (certain or not gained):
        word = "slower" if certain else "no faster"
        advice = "If --tune does not help, keep the float model; `amct-lite explain` names the layers to blame."
        advice = f"{gained} Keep the float model if time counts for more." if gained else advice
        say(out, f"[bold yellow]warning:[/] {word} than the float model on this machine: {told}{doubt}. {advice}")
    elif not quiet:
        say(out, f"latency here: {told}{doubt}{f'. {gained}' if gained else ''}")
