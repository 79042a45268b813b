"""ONNX's own light models all the way through: real architectures whose weights are made by constant subgraphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from amct_lite.pipeline import quantize
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
TWO_BATCHES = RunOptions(runtime=RuntimeOptions(threads=2), random=2)


# Conv, Gemm and AveragePool nodes of each file; what GlobalAveragePool does is no layer
@pytest.mark.parametrize(
    ("name", "layers"),
    [("squeezenet", 26), ("inception_v1", 57 + 1 + 1), ("shufflenet", 49 + 1 + 4), ("resnet50", 53 + 1 + 1)],
)
def test_light_model_goes_all_the_way(name: str, layers: int, tmp_path: Path) -> None:
    result = quantize(LIGHT / f"light_{name}.onnx", options=TWO_BATCHES)
    print(f"\n{name}: {len(result.record.layers)} layers", result.report.skips, result.report.outputs)
    assert result.report.deploy_problem is None
    assert result.report.equivalence is not None
    assert len(result.record.layers) == layers
    assert "random numbers" in result.report.warnings[0]
    written = result.save(tmp_path / name)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(written[1], options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    (output,) = session.run(None, {entry.name: np.zeros(entry.shape, np.float32)})[:1]
    assert np.isfinite(output).all()
