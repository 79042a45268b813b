"""What is asked for of one network, drawn as the network is: the defaults for every second one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from amct_lite.config import QuantConfig
from amct_lite.config.overrides import Override

_TENSORS = ("Add", "Mul", "Concat", "Sigmoid", "Relu", "Clip", "Softmax", "Resize", "MaxPool", "Transpose", "Split", "Pad")


def settings(seed: int, model: onnx.ModelProto, target: str) -> QuantConfig:
    """Whatever the target takes; the names it mentions are of `model`."""
    rng = np.random.default_rng([seed, 1])
    if rng.random() < 0.5:
        return QuantConfig(target=target)
    present = sorted({node.op_type for node in model.graph.node})
    one: Callable[..., Any] = rng.choice
    drawn: dict[str, Any] = {
        "algorithm": str(one(["ifmr", "hfmg", "kl", "percentile", "minmax", "mse"])),
        "weight_algorithm": str(one(["arq", "arq", "mse", "gptq"])),
        "per_channel": str(one(["auto", "auto", "all", "none"])),
        "bias_correction": str(one(["auto", "none", "analytic", "full"])),
        "symmetric": bool(one([False, False, True])),
        "bits": 8 if target == "ort" else int(one([8, 8, 8, 16])),
        "weight_bits": int(one([8, 8, 7, 6, 4])),
        "balance": float(one([0.0, 0.0, 0.5])),
        "fusion": bool(one([True, True, False])),
        "skip": (str(one(present)),) if rng.random() < 0.2 else (),
        "tensors": {f"{kind}:*": Override() for kind in present if kind in _TENSORS and rng.random() < 0.2},
    }
    found = {name: value for name, value in drawn.items() if rng.random() < 0.4}
    return QuantConfig(target=target, **found, balance_fold=bool(found.get("balance")) and rng.random() < 0.5)
