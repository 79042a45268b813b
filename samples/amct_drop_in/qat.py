"""A model that was trained with quantization in mind, taken to the NPU with the scales it was trained with.

python samples/amct_drop_in/qat.py [FOLDER] [QAT_MODEL]      # default: ./amct_drop_in_out, the digits

QAT_MODEL is what PyTorch, TensorFlow or onnxruntime.quantization export: a model with QuantizeLinear and DequantizeLinear.
Without one, digits with such nodes is written first; it stands for what a training exports.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

import amct_lite as amct  # was: import amct_onnx as amct

DIGITS = Path(__file__).resolve().parents[1] / "digits"


def write_trained_model(folder: Path) -> Path:
    """The digits with QuantizeLinear and DequantizeLinear, one image at a time: an NPU's model has fixed shapes."""
    float_model = onnx.load(DIGITS / "digits.onnx")
    for value in (*float_model.graph.input, *float_model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(float_model, folder / "digits.onnx")
    amct.quantize(folder / "digits.onnx", DIGITS / "calibration").save(folder / "trained")
    return folder / "trained_fake_quant_model.onnx"


def accuracy(model: Path) -> float:
    """Share of the held-out digits that `model` names rightly."""
    session = ort.InferenceSession(str(model))
    with np.load(DIGITS / "test.npz") as test:
        named = [session.run(None, {"images": image[None]})[0].argmax() for image in test["x"]]
        return float((named == test["y"]).mean())


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "amct_drop_in_out")
    out.mkdir(parents=True, exist_ok=True)
    given = Path(sys.argv[2]) if len(sys.argv) > 2 else write_trained_model(out)

    # All there is to it; the record is optional. What cannot be taken is logged, with the reason.
    amct.convert_qat_model(str(given), str(out / "qat"), str(out / "qat_record.txt"))

    if len(sys.argv) <= 2:
        print(f"trained     {100 * accuracy(given):6.2f} %")
        print(f"fake-quant  {100 * accuracy(out / 'qat_fake_quant_model.onnx'):6.2f} %")


if __name__ == "__main__":
    main()
