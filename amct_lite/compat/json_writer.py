"""Writes AMCT's JSON configuration: root settings in AMCT's order, then every quantizable layer, sorted by name.

What the format cannot say is refused where it would change which layers are quantized and how; what only steers this
package's own steps is left out, and `left_out` names it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from amct_lite.compat import json_keys as keys
from amct_lite.compat.settings import channel_wise_by_default
from amct_lite.config import LayerConfig, QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.observers import make_observer
from amct_lite.ops import OPS
from amct_lite.types import LayerPlan, QuantPlan

_ALGORITHMS = ("ifmr", "hfmg")
_WEIGHT_ALGORITHMS = {"arq": "arq_quantize"}


def json_text(plan: QuantPlan, config: QuantConfig) -> str:
    """The file's content for `plan`, which was made of `config`: its layers are enabled, those that `config` skips are not.

    Raises ConfigError with every layer whose settings the format has no words for.
    """
    problems: list[str] = []
    layers: dict[str, object] = {}
    for layer in plan.layers:
        layers[layer.name] = _planned(layer, problems)
    for skip in plan.skips:
        wanted = config.for_layer(skip.node, skip.op_type)
        if wanted.skip and OPS.find(skip.op_type) is not None:
            layers[skip.node] = _disabled(skip.op_type, wanted)
    problems += [
        f"layer {name!r} has the name of a root key; give the node another name" for name in layers if name in keys.ROOT
    ]
    if problems:
        raise ConfigError("\n  ".join([f"{config.where} cannot be said in AMCT's JSON:", *problems]))
    root: dict[str, object] = {
        "version": 1,
        "batch_num": config.batches or 1,
        "activation_offset": not config.symmetric,
        "joint_quant": False,
        "weight_offset": False,
        "do_fusion": True,
        "skip_fusion_layers": [],
    }
    content = {**root, **{name: layers[name] for name in sorted(layers)}, "tensor_quantize": []}
    return json.dumps(content, indent=4, separators=(",", ":"), ensure_ascii=False) + "\n"


def left_out(config: QuantConfig) -> tuple[str, ...]:
    """What `config` asks for that AMCT's formats have no word for and that can be asked for elsewhere, as sentences."""
    plain = QuantConfig()
    names = ("target", "bias_correction", "trust_data", "input_shapes")
    return tuple(
        f"{name} is left out: AMCT's configuration has no word for it. Pass it on the command line"
        for name in names
        if getattr(config, name) != getattr(plain, name)
    )


def _planned(layer: LayerPlan, problems: list[str]) -> dict[str, object]:
    tensor = layer.inputs[0]
    if tensor.algorithm not in _ALGORITHMS:
        problems.append(f"layer {layer.name!r}: range method {tensor.algorithm!r}; AMCT has {' and '.join(_ALGORITHMS)}")
        return {}
    spec = layer.weight_spec
    if spec and layer.weight_algorithm not in _WEIGHT_ALGORITHMS:
        problems.append(f"layer {layer.name!r}: weight algorithm {layer.weight_algorithm!r}; AMCT has arq")
    per_channel = bool(spec and spec.per_channel)
    if per_channel and not channel_wise_by_default(layer.op_type):
        problems.append(f"layer {layer.name!r}: a weight scale a channel; AMCT gives {layer.op_type} one for all")
    return {
        "quant_enable": True,
        "activation_quant_params": _activation(tensor.algorithm, dict(tensor.options), tensor.spec.bits, tensor.spec.symmetric),
        "weight_quant_params": _weight(spec.bits if spec else 8, per_channel),
    }


def _disabled(op_type: str, wanted: LayerConfig) -> dict[str, object]:
    """A layer that stays in float; settings that the format cannot say are AMCT's defaults here, as nobody reads them."""
    known = wanted.algorithm in _ALGORITHMS
    algorithm, options = (wanted.algorithm, wanted.options) if known else ("ifmr", {})
    return {
        "quant_enable": False,
        "activation_quant_params": _activation(algorithm, options, wanted.bits, wanted.symmetric),
        "weight_quant_params": _weight(
            wanted.weight_bits, bool(channel_wise_by_default(op_type)) and wanted.per_channel != "none"
        ),
    }


def _activation(algorithm: str, options: Mapping[str, Any], bits: int, symmetric: bool) -> dict[str, object]:
    observer: Any = make_observer(algorithm, options)
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(observer).items()}
    given = {"num_bits": bits, **values, "act_algo": algorithm, "asymmetric": not symmetric}
    order = [key for key in keys.ACTIVATION if key in given]
    return {key: given[key] for key in order}


def _weight(bits: int, per_channel: bool) -> dict[str, object]:
    return {"num_bits": bits, "channel_wise": per_channel, "wts_algo": _WEIGHT_ALGORITHMS["arq"]}
