"""The base class of evaluators, at AMCT's module path; evaluators are the user's code, nothing is implemented here."""

from __future__ import annotations

from abc import ABC, abstractmethod


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
