"""Small float networks for tests of the whole way: built from ONNX text, saved as files, compared in ONNX Runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from math import prod, sqrt
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto, numpy_helper

from amct_lite import ir
from amct_lite.build import Exports
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.result import QuantizeResult
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions, optimized

ONE_THREAD = RunOptions(runtime=RuntimeOptions(threads=1))

DYNAMIC_IMAGE = "[N,C,H,W]"
FOUR_CONVS = """net (float[N,3,16,16] x) => (float[N,10,8,8] y) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [relu1] b = Relu(a)
  [conv2] c = Conv<group = 8, pads = [1,1,1,1]>(b, w2, b2)
  [relu2] d = Relu(c)
  [conv3] e = Conv(d, w3, b3)
  [add] f = Add(e, b)
  [conv4] y = Conv<strides = [2,2], pads = [1,1,0,0]>(f, w4, b4)
}"""
SHAPES = {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (8, 8, 1, 1), "w4": (10, 8, 3, 3)} | {
    "b1": (8,),
    "b2": (8,),
    "b3": (8,),
    "b4": (10,),
}


def net(text: str = FOUR_CONVS, *, opset: int = 17, domains: str = "", ir_version: int = 8, **values: object) -> ModelProto:
    """A model of `text`. values: initializers, each an array or the shape of one with random values; those of FOUR_CONVS
    that the text reads are there already. Weights keep the variance of what they are applied to."""
    model = onnx.parser.parse_model(f'<ir_version: {ir_version}, opset_import: ["": {opset}{domains}]>\n{text}')
    rng = np.random.default_rng(7)
    for name, value in (SHAPES | values).items():
        if isinstance(value, tuple):
            value = (rng.standard_normal(value) / sqrt(prod(value[1:]) or 1)).astype(np.float32)
        if f"{name})" in text or f"{name}," in text:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def saved(model: ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    onnx.save(model, path)
    return path


def images(count: int = 8, *, seed: int = 0, batch: int = 1, size: tuple[int, int] = (16, 16)) -> list[dict[str, np.ndarray]]:
    """`count` samples for the input x, `batch` at a time."""
    x = np.random.default_rng(seed).standard_normal((count, 3, *size)).astype(np.float32)
    return [{"x": x[start : start + batch]} for start in range(0, count, batch)]


def weights_of(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def to_float16(model: ModelProto) -> ModelProto:
    """Inputs, outputs and weights as float16."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for info in (*copy.graph.input, *copy.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in copy.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    return copy


def run(model: Path | ModelProto | ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs, from stock ONNX Runtime, unoptimized: each node computes what it says."""
    content: object = str(model)
    if isinstance(model, ModelProto):
        content = model.SerializeToString()
    elif isinstance(model, ir.Model):
        content = ir.to_bytes(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feeds)


def kernels(result: QuantizeResult) -> Counter[str]:
    """What ONNX Runtime executes of the ort model: how many nodes of each operator."""
    assert result.exports.deploy is not None
    return Counter(node.op_type for node in optimized(result.exports.deploy).graph)


def require_alike(exports: Exports, data: Iterable[dict[str, np.ndarray]], least_db: float) -> None:
    """The ort model computes what the fake-quant model does, so many dB above the noise for each of `data`."""
    for ours, theirs in _outputs(exports, data):
        assert sqnr_db(theirs, ours) > least_db


def require_equal(exports: Exports, data: Iterable[dict[str, np.ndarray]]) -> None:
    """The ort model computes what the fake-quant model does, to the last bit."""
    for ours, theirs in _outputs(exports, data):
        np.testing.assert_array_equal(ours, theirs)


def _outputs(exports: Exports, data: Iterable[dict[str, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of the ort model and of the fake-quant model, each output for each of `data`."""
    assert exports.deploy is not None
    for feeds in data:
        yield from zip(run(exports.deploy, feeds), run(exports.fake_quant, feeds), strict=True)


def sqnr_of(model: Path | ModelProto, result: QuantizeResult, data: list[dict[str, np.ndarray]] | None = None) -> float:
    """Fake-quant against the untouched float model in dB: its first output, on samples that were not calibrated with."""
    exact, quantized = [], []
    for feeds in images(seed=99) if data is None else data:
        exact.append(run(model, feeds)[0].astype(np.float64).ravel())
        quantized.append(run(result.exports.fake_quant, feeds)[0].astype(np.float64).ravel())
    signal = np.concatenate(exact)
    return float(10 * np.log10((signal**2).sum() / ((np.concatenate(quantized) - signal) ** 2).sum()))
