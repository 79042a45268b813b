"""The scripts of samples/amct_drop_in, run as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "samples" / "amct_drop_in"


def accuracies(script: str, folder: Path) -> tuple[float, float]:
    """Of the float and the fake-quant model, in per cent, as the script prints them."""
    before, after = (float(number) for number in re.findall(r"([\d.]+) %", ran(script, folder).stdout))
    return before, after


def ran(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    run = subprocess.run([sys.executable, str(SAMPLES / script), str(folder)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run


def test_the_sample_runs_and_keeps_the_accuracy(tmp_path: Path) -> None:
    before, after = accuracies("ptq.py", tmp_path)
    assert after >= before - 0.51  # two images of 397; AMCT's flow has no bias correction
    names = {"digits_deploy_model.onnx", "digits_fake_quant_model.onnx", "digits_quant.json", "record.txt"}
    assert names <= {file.name for file in tmp_path.iterdir()}


def test_a_trained_model_keeps_its_scales_and_its_accuracy(tmp_path: Path) -> None:
    before, after = accuracies("qat.py", tmp_path)
    assert after == before
    names = {"qat_deploy_model.onnx", "qat_fake_quant_model.onnx", "qat_quant.json", "qat_record.txt"}
    assert names <= {file.name for file in tmp_path.iterdir()}
    assert (tmp_path / "qat_record.txt").read_text() == (tmp_path / "trained_record.txt").read_text()


def test_auto_calibration_loses_not_one_image(tmp_path: Path) -> None:
    run = ran("auto_calibration.py", tmp_path)
    before, after = (float(number) for number in re.findall(r"([\d.]+) %", run.stdout))
    assert after >= before
    assert re.search(r"INFO - \[AMCT\]: float model: metric 0\.\d+", run.stderr)
    assert re.search(r"INFO - \[AMCT\]: 0 layers in float: metric [\d.]+, loss [\d.e-]+, not acceptable", run.stderr)
    names = {f"accuracy_based_auto_calibration_{what}.json" for what in ("final_config", "ranking_information")}
    assert {*names, "digits_deploy_model.onnx", "record.txt"} <= {file.name for file in tmp_path.iterdir()}
    assert (tmp_path / "amct_log" / "accuracy_based_auto_calibration_record.json").is_file()
