"""A few of the networks that `tools/fuzz` draws, with all that must hold for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "tools" / "fuzz" / "run.py"


def test_networks_that_nobody_wrote_are_calibrated_for_onnx_runtime() -> None:
    command = [sys.executable, str(FUZZ), "--seeds", "0:12", "--targets", "ort"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "12 networks; all well\n", "")


def test_networks_that_bring_their_scales_are_converted_for_onnx_runtime() -> None:
    pytest.importorskip("sympy")
    command = [sys.executable, str(FUZZ), "--kind", "qdq", "--seeds", "0:8", "--targets", "ort"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # what is drawn with warns of its own on stderr
    assert (done.returncode, done.stdout) == (0, "8 networks; all well\n")
