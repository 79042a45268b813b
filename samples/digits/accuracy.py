"""Accuracy of ONNX models on the held-out digits of test.npz. Needs numpy and onnxruntime only.

python samples/digits/accuracy.py [MODEL.onnx ...]     # default: the float model beside this file
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime

HERE = Path(__file__).resolve().parent


def correct(model: Path, images: np.ndarray, labels: np.ndarray) -> int:
    """How many of the (n, 1, 8, 8) images the model's first output names rightly; takes a fixed batch as well."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    batch = source.shape[0] if isinstance(source.shape[0], int) else len(images)
    total = 0
    for start in range(0, len(images), batch):
        block = images[start : start + batch]
        missing = batch - len(block)  # a fixed batch wants its last block filled up
        padded = np.concatenate([block, np.zeros((missing, *block.shape[1:]), block.dtype)])
        logits = session.run(None, {source.name: padded})[0]
        total += int((logits[: len(block)].argmax(1) == labels[start : start + batch]).sum())
    return total


def main() -> None:
    models = [Path(argument) for argument in sys.argv[1:]] or [HERE / "digits.onnx"]
    with np.load(HERE / "test.npz", allow_pickle=False) as archive:
        images, labels = archive["x"], archive["y"]
    width = max(len(str(model)) for model in models)
    for model in models:
        if not model.is_file():
            sys.exit(f"{model} does not exist.")
        right = correct(model, images, labels)
        print(f"{model!s:{width}}  {100 * right / len(labels):6.2f} %  ({right} of {len(labels)})")


if __name__ == "__main__":
    main()
