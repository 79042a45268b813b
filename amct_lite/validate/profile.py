"""What each kernel of some models takes on this machine, now."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amct_lite import ir, scratch
from amct_lite.exporters.qdq import rows_prefix
from amct_lite.runtime import RuntimeOptions, Session, is_heavy, open_session
from amct_lite.types import Feeds
from amct_lite.validate.executed import executed
from amct_lite.validate.kernels import FLOAT_KERNELS, INTEGER_KERNELS

SECONDS = 0.6
"""For all models together, after a warm-up."""
FEWEST_RUNS = 5
MOST_RUNS = 200
"""The profile holds about a million events at most, so a large graph is not run for ever."""
_KERNEL = "_kernel_time"
"""What ONNX Runtime's profile adds to a node's name for the time of the kernel itself."""


@dataclass(frozen=True)
class KernelTime:
    """A node of the optimized graph: microseconds of its kernel, the lower quartile of the runs that were profiled, which other
    programs hardly move."""

    node: str
    op_type: str
    microseconds: float


def kernel_times(
    models: Sequence[ir.Model | Path], feeds: Feeds, options: RuntimeOptions | None = None
) -> tuple[tuple[KernelTime, ...], ...]:
    """The kernels of each of `models` in the order of execution, timed in runs that take turns: whatever else the
    machine does slows all models alike. Large models run one after the other."""
    if len(models) > 1 and is_heavy(*models):
        return tuple(kernels for model in models for kernels in kernel_times([model], feeds, options))
    with scratch.folder() as place:
        sessions = [open_session(model, options, profile=place / f"model{number}") for number, model in enumerate(models)]
        given = [{name: feeds[name] for name in session.input_names} for session in sessions]
        runs, end = 0, time.perf_counter() + SECONDS
        while runs < FEWEST_RUNS or (runs < MOST_RUNS and time.perf_counter() < end):
            for session, batch in zip(sessions, given, strict=True):
                session.run(batch)
            runs += 1
        return tuple(map(_profile_of, sessions))


def _profile_of(session: Session) -> tuple[KernelTime, ...]:
    """Every kernel that ran, in the order of execution. Ends the profile: no run comes after it."""
    events = json.loads(Path(session.end_profile()).read_text(encoding="utf-8"))
    times: dict[tuple[str, str], list[float]] = {}
    for event in events:
        name = event["name"].removesuffix(_KERNEL)
        if event.get("cat") == "Node" and name != event["name"]:
            times.setdefault((name, event["args"]["op_name"]), []).append(event["dur"])
    return tuple(KernelTime(name, op_type, float(np.percentile(found, 25))) for (name, op_type), found in times.items())


def layer_times(layers: Sequence[ir.Node], times: Sequence[KernelTime]) -> Mapping[str, float]:
    """Microseconds of the kernel that each of `layers` became, by its name, of a table with those that make floats of its rows;
    what is lost among other kernels is left out."""
    kinds = FLOAT_KERNELS | INTEGER_KERNELS | {"Gather"}
    named = {kernel.node: kernel.microseconds for kernel in times if kernel.op_type in kinds}
    return {layer: named[name] + _behind_table(layer, times) for layer, name in executed(layers, named).items()}


def _behind_table(layer: str, times: Sequence[KernelTime]) -> float:
    """0 where rows are floats already, or the layer is no table."""
    return sum(kernel.microseconds for kernel in times if kernel.node.startswith(f"{rows_prefix(layer)}."))
