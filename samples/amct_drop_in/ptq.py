"""AMCT's calibration flow, as a script written for it looks with one import changed. Runs on the digits model.

python samples/amct_drop_in/ptq.py [FOLDER]      # where to write; default: ./amct_drop_in_out

With onnxruntime-extensions installed (`pip install 'amct-lite[dropin]'`) the calibration model runs in a stock
`onnxruntime.InferenceSession`, as with AMCT; without it in `CalibrationSession`. The record is the same but for the last
digit of a float32 here and there.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort

import amct_lite as amct  # was: import amct_onnx as amct

DIGITS = Path(__file__).resolve().parents[1] / "digits"
MODEL = DIGITS / "digits.onnx"
BATCH_NUM = 4
BATCH_SIZE = 16


def calibration_batches() -> list[np.ndarray]:
    """BATCH_NUM arrays of (BATCH_SIZE, 1, 8, 8)."""
    images = [np.load(file).reshape(1, 1, 8, 8) for file in sorted((DIGITS / "calibration").glob("*.npy"))]
    return [np.concatenate(images[i * BATCH_SIZE : (i + 1) * BATCH_SIZE]) for i in range(BATCH_NUM)]


def accuracy(model: Path) -> float:
    """Share of the held-out digits that `model` names rightly."""
    session = ort.InferenceSession(str(model))
    with np.load(DIGITS / "test.npz") as test:
        return float((session.run(None, {"images": test["x"]})[0].argmax(1) == test["y"]).mean())


def open_calibration(model: Path) -> ort.InferenceSession | amct.CalibrationSession:
    if importlib.util.find_spec("onnxruntime_extensions") is None:
        return amct.CalibrationSession(model)
    return ort.InferenceSession(str(model), amct.AMCT_SO)


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "amct_drop_in_out")
    out.mkdir(parents=True, exist_ok=True)
    config, record, modified = out / "config.json", out / "record.txt", out / "modified_model.onnx"

    # 1. A configuration that lists every layer; edit it, or leave layers out with skip_layers.
    amct.create_quant_config(str(config), str(MODEL), skip_layers=[], batch_num=BATCH_NUM, activation_offset=True)

    # 2. The calibration model, and a record that knows the weights already.
    amct.quantize_model(str(config), str(MODEL), str(modified), str(record))

    # 3. The user's own inference loop.
    session = open_calibration(modified)
    for batch in calibration_batches():
        session.run(None, {"images": batch})

    # 4. The models: one for ATC, one to measure accuracy with.
    amct.save_model(str(modified), str(record), str(out / "digits"))

    print(f"float       {100 * accuracy(MODEL):6.2f} %")
    print(f"fake-quant  {100 * accuracy(out / 'digits_fake_quant_model.onnx'):6.2f} %")


if __name__ == "__main__":
    main()
