"""The benchmarks, as far as a mistake of the caller goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LATENCY = Path(__file__).parents[1] / "tools" / "bench" / "latency.py"


def test_latency_names_all_files_that_are_missing(tmp_path: Path) -> None:
    there = tmp_path / "there.onnx"
    there.touch()
    command = [sys.executable, str(LATENCY), "a.onnx", str(there), "b.onnx", "--feeds", "c.npz"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("latency.py: error: no such file: a.onnx, b.onnx, c.npz\n")
