"""samples/amct_drop_in/ptq.py, run as a user runs it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_sample_runs_and_keeps_the_accuracy(tmp_path: Path) -> None:
    script = ROOT / "samples" / "amct_drop_in" / "ptq.py"
    run = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    before, after = (float(number) for number in re.findall(r"([\d.]+) %", run.stdout))
    assert after >= before - 0.51  # two images of 397; AMCT's flow has no bias correction
    names = {"digits_deploy_model.onnx", "digits_fake_quant_model.onnx", "digits_quant.json", "record.txt"}
    assert names <= {file.name for file in tmp_path.iterdir()}
