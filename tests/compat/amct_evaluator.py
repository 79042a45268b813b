"""The half of AMCT's evaluators that tests share."""

from __future__ import annotations

from pathlib import Path

from counted import Fidelity
from small_nets import images

import amct_lite as amct
from amct_lite.common.auto_calibration import AutoCalibrationEvaluatorBase


class FourSamples(AutoCalibrationEvaluatorBase):
    """Calibrates on four samples, and counts how often; evaluates by `Fidelity`. What loss is accepted is not said."""

    def __init__(self, model: Path) -> None:
        self.fidelity = Fidelity(model)
        self.calibrations = 0

    def calibration(self, modified_model_file: str) -> None:
        self.calibrations += 1
        session = amct.CalibrationSession(modified_model_file)
        for feeds in images(4):
            session.run(None, feeds)

    def evaluate(self, model_file: str) -> float:
        return self.fidelity(model_file)
