"""A plan in the words that both of AMCT's formats have, or the reason why they have none."""

from __future__ import annotations

from dataclasses import dataclass, replace

from amct_lite.compat.settings import LayerSettings, ada_options, channel_wise, channel_wise_by_default, with_defaults
from amct_lite.config import LayerConfig, QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.ops import OPS
from amct_lite.types import LayerPlan, QuantPlan, QuantSpec, TensorPlan, TensorRead

_ALGORITHMS = ("ifmr", "hfmg")
_WEIGHT_ALGORITHMS = ("arq", "ada")
_NO_DATA = TensorPlan("", QuantSpec(), None, 1, "ifmr")
"""What AMCT's formats, in which each layer has data, say of a table."""


@dataclass(frozen=True)
class PlannedLayer:
    """A layer of a plan, or one that the configuration skips (not enabled). channel_wise: never None."""

    op_type: str
    settings: LayerSettings
    channel_wise: bool
    enabled: bool


def planned_layers(plan: QuantPlan, config: QuantConfig) -> dict[str, PlannedLayer]:
    """The layers of `plan`, which was made of `config`, and those that `config` skips, sorted by name.

    Raises ConfigError with every layer whose settings AMCT has no words for.
    """
    problems: list[str] = []
    layers = {layer.name: _planned(layer, problems) for layer in plan.layers}
    for skip in plan.skips:
        wanted = config.for_layer(skip.node, skip.op_type)
        if wanted.skip and OPS.find(skip.op_type) is not None:
            layers[skip.node] = _skipped(skip.op_type, wanted)
    if problems:
        raise ConfigError("\n  ".join([f"{config.where} cannot be said in AMCT's formats:", *problems]))
    return {name: layers[name] for name in sorted(layers)}


def planned_tensors(plan: QuantPlan, config: QuantConfig) -> tuple[tuple[TensorRead, LayerSettings], ...]:
    """The single tensors of `plan`, which was made of `config`, with their settings.

    Raises ConfigError with every tensor whose range method AMCT has no word for.
    """
    problems = [
        f"tensor {read.key}: range method {read.tensor.algorithm!r}; AMCT has {' and '.join(_ALGORITHMS)}"
        for read in plan.reads
        if read.tensor.algorithm not in _ALGORITHMS
    ]
    if problems:
        raise ConfigError("\n  ".join([f"{config.where} cannot be said in AMCT's formats:", *problems]))
    return tuple((read, _activation(read.tensor)) for read in plan.reads)


def _activation(tensor: TensorPlan) -> LayerSettings:
    options = with_defaults(tensor.algorithm, dict(tensor.options))
    return LayerSettings(tensor.algorithm, options, tensor.spec.symmetric, bits=tensor.spec.bits)


def left_out(config: QuantConfig) -> tuple[str, ...]:
    """What `config` asks for that AMCT's formats have no word for and that can be asked for elsewhere, as sentences."""
    plain = QuantConfig()
    names = ("target", "bias_correction", "trust_data", "input_shapes", "balance_fold")
    sentences = [
        f"{name} is left out: AMCT's configuration has no word for it. Pass it on the command line."
        for name in names
        if getattr(config, name) != getattr(plain, name)
    ]
    if config.float16:
        sentences.append(
            "float16 is left out: AMCT's configuration has no word for it. ATC takes float16 for float layers anyway."
        )
    if config.batches is None:
        sentences.append(
            "batch_num is 1, AMCT's default: its configuration has no word for all batches. Give a number of batches."
        )
    return tuple(sentences)


def _planned(layer: LayerPlan, problems: list[str]) -> PlannedLayer:
    tensor, spec = layer.inputs[0] if layer.inputs else _NO_DATA, layer.weight_spec
    per_channel = bool(spec and spec.per_channel)
    algorithm = tensor.algorithm
    if algorithm not in _ALGORITHMS:
        problems.append(f"layer {layer.name!r}: range method {algorithm!r}; AMCT has {' and '.join(_ALGORITHMS)}")
    if spec and layer.weight_algorithm not in _WEIGHT_ALGORITHMS:
        known = " and ".join(_WEIGHT_ALGORITHMS)
        problems.append(f"layer {layer.name!r}: weight algorithm {layer.weight_algorithm!r}; AMCT has {known}")
    if per_channel and not channel_wise_by_default(layer.op_type):
        problems.append(f"layer {layer.name!r}: a weight scale a channel; AMCT gives {layer.op_type} one for all")
    options = with_defaults(algorithm, dict(tensor.options))
    said = None if spec is None else channel_wise(per_channel, layer.op_type)
    ada = ada_options(dict(layer.weight_options)) if layer.weight_algorithm == "ada" else None
    bits, weight_bits = tensor.spec.bits, spec.bits if spec else 8
    settings = LayerSettings(algorithm, options, tensor.spec.symmetric, said, ada, layer.balance, bits, weight_bits)
    return PlannedLayer(layer.op_type, settings, per_channel, enabled=True)


def _skipped(op_type: str, wanted: LayerConfig) -> PlannedLayer:
    """What would hold for the layer if somebody enabled it. Settings that AMCT cannot say are its defaults here."""
    algorithm = wanted.algorithm if wanted.algorithm in _ALGORITHMS else "ifmr"
    options = with_defaults(algorithm, wanted.options if algorithm == wanted.algorithm else {})
    per_channel = bool(channel_wise_by_default(op_type)) and wanted.per_channel != "none"
    settings = LayerSettings(algorithm, options, wanted.symmetric, channel_wise(per_channel, op_type), bits=wanted.bits)
    if OPS.get(op_type).input_axis is not None:  # it has a weight
        ada = ada_options(wanted.weight_options) if wanted.weight_algorithm == "ada" else None
        settings = replace(settings, ada=ada, balance=wanted.balance, weight_bits=wanted.weight_bits)
    return PlannedLayer(op_type, settings, per_channel, enabled=False)
