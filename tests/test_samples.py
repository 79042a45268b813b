"""The digits sample: what its model is made of, how well it does, and the main job on it from the command line."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "samples" / "digits"


@pytest.fixture(scope="module")
def accuracy() -> ModuleType:
    """samples/digits/accuracy.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location("digits_accuracy", DIGITS / "accuracy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def test_set() -> tuple[np.ndarray, np.ndarray]:
    with np.load(DIGITS / "test.npz", allow_pickle=False) as archive:
        return archive["x"], archive["y"]


def test_model_holds_what_the_readme_promises() -> None:
    model = onnx.load(DIGITS / "digits.onnx")
    ops = Counter(node.op_type for node in model.graph.node)
    assert ops["BatchNormalization"] == ops["Conv"] == 5
    assert ops["Clip"] == 2
    assert ops["Add"] == ops["AveragePool"] == ops["Gemm"] == 1
    groups = [attribute.i for node in model.graph.node for attribute in node.attribute if attribute.name == "group"]
    assert max(groups) == 32
    assert (DIGITS / "digits.onnx").stat().st_size < 300_000


def test_calibration_images_are_no_test_images(test_set: tuple[np.ndarray, np.ndarray]) -> None:
    files = sorted((DIGITS / "calibration").glob("*.npy"))
    images = {np.load(file).tobytes() for file in files}
    assert len(files) == len(images) == 64
    assert not images & {image.tobytes() for image in test_set[0]}


def test_float_model_is_accurate(accuracy: ModuleType, test_set: tuple[np.ndarray, np.ndarray]) -> None:
    # 395 of 397; two images of slack for another ONNX Runtime that rounds differently
    assert accuracy.correct(DIGITS / "digits.onnx", *test_set) >= 393


def test_main_job_keeps_the_accuracy(accuracy: ModuleType, test_set: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    command = [
        "calibrate",
        str(DIGITS / "digits.onnx"),
        "--data",
        str(DIGITS / "calibration"),
        "-o",
        str(tmp_path / "d"),
    ]
    run = subprocess.run(
        [sys.executable, "-m", "amct_lite", *command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    names = ("record.txt", "fake_quant_model.onnx", "deploy_model.onnx", "calibration.npz", "report.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(f"d_{name}" for name in names)
    # 0.3 points is the bound for easy tasks: one image of 397
    before = accuracy.correct(DIGITS / "digits.onnx", *test_set)
    assert accuracy.correct(tmp_path / "d_fake_quant_model.onnx", *test_set) >= before - 1
