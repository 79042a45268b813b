"""Accuracy of the defaults on trained models with labelled data: 64 calibration samples, int8 against float."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from corpus import SHARED, needs_shared

from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions

pytestmark = needs_shared
CORPUS = SHARED / "corpus"
TWO_THREADS = RunOptions(runtime=RuntimeOptions(threads=2))


@pytest.fixture(scope="module")
def tasks() -> ModuleType:
    """The corpus's tasks.py, which is in no package."""
    name = "corpus_tasks"
    spec = importlib.util.spec_from_file_location(name, CORPUS / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


class Comparison:
    """A task's metric for float and int8 on the same first batches of its test set."""

    def __init__(self, task: Any, batches: int | None, folder: Path) -> None:
        self.task, self.folder = task, folder
        self.test = list(itertools.islice(task.test(), batches))
        self.labels = [labels for _, labels in self.test]
        self.outputs = self.run(task.model_path)
        self.float = float(task.score(self.outputs, self.labels))

    def run(self, model: Path) -> list[np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 2, 3
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        first = session.get_inputs()[0].shape[0]
        outputs = []
        for feeds, _ in self.test:
            rows = len(next(iter(feeds.values())))
            step = first if isinstance(first, int) else rows
            parts = [session.run(None, {k: v[i : i + step] for k, v in feeds.items()})[0] for i in range(0, rows, step)]
            outputs.append(np.concatenate(parts))
        return outputs

    def quantize(self, config: QuantConfig | None = None) -> tuple[float, QuantizeResult]:
        samples = list(itertools.islice(self.task.calibration(), 64))
        result = quantize(self.task.model_path, samples, config, options=TWO_THREADS)
        written = result.save(self.folder / self.task.name)
        self.quantized = self.run(written[1])
        score = float(self.task.score(self.quantized, self.labels))
        print(f"\n{self.task.name}: float {self.float:.3f}, int8 {score:.3f} ({score - self.float:+.3f} {self.task.metric})")
        return score, result

    def resolution(self) -> float:
        """Standard deviation, in points, of the difference of two top-1 scores on these images: images on which only one
        of the models is right fall to either side by chance (McNemar), which moves the score by the root of their number."""
        right = [
            np.concatenate([o.reshape(len(y), -1).argmax(1) == y for o, y in zip(outputs, self.labels, strict=True)])
            for outputs in (self.outputs, self.quantized)
        ]
        return float(100 * np.sqrt((right[0] != right[1]).sum()) / right[0].size)


# The promise: 1.0 for MobileNetV1, 0.3 elsewhere. What a test set of a few hundred images cannot tell from chance is granted
# on top for the latter (one standard deviation: 0.4 to 0.7 points for 500 images, 0.3 for 900).
TABLE = [
    # task, batches of the test set (None: all), promised loss, standard deviations granted
    ("mobilenet_v1", None, 1.0, 0),
    ("squeezenet", None, 0.3, 1),
    ("cifar_resnet8", 40, 0.3, 1),
    ("cifar_resnet20", 20, 0.3, 1),
    ("keywords", None, 0.3, 1),
    ("mnist_cnn", 3000, 0.3, 1),
]


@pytest.mark.parametrize(("name", "batches", "promised", "sigmas"), TABLE, ids=[row[0] for row in TABLE])
def test_int8_keeps_the_accuracy_of_float(
    name: str, batches: int | None, promised: float, sigmas: int, tasks: ModuleType, tmp_path: Path
) -> None:
    comparison = Comparison(tasks.TASKS[name], batches, tmp_path)
    score, result = comparison.quantize()
    assert not result.report.deploy_problem
    print(f"resolution of these images: {comparison.resolution():.2f} points")
    assert score >= comparison.float - promised - sigmas * comparison.resolution() - 1e-6


def test_sentence_embeddings_with_channel_wise_weights(tasks: ModuleType, tmp_path: Path) -> None:
    comparison = Comparison(tasks.TASKS["minilm"], None, tmp_path)
    score, result = comparison.quantize(QuantConfig(per_channel="all"))
    assert score >= comparison.float - 0.3
    assert result.report.deploy_problem is not None  # sentences differ in length: the user must choose one


def test_super_resolution_names_its_worst_layer_and_recovers_without_it(tasks: ModuleType, tmp_path: Path) -> None:
    comparison = Comparison(tasks.TASKS["superres"], None, tmp_path)
    score, result = comparison.quantize()
    named = [warning for warning in result.report.warnings if "--skip" in warning]
    assert any(warning.startswith("Conv_6:") for warning in named), named
    assert score < comparison.float  # the loss is real, and said
    without, _ = comparison.quantize(QuantConfig(skip=("Conv_6",)))
    print(f"superres without Conv_6: {without - comparison.float:+.3f} dB; rows:", *result.report.layers, sep="\n")
    assert without >= comparison.float - 0.3


def test_per_tensor_weights_on_mobilenet_warn_before_anyone_measures(tasks: ModuleType, tmp_path: Path) -> None:
    task = tasks.TASKS["mobilenet_v1"]
    samples = list(itertools.islice(task.calibration(), 4))
    result = quantize(task.model_path, samples, QuantConfig(per_channel="none"), options=TWO_THREADS)
    warned = [text for text in result.report.warnings if "lose their weights to rounding" in text]
    assert any("--channel-wise all" in text for text in warned), result.report.warnings
