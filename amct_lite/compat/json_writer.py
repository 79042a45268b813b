"""Writes AMCT's JSON configuration: root settings in AMCT's order, every quantizable layer, sorted by name, single tensors."""

from __future__ import annotations

import json

from amct_lite.compat import json_keys as keys
from amct_lite.compat.planned import PlannedLayer, planned_layers, planned_tensors
from amct_lite.compat.settings import LayerSettings, Options
from amct_lite.config import QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.types import QuantPlan


def json_text(plan: QuantPlan, config: QuantConfig) -> str:
    """The file's content for `plan`, which was made of `config`: its layers are enabled, those that `config` skips are not.

    Raises ConfigError with every layer whose settings, or name, the format has no words for.
    """
    layers = planned_layers(plan, config)
    if taken := [name for name in layers if name in keys.ROOT]:
        raise ConfigError(
            f"layer {taken[0]!r} has the name of a root key of AMCT's JSON. Give the node another name, or write .cfg."
        )
    root: dict[str, object] = {
        "version": 1,
        "batch_num": config.batches or 1,
        "activation_offset": not config.symmetric,
        "joint_quant": config.joint_quant,
        "weight_offset": False,
        "do_fusion": config.fusion,
        "skip_fusion_layers": list(config.skip_fusion),
    }
    tensors = [
        {"layer_name": read.node, "input_index": read.index, "activation_quant_params": _activation(settings)}
        for read, settings in planned_tensors(plan, config)
    ]
    content = {**root, **{name: _table(layer) for name, layer in layers.items()}, "tensor_quantize": tensors}
    return laid_out(content)


def laid_out(content: object) -> str:
    """JSON as AMCT's own files have it."""
    return json.dumps(content, indent=4, separators=(",", ":"), ensure_ascii=False) + "\n"


def _table(layer: PlannedLayer) -> dict[str, object]:
    return {
        "quant_enable": layer.enabled,
        **({"dmq_balancer_param": layer.settings.balance} if layer.settings.balance else {}),
        "activation_quant_params": _activation(layer.settings),
        "weight_quant_params": {
            "num_bits": layer.settings.weight_bits,
            "channel_wise": layer.channel_wise,
            **_weight_method(layer.settings),
        },
    }


def _activation(settings: LayerSettings) -> dict[str, object]:
    options = _listed(settings.options)
    given = {"num_bits": settings.bits, **options, "act_algo": settings.algorithm, "asymmetric": not settings.symmetric}
    return {key: given[key] for key in keys.ACTIVATION if key in given}


def _weight_method(settings: LayerSettings) -> dict[str, object]:
    if settings.ada is None:
        return {"wts_algo": "arq_quantize"}
    return {"wts_algo": "ada_quantize", **_listed(settings.ada)}


def _listed(options: Options) -> dict[str, object]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options}
