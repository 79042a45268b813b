"""What each kernel of some models takes on this machine, now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from amct_lite import ir
from amct_lite.runtime import KernelTime, RuntimeOptions, is_heavy, profiled
from amct_lite.types import Feeds
from amct_lite.validate.executed import executed
from amct_lite.validate.kernels import FLOAT_KERNELS, INTEGER_KERNELS

SECONDS = 0.6
"""For all models together, after a warm-up."""
FEWEST_RUNS = 5
MOST_RUNS = 200
"""The profile holds about a million events at most, so a large graph is not run for ever."""


def kernel_times(
    models: Sequence[ir.Model | Path], feeds: Feeds, options: RuntimeOptions | None = None
) -> tuple[tuple[KernelTime, ...], ...]:
    """The kernels of each of `models` in the order of execution, timed in runs that take turns: whatever else the
    machine does slows all models alike. Large models run one after the other."""
    if len(models) > 1 and is_heavy(*models):
        return tuple(kernels for model in models for kernels in kernel_times([model], feeds, options))
    with profiled(models, options) as sessions:
        given = [{name: feeds[name] for name in session.input_names} for session in sessions]
        runs, end = 0, time.perf_counter() + SECONDS
        while runs < FEWEST_RUNS or (runs < MOST_RUNS and time.perf_counter() < end):
            for session, batch in zip(sessions, given, strict=True):
                session.run(batch)
            runs += 1
        return tuple(session.kernel_times() for session in sessions)


def layer_times(layers: Sequence[ir.Node], times: Sequence[KernelTime]) -> Mapping[str, float]:
    """Microseconds of the kernel that each of `layers` became, by its name; what is lost among other kernels is left out."""
    weighted = {kernel.node: kernel.microseconds for kernel in times if kernel.op_type in FLOAT_KERNELS | INTEGER_KERNELS}
    return {layer: weighted[name] for layer, name in executed(layers, weighted).items()}
