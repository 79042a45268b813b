"""A few of the networks that `tools/fuzz` draws, with all that must hold for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[1] / "tools" / "fuzz" / "run.py"


def test_networks_that_nobody_wrote_are_calibrated_for_onnx_runtime() -> None:
    command = [sys.executable, str(FUZZ), "--seeds", "0:12", "--targets", "ort"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "12 networks; all well\n", "")
