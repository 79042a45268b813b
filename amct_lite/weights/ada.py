"""AdaRound: whether a weight is rounded up or down is learned, so that the layer's output error is smallest.

With a variable a for each weight:
  h = clip(1.2 · sigmoid(a) - 0.1, 0, 1)        from h = w / s - floor(w / s) to 0 or 1
  w_q = s · clip(floor(w / s) + h, qmin, qmax)
  loss = output MSE + reg_param · sum(1 - |2h - 1|^beta)      the second term once warm_start of the iterations are over
beta falls from beta_range[0] to beta_range[1] along half a cosine. The outputs are compared behind the activation function that
follows the layer. The MSE is counted in units of the error of nearest rounding, times the number of weights and `BALANCE`, so
that reg_param means the same for every layer. Adam on mini-batches of output positions.
Source: AMCT contract, section 5; Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization" (2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi

import numpy as np
from numpy.typing import NDArray

from amct_lite.errors import ConfigError
from amct_lite.types import FloatArray, IntArray
from amct_lite.weights.arq import Arq
from amct_lite.weights.base import WEIGHT_QUANTIZERS
from amct_lite.weights.reconstruction import Reconstruction

Picked = NDArray[np.int64]
BALANCE = 1e-3
"""Measured on a super-resolution network and MobileNetV1: 1e-2 leaves weights between up and down, 1e-4 decides too early."""
_BATCH = 256
_MOST_WEIGHTS = 1 << 20
_RATE = 0.01
_MOMENTA = (0.9, 0.999)
_TINY = 1e-8
_STRETCH, _OFFSET = 1.2, 0.1


@WEIGHT_QUANTIZERS.register("ada")
@dataclass(frozen=True)
class AdaRound(Arq):
    """num_iteration > 0; reg_param > 0; beta_range: (start, end), start >= end > 0; warm_start in (0, 1)."""

    num_iteration: int = 10000
    reg_param: float = 0.01
    beta_range: Sequence[float] = (20.0, 2.0)
    warm_start: float = 0.2

    def __post_init__(self) -> None:
        if not _is_number(self.num_iteration) or self.num_iteration != int(self.num_iteration) or self.num_iteration < 1:
            raise ConfigError(f"ada: num_iteration = {self.num_iteration!r} must be a whole number, 1 or more.")
        if not _is_number(self.reg_param) or self.reg_param <= 0:
            raise ConfigError(f"ada: reg_param = {self.reg_param!r} must be a number above 0.")
        if not _is_number(self.warm_start) or not 0 < self.warm_start < 1:
            raise ConfigError(f"ada: warm_start = {self.warm_start!r} must be a number between 0 and 1.")
        pair = self.beta_range
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(map(_is_number, pair)) or not pair[0] >= pair[1] > 0:
            raise ConfigError(f"ada: beta_range = {pair!r} must be (start, end) with start >= end > 0.")
        for name, value in {"num_iteration": int(self.num_iteration), "reg_param": float(self.reg_param)}.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "beta_range", (float(pair[0]), float(pair[1])))

    def candidates(self, task: Reconstruction) -> Iterator[IntArray]:
        """The one that is learned, as many channels at a time as stay in the processor's caches. The order of the batches
        follows from a fixed seed."""
        error = task.error(task.nearest())
        states = [_State(part, error) for part in task.by_channels(_MOST_WEIGHTS // task.rows.shape[1])]
        picks = _batches(task.columns.shape[0], np.random.default_rng(0))
        for iteration in range(self.num_iteration):
            beta, pick = self.beta(iteration), next(picks)
            for state in states:
                state.step(state.gradient(pick, 0.0 if beta is None else self.reg_param, beta or 1.0))
        yield np.concatenate([state.codes() for state in states])

    def beta(self, iteration: int) -> float | None:
        """The exponent of the regularizer in that iteration; None as long as there is none."""
        begin = self.warm_start * self.num_iteration
        if iteration < begin:
            return None
        start, end = self.beta_range
        return end + 0.5 * (start - end) * (1 + cos(pi * (iteration - begin) / (self.num_iteration - begin)))


class _State:
    """The variable of every weight, and Adam's means of its gradient. error: of the whole layer, rounded to nearest."""

    def __init__(self, task: Reconstruction, error: float) -> None:
        self._task = task
        ratio = task.rows / task.steps
        self._down: FloatArray = np.floor(ratio)
        self.a: FloatArray = -np.log(_STRETCH / (ratio - self._down + np.float32(_OFFSET)) - 1)
        self._means = np.zeros_like(self.a), np.zeros_like(self.a)
        self._steps = 0
        self._columns = np.ascontiguousarray(task.columns.transpose(1, 0, 2))
        self._exact = task.activated(task.outputs)
        self._scale = np.float32(BALANCE * self.a.size / error if error else 0.0)

    def loss(self, pick: Picked, reg_param: float, beta: float) -> float:
        """What is learned to be small, for the positions `pick`."""
        noise = self._outputs(pick, self._soft()[0])[1] - self._exact[pick]
        rest = 1 - np.abs(2 * self._soft()[0] - 1) ** beta
        return float(self._scale * np.square(noise).mean() + reg_param * rest.sum())

    def gradient(self, pick: Picked, reg_param: float, beta: float) -> FloatArray:
        """Of the loss, by `a`: (C, n)."""
        task = self._task
        h, slope = self._soft()
        inside, outputs = self._outputs(pick, h)
        noise = (outputs - self._exact[pick]) * inside * np.float32(2 * self._scale / outputs.size)
        grouped = noise.reshape(pick.size, self._columns.shape[0], -1).transpose(1, 2, 0)
        by_h: FloatArray = np.matmul(grouped, self._columns[:, pick]).reshape(h.shape) * task.steps
        by_h *= (self._down + h >= task.grid[0]) & (self._down + h <= task.grid[1])
        if reg_param:
            away = 2 * h - 1
            by_h -= np.float32(2 * reg_param * beta) * np.sign(away) * np.abs(away) ** np.float32(beta - 1)
        return by_h * slope

    def step(self, gradient: FloatArray) -> None:
        """One step of Adam."""
        self._steps += 1
        for mean, value, momentum in zip(self._means, (gradient, gradient * gradient), _MOMENTA, strict=True):
            mean += np.float32(1 - momentum) * (value - mean)
        first, second = (mean / np.float32(1 - m**self._steps) for mean, m in zip(self._means, _MOMENTA, strict=True))
        self.a -= np.float32(_RATE) * first / (np.sqrt(second) + np.float32(_TINY))

    def codes(self) -> IntArray:
        """(C, n) int32: up where h has come above one half."""
        codes: IntArray = np.clip(self._down + (self._soft()[0] >= 0.5), *self._task.grid).astype(np.int32)
        return codes

    def _soft(self) -> tuple[FloatArray, FloatArray]:
        """h, and its derivative by a."""
        sigmoid = (1 / (1 + np.exp(-self.a))).astype(np.float32, copy=False)
        wide = np.float32(_STRETCH) * sigmoid - np.float32(_OFFSET)
        slope: FloatArray = np.float32(_STRETCH) * sigmoid * (1 - sigmoid)
        slope[(wide <= 0) | (wide >= 1)] = 0
        return np.clip(wide, 0, 1), slope

    def _outputs(self, pick: Picked, h: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(B, C) for the positions `pick`: whether the activation function lets changes pass, and what leaves it."""
        task = self._task
        rows = (np.clip(self._down + h, *task.grid) * task.steps).reshape(self._columns.shape[0], -1, h.shape[1])
        products = np.matmul(self._columns[:, pick], rows.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(pick.size, -1)
        products += task.bias
        outputs = np.clip(products, task.low, task.high)
        return outputs == products, outputs


def _batches(positions: int, rng: np.random.Generator) -> Iterator[Picked]:
    """Positions to learn from, each once before any comes again."""
    size = min(_BATCH, positions)
    while True:
        order = rng.permutation(positions)
        yield from (order[start : start + size] for start in range(0, positions - size + 1, size))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
