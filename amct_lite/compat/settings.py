"""What both formats say of a layer, in this package's words, and how a whole file of it becomes a `QuantConfig`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from amct_lite import ir
from amct_lite.compat.problems import Problems
from amct_lite.config import Override, QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.observers import make_observer
from amct_lite.ops import OPS
from amct_lite.weights import make_weight_quantizer
from amct_lite.weights.ada import AdaRound

Options = tuple[tuple[str, object], ...]
NOT_OFFERED = "is not offered yet"
SPELLING = {"skip_fusion": "skip_fusion_layers", "tensors": "tensor_quantize"}
"""What both of AMCT's formats call keys of ours."""
LAYER_TYPES: Mapping[str, tuple[str, ...]] = {
    "Conv1d": ("Conv",),
    "Conv2d": ("Conv",),
    "Conv3d": ("Conv",),
    "ConvTranspose1d": ("ConvTranspose",),
    "ConvTranspose2d": ("ConvTranspose",),
    "ConvTranspose3d": ("ConvTranspose",),
    "Linear": ("Gemm", "MatMul"),
    "AvgPool2d": ("AveragePool",),
}
"""PyTorch's layer types, and the ONNX operators they are exported as."""


@dataclass(frozen=True)
class LayerSettings:
    """How one layer is quantized. options: all of the algorithm's. per_channel: None for what the operator has by default.
    ada: all options of ada_quantize, None for arq_quantize. balance: migration strength, 0 for none."""

    algorithm: str = "ifmr"
    options: tuple[tuple[str, object], ...] = ()
    symmetric: bool = False
    per_channel: bool | None = None
    ada: Options | None = None
    balance: float = 0.0
    bits: int = 8
    weight_bits: int = 8

    def override(self, base: LayerSettings) -> Override:
        """What a layer with these settings says where all others are like `base`."""
        other = self.algorithm != base.algorithm
        return Override(
            algorithm=self.algorithm if other else None,
            options=dict(self.options) if other or self.options != base.options else None,
            symmetric=self.symmetric if self.symmetric != base.symmetric else None,
            per_channel=self._per_channel if self.per_channel != base.per_channel else None,
            weight_algorithm=self._weight_algorithm if self.ada != base.ada else None,
            weight_options=dict(self.ada) if self.ada and self.ada != base.ada else None,
            balance=self.balance if self.balance != base.balance else None,
            bits=self.bits if self.bits != base.bits else None,
            weight_bits=self.weight_bits if self.weight_bits != base.weight_bits else None,
        )

    def tensor_override(self, base: LayerSettings) -> Override:
        """The same of a single tensor, which has no weight: of that it says nothing, whatever the layers are like."""
        weight = {"per_channel": base.per_channel, "ada": base.ada, "balance": base.balance, "weight_bits": base.weight_bits}
        return replace(self, **weight).override(base)  # type: ignore[arg-type] # fields of base

    def full_override(self) -> Override:
        """What a layer with these settings says whatever all others are like."""
        return Override(
            algorithm=self.algorithm,
            options=dict(self.options),
            symmetric=self.symmetric,
            per_channel=self._per_channel,
            weight_algorithm=self._weight_algorithm,
            weight_options=dict(self.ada or ()),
            balance=self.balance,
            bits=self.bits,
            weight_bits=self.weight_bits,
        )

    def applied_to(self, config: QuantConfig) -> QuantConfig:
        """`config` with these settings for all layers."""
        standard = not self.options or self.options == default_options(self.algorithm)
        return replace(
            config,
            algorithm=self.algorithm,
            options={} if standard else dict(self.options),
            symmetric=self.symmetric,
            per_channel=self._per_channel,
            weight_algorithm=self._weight_algorithm,
            weight_options={} if self.ada is None or self.ada == ada_options({}) else dict(self.ada),
            balance=self.balance,
            bits=self.bits,
            weight_bits=self.weight_bits,
        )

    @property
    def _weight_algorithm(self) -> str:
        return "arq" if self.ada is None else "ada"

    @property
    def _per_channel(self) -> str:
        return "auto" if self.per_channel is None else "all" if self.per_channel else "none"


def most_common(settings: Mapping[str, LayerSettings], *, symmetric: bool) -> LayerSettings:
    """The settings that most layers have, of those that agree with the file's own `symmetric`; the first of equals."""
    agreeing = Counter(layer for layer in settings.values() if layer.symmetric == symmetric)
    return agreeing.most_common(1)[0][0] if agreeing else LayerSettings(symmetric=symmetric)


def default_options(algorithm: str) -> tuple[tuple[str, object], ...]:
    """All options of a range method at their defaults, in the order of its definition."""
    observer = make_observer(algorithm, {})
    return tuple(dataclasses.asdict(observer).items())  # type: ignore[call-overload]  # all observers are dataclasses


def with_defaults(algorithm: str, given: Mapping[str, object]) -> tuple[tuple[str, object], ...]:
    """The same with `given` in place."""
    return tuple((name, given.get(name, value)) for name, value in default_options(algorithm))


def option_problem(algorithm: str, options: Mapping[str, object]) -> str:
    """Why the range method does not take these values; empty when it does."""
    try:
        make_observer(algorithm, options)
    except ConfigError as error:
        return str(error).removeprefix(f"{algorithm}: ").rstrip(".")
    return ""


def ada_options(given: Mapping[str, object]) -> Options:
    """All options of ada_quantize in the order of its definition, with `given` (which pass `ada_problem`) in place."""
    return tuple(dataclasses.asdict(AdaRound(**given)).items())  # type: ignore[arg-type]  # checked


def ada_problem(options: Mapping[str, object]) -> str:
    """Why ada_quantize does not take these values; empty when it does."""
    try:
        make_weight_quantizer("ada", options)
    except ConfigError as error:
        return str(error).removeprefix("ada: ").rstrip(".")
    return ""


def channel_wise_by_default(op_type: str) -> bool | None:
    """Whether the operator has a weight scale a channel on the NPU; None for an operator that is not quantized."""
    spec = OPS.find(op_type)
    return None if spec is None else spec.per_channel_on_ascend


def channel_wise(value: bool | None, op_type: str | None) -> bool | None:
    """None where `value` is what the operator has by default anyway."""
    by_default = channel_wise_by_default(op_type) if op_type else None
    return None if value == by_default else value


def node_types(model: ir.Model | None) -> dict[str, str]:
    """Operator type of every node of the main graph; empty without a model."""
    return {str(node.name): node.op_type for node in model.graph} if model is not None else {}


def require_some_layer(config: QuantConfig, types: Mapping[str, str], problems: Problems) -> None:
    """A problem when `config` leaves every layer of the model in float."""
    layers = {name: op_type for name, op_type in types.items() if OPS.find(op_type) is not None}
    if layers and not config.tensors and all(config.for_layer(name, op_type).skip for name, op_type in layers.items()):
        problems.add(None, f"nothing is quantized: all {len(layers)} layers of the model are skipped. Enable one at least")
