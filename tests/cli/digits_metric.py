"""An evaluator as users write it: how many of the digits a model tells right, in percent."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]

METRIC = f"""
import numpy as np, onnxruntime
def evaluate(model_path):
    session = onnxruntime.InferenceSession(model_path)
    with np.load({str(ROOT / "samples/digits/test.npz")!r}) as test:
        return 100 * float((session.run(None, {{"images": test["x"]}})[0].argmax(1) == test["y"]).mean())
"""
