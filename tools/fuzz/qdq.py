"""Random networks of both kinds with QuantizeLinear and DequantizeLinear, as onnxruntime.quantization writes them.

    model(seed) -> the network, and samples of its inputs, the same for the same seed

It calibrates them its own way, with settings that are drawn, too.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import images
import numpy as np
import onnx
import tokens
from graph import Feeds, RefusedError, run_both_ways
from onnx import numpy_helper
from onnxruntime import quantization

FRESH = 2
_AGAIN = 1_000_003
"""Between the seeds that are tried one after the other."""
_OPTIONS = ("ActivationSymmetric", "AddQDQPairToWeight", "DedicatedQDQPair", "WeightSymmetric")
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Concat")


def model(seed: int) -> tuple[onnx.ModelProto, list[Feeds]]:
    """Another network where onnxruntime.quantization does not take one, or makes none of it that runs."""
    logging.disable(logging.WARNING)
    while True:
        rng = np.random.default_rng([seed, 2])
        drawn, feeds = (images if rng.random() < 0.7 else tokens).model(seed)
        try:
            found = _quantized(drawn, feeds[:-FRESH], rng)
            for _ in run_both_ways(found, feeds):
                pass
        except Exception:  # whatever it is, it is not ours
            seed += _AGAIN
            continue
        return found, feeds


def _quantized(drawn: onnx.ModelProto, feeds: Sequence[Feeds], rng: np.random.Generator) -> onnx.ModelProto:
    types = quantization.QuantType
    options: dict[str, Any] = {name: True for name in _OPTIONS if rng.random() < 0.2}
    if rng.random() < 0.2:
        options["QuantizeBias"] = False
    signed = bool(rng.random() < 0.3)
    with tempfile.TemporaryDirectory() as place:
        quantization.quantize_static(
            drawn,
            Path(place) / "qdq.onnx",
            _Reader(feeds),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=bool(rng.random() < 0.6),
            activation_type=types.QInt8 if signed else types.QUInt8,
            weight_type=types.QInt8 if signed or rng.random() < 0.8 else types.QUInt8,
            op_types_to_quantize=list(_LAYERS) if rng.random() < 0.3 else None,
            extra_options=options,
        )
        found = onnx.load(Path(place) / "qdq.onnx")
    scales = [numpy_helper.to_array(held) for held in found.graph.initializer if held.name.endswith("_scale")]
    if not scales or any((scale == 1).any() or not (np.isfinite(scale) & (scale > 0)).all() for scale in scales):
        raise RefusedError("where all numbers are 0 the step is 1, which rounds biases away; of infinite numbers it is none")
    return found


class _Reader:
    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._feeds, None)
