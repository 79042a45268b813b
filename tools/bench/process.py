"""Runs a command in a process of its own and measures it. Standard library only, and the caller must stay small too:
Linux starts a child's peak-memory counter at the size of the process that launched it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """seconds: wall clock, start of the interpreter included. peak_mib: resident memory. output: stdout and stderr."""

    seconds: float
    peak_mib: float
    exit_code: int
    output: str

    @property
    def ok(self) -> bool:
        return self.exit_code == 0


def measure(command: Sequence[str]) -> Run:
    """One run of `command`; a failure is part of the result, not an exception. Python may keep what it compiles, as it has of
    packages that were installed: a checkout would otherwise be compiled in every run."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        return Run(seconds, usage.ru_maxrss / 1024, process.returncode, log.read())


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """First column left, the others right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in lines
    )
