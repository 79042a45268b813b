"""The keys of AMCT's JSON configuration, in its order, and what each value must be.

A check raises `BadValueError` with the end of a sentence that begins with the value. What AMCT knows and this package does
not do yet is told apart from what AMCT would refuse, too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from amct_lite.compat.settings import NOT_OFFERED
from amct_lite.config import values
from amct_lite.config.values import BadValueError, Check


def as_json(value: object) -> str:
    """`value` as the file spells it."""
    return json.dumps(value, ensure_ascii=False)


def _only(wanted: object, check: Check, remedy: str) -> Check:
    """A valid value of which only `wanted` is offered."""

    def checked(value: object) -> object:
        if check(value) != wanted:
            raise BadValueError(f"{NOT_OFFERED}: {remedy}")
        return value

    return checked


def _table(value: object) -> object:
    if not isinstance(value, dict):
        raise BadValueError("must be a table of settings")
    return value


def _batch_num(value: object) -> object:
    if value is None:
        raise BadValueError("must be a whole number of batches, 1 or more")
    return values.batches(value)


def balancer(value: object) -> object:
    """A migration strength."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.2 <= value <= 0.8:
        raise BadValueError("must be a number from 0.2 to 0.8")
    return float(value)


def _tensors(value: object) -> object:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadValueError("must be a list of tables with layer_name, input_index and activation_quant_params")
    return value


def _index(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise BadValueError("must be the number of an input, 0 or more")
    return value


def _unchecked(value: object) -> object:
    """For what another part looks at together with its neighbours."""
    return value


ROOT: Mapping[str, Check] = {
    "version": values.one_of((1,)),
    "batch_num": _batch_num,
    "activation_offset": values.boolean,
    "joint_quant": values.boolean,
    "weight_offset": _only(False, values.boolean, "weights have offset 0. Use false"),
    "do_fusion": values.boolean,
    "skip_fusion_layers": values.names,
    "tensor_quantize": _tensors,
}
KEPT = {"joint_quant": "joint_quant", "do_fusion": "fusion", "skip_fusion_layers": "skip_fusion"}
"""Root keys that are fields of `QuantConfig`, under its names."""
LAYER: Mapping[str, Check] = {
    "quant_enable": values.boolean,
    "dmq_balancer_param": balancer,
    "activation_quant_params": _table,
    "weight_quant_params": _table,
}
TENSOR: Mapping[str, Check] = {"layer_name": values.name, "input_index": _index, "activation_quant_params": _table}
"""The keys of one item of `tensor_quantize`."""
OPTION_OF = {
    "max_percentile": "ifmr",
    "min_percentile": "ifmr",
    "search_range": "ifmr",
    "search_step": "ifmr",
    "num_of_bins": "hfmg",
}
"""Which range method an option belongs to. Their values are checked by the method."""
ACTIVATION: Mapping[str, Check] = {
    "num_bits": values.one_of(values.ACTIVATION_BITS),
    "max_percentile": _unchecked,
    "min_percentile": _unchecked,
    "search_range": _unchecked,
    "search_step": _unchecked,
    "act_algo": values.one_of(("ifmr", "hfmg")),
    "asymmetric": values.boolean,
    "num_of_bins": _unchecked,
}
WEIGHT_ALGORITHMS = {"arq_quantize": "arq", "ada_quantize": "ada"}
"""AMCT's names of weight methods, and this package's."""
ADA_OPTIONS = ("num_iteration", "reg_param", "beta_range", "warm_start")
WEIGHT: Mapping[str, Check] = {
    "num_bits": values.one_of(values.WEIGHT_BITS),
    "channel_wise": values.boolean,
    "wts_algo": values.one_of(tuple(WEIGHT_ALGORITHMS)),
    **dict.fromkeys(ADA_OPTIONS, _unchecked),
}
