"""A small model some layers of which suffer, the metric that tells, and how often it was asked."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from small_nets import FOUR_CONVS, images, net, saved

from amct_lite.config import QuantConfig
from amct_lite.numerics.metrics import sqnr_db

PER_TENSOR = QuantConfig(per_channel="none", bias_correction="analytic")


def delicate(folder: Path, text: str = FOUR_CONVS, **outliers: float) -> Path:
    """conv1 to conv4, channel 0 of whose data is always zero. Weights of `outliers` (conv2, conv3, conv4) that read it are
    that large: they change no output, but with one scale for all they leave the other weights few integers."""
    rng = np.random.default_rng(3)
    shapes = {"conv1": (8, 3, 3, 3), "conv2": (8, 1, 3, 3), "conv3": (8, 8, 1, 1), "conv4": (10, 8, 3, 3)}
    weights = {layer: (rng.standard_normal(shape) / 3).astype(np.float32) for layer, shape in shapes.items()}
    never = np.zeros(8, np.float32)
    never[0] = -100.0  # behind the Relu: zero
    weights["conv3"][0] = 0.0
    for layer, size in outliers.items():
        weights[layer][(0 if layer == "conv2" else slice(None)), 0] = 0.0
        weights[layer][(0, 0, 0, 0) if layer != "conv3" else (1, 0, 0, 0)] = size
    biases = {"b1": never, "b2": never, "b3": np.zeros(8, np.float32)}
    return saved(net(text, **{f"w{layer[-1]}": array for layer, array in weights.items()}, **biases), folder)


class Fidelity:
    """The metric of a model: its SQNR against the float model on test samples, in dB, at most 60."""

    def __init__(self, model: Path) -> None:
        self.calls: list[str] = []
        self._exact = self._run(str(model))

    def __call__(self, model_path: str) -> float:
        self.calls.append(Path(model_path).name)
        return min(60.0, sqnr_db(self._exact, self._run(model_path)))

    @staticmethod
    def _run(model: str) -> np.ndarray:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return np.concatenate([session.run(None, feeds)[0] for feeds in images(4, seed=9)])


class Noting(Fidelity):
    """Notes who evaluates in a file of `folder`. deadly: the first quantized model kills who evaluates it."""

    def __init__(self, model: Path, folder: Path, *, deadly: bool = False) -> None:
        super().__init__(model)
        folder.mkdir(exist_ok=True)
        self._folder, self._deadly = folder, deadly

    def __call__(self, model_path: str) -> float:
        if self._deadly and "fake_quant" in model_path and not (self._folder / "killed").exists():
            (self._folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (self._folder / str(os.getpid())).touch()
        return super().__call__(model_path)


class Failing(Fidelity):
    """Fails on each model whose path holds `part`."""

    def __init__(self, model: Path, part: str) -> None:
        super().__init__(model)
        self._part = part

    def __call__(self, model_path: str) -> float:
        if self._part in model_path:
            raise ValueError(f"{self._part} is wrong")
        return super().__call__(model_path)


class Saved(Protocol):
    def save(self, prefix: Path) -> Iterable[Path]: ...


def files(found: Saved, prefix: Path) -> dict[str, bytes]:
    """What `found` writes, by name."""
    return {path.name: path.read_bytes() for path in found.save(prefix)}
