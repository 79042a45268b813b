"""The base classes of what users bring to auto calibration, at AMCT's module path; nothing is implemented here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class AutoCalibrationEvaluatorBase(ABC):
    """What `amct_onnx calibration --evaluator FILE.py` runs: derive, and implement at least `calibration`."""

    @abstractmethod
    def calibration(self, modified_model_file: str) -> None:
        """Run the calibration model `batch_num` times on samples.

        With `onnxruntime.InferenceSession(modified_model_file, amct_lite.AMCT_SO)` or
        `amct_lite.CalibrationSession(modified_model_file)`.
        """

    def evaluate(self, model_file: str) -> float:
        """The metric of a model, for searches over it."""
        raise NotImplementedError(f"{type(self).__name__} does not implement evaluate")

    def metric_eval(self, original_metric: float, new_metric: float) -> tuple[bool, float]:
        """(whether the loss is acceptable, the loss)."""
        raise NotImplementedError(f"{type(self).__name__} does not implement metric_eval")


class AutoCalibrationStrategyBase(ABC):
    """Names one candidate after the other, for `strategy` of `accuracy_based_auto_calibration`."""

    def __init__(self) -> None:
        self.result: dict[str, Any] = {}
        self.last_acc_result: dict[str, Any] = {}

    @abstractmethod
    def initialize(self, ranking_info: dict[str, float]) -> None:
        """Layer → score; the lower, the more sensitive. Called once, when everything quantized is not acceptable."""

    @abstractmethod
    def update_quant_config(self, metric_eval: tuple[bool, float]) -> Mapping[str, Any]:
        """The next candidate, after the last one was judged with `metric_eval`; first the one with everything quantized.

        {'stop_flag': whether this is the last, 'roll_back_config': {layer: whether it is quantized}}.
        """


class SensitivityBase(ABC):
    """Scores layers, for `sensitivity` of `accuracy_based_auto_calibration`."""

    @abstractmethod
    def compare(self, original_output: Any, quantized_output: Any) -> float:
        """How alike the two outputs of a layer are, arrays of one shape; the lower, the more sensitive."""
