"""Writes AMCT's simplified configuration: what most layers share as common_config, the others as overrides by name."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf import text_format

from amct_lite.compat.cfg_schema import AMCTConfig
from amct_lite.compat.planned import planned_layers, planned_tensors
from amct_lite.compat.settings import LayerSettings, Options, most_common
from amct_lite.config import QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.types import QuantPlan


def cfg_text(plan: QuantPlan, config: QuantConfig) -> str:
    """The file's content for `plan`, which was made of `config`.

    Raises ConfigError with every layer whose settings the format has no words for.
    """
    layers = planned_layers(plan, config)
    enabled = {name: layer.settings for name, layer in layers.items() if layer.enabled}
    if rounded := [name for name, settings in enabled.items() if settings.ada is not None and settings.weight_bits != 8]:
        raise ConfigError(f"layer {rounded[0]!r} has ada_quantize with other than 8 bits, for which .cfg has no word.")
    if narrow := [name for name, settings in enabled.items() if settings.bits == 4]:
        raise ConfigError(f"layer {narrow[0]!r} has 4-bit data, for which .cfg has no word (its dst_type is INT8 or INT16).")
    base = most_common(enabled, symmetric=config.symmetric)
    lines = [f"batch_num: {config.batches or 1}", f"activation_offset: {_word(not config.symmetric)}"]
    lines += ["joint_quant: true"] * config.joint_quant + ["do_fusion: false"] * (not config.fusion)
    lines += [f"skip_fusion_layers: {_quoted(name)}" for name in config.skip_fusion]
    lines += [f"skip_layers: {_quoted(name)}" for name, layer in layers.items() if not layer.enabled]
    lines += ["common_config {", *_settings(base, "  "), "}"]
    for name, settings in enabled.items():
        if settings != base:
            lines += ["override_layer_configs {", f"  layer_name: {_quoted(name)}"]
            lines += ["  calibration_config {", *_settings(settings, "    "), "  }", "}"]
    for read, tensor in planned_tensors(plan, config):
        lines += ["tensor_quantize {", f"  layer_name: {_quoted(read.node)}", f"  input_index: {read.index}"]
        lines += [*_activation(tensor, "  "), "}"]
    return "\n".join(lines) + "\n"


def _settings(settings: LayerSettings, indent: str) -> Iterator[str]:
    weight = [] if settings.per_channel is None else [f"channel_wise: {_word(settings.per_channel)}"]
    if settings.ada is not None:
        yield f"{indent}ada_quantize {{ {' '.join([*_options(settings.ada), *weight])} }}"
    elif weight := weight + ([] if settings.weight_bits == 8 else [f"quant_bits: {settings.weight_bits}"]):
        yield f"{indent}arq_quantize {{ {' '.join(weight)} }}"
    yield from _activation(settings, indent)


def _activation(settings: LayerSettings, indent: str) -> Iterator[str]:
    yield f"{indent}{settings.algorithm}_quantize {{"
    yield from (f"{indent}  {line}" for line in _options(settings.options))
    if settings.bits != 8:
        yield f"{indent}  dst_type: INT{settings.bits}"
    yield f"{indent}  asymmetric: {_word(not settings.symmetric)}"
    yield f"{indent}}}"
    if settings.balance:
        yield f"{indent}dmq_balancer {{ migration_strength: {settings.balance} }}"


def _options(options: Options) -> Iterator[str]:
    for name, value in options:
        if isinstance(value, tuple):
            yield f"{name}_start: {value[0]}"
            yield f"{name}_end: {value[1]}"
        else:
            yield f"{name}: {value}"


def _word(value: bool) -> str:
    return "true" if value else "false"


def _quoted(name: str) -> str:
    """`name` as protobuf text spells a string."""
    message = AMCTConfig(skip_layers=[name])
    return text_format.MessageToString(message, as_utf8=True, as_one_line=True).removeprefix("skip_layers: ").rstrip()
