"""AMCT's accuracy-based auto calibration, as a script written for it looks with its imports changed. Runs on the digits model.

python samples/amct_drop_in/auto_calibration.py [FOLDER]      # where to write; default: ./amct_auto_calibration_out

The model is quantized coarsely, with one scale a weight and symmetric activations. That costs an image; none may be lost, so
the search looks for the layers that must stay in float.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

import amct_lite as amct  # was: import amct_onnx as amct
from amct_lite.common.auto_calibration import AutoCalibrationEvaluatorBase  # was: from amct_onnx.common.auto_calibration

DIGITS = Path(__file__).resolve().parents[1] / "digits"
MODEL = DIGITS / "digits.onnx"
BATCH_NUM = 4
BATCH_SIZE = 16
MOST_LOST = 0.0


class DigitsEvaluator(AutoCalibrationEvaluatorBase):
    """What the search asks for: runs of the calibration model, the metric of a model, whether a loss is acceptable."""

    def calibration(self, modified_model_file: str) -> None:
        images = [np.load(file).reshape(1, 1, 8, 8) for file in sorted((DIGITS / "calibration").glob("*.npy"))]
        session = amct.CalibrationSession(modified_model_file)  # or ort.InferenceSession(modified_model_file, amct.AMCT_SO)
        for first in range(0, BATCH_NUM * BATCH_SIZE, BATCH_SIZE):
            session.run(None, {"images": np.concatenate(images[first : first + BATCH_SIZE])})

    def evaluate(self, model_file: str) -> float:
        session = ort.InferenceSession(model_file)
        with np.load(DIGITS / "test.npz") as test:
            return float((session.run(None, {"images": test["x"]})[0].argmax(1) == test["y"]).mean())

    def metric_eval(self, original_metric: float, new_metric: float) -> tuple[bool, float]:
        loss = original_metric - new_metric
        return loss <= MOST_LOST, loss


def write_coarse_config(config: Path) -> None:
    """Symmetric activations, one scale a weight."""
    amct.create_quant_config(str(config), str(MODEL), batch_num=BATCH_NUM, activation_offset=False)
    content = json.loads(config.read_text())
    for layer in content.values():
        if isinstance(layer, dict) and "weight_quant_params" in layer:
            layer["weight_quant_params"]["channel_wise"] = False
    config.write_text(json.dumps(content, indent=4))


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "amct_auto_calibration_out")
    out.mkdir(parents=True, exist_ok=True)
    config, record = out / "config.json", out / "record.txt"
    write_coarse_config(config)

    evaluator = DigitsEvaluator()
    amct.accuracy_based_auto_calibration(str(MODEL), evaluator, str(config), str(record), str(out / "digits"))

    final = json.loads((out / "accuracy_based_auto_calibration_final_config.json").read_text())
    history = json.loads((out / "amct_log" / "accuracy_based_auto_calibration_record.json").read_text())
    left = [name for name, layer in final.items() if isinstance(layer, dict) and not layer.get("quant_enable", True)]
    print(f"float       {100 * evaluator.evaluate(str(MODEL)):6.2f} %")
    print(f"fake-quant  {100 * evaluator.evaluate(str(out / 'digits_fake_quant_model.onnx')):6.2f} %")
    print(f"in float    {', '.join(left) or 'nothing'}, after {len(history)} candidates")


if __name__ == "__main__":
    main()
