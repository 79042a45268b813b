"""The transform: prepared model and factors → balanced model.

    x → layer(W)        becomes        x → Mul(1 / f) → layer(W · f along its input channels)

The Mul is `<layer>.mul`, its constant `<layer>.tensor_balance_factor` (contract, section 5); each layer has its own. Where
`fold` is asked for, 1 / f goes into the weights in front if it can.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.balance import fold
from amct_lite.errors import ExportError
from amct_lite.ops import Layer, bind
from amct_lite.passes.constants import set_constant
from amct_lite.types import Balance, FloatArray, Skip

FACTOR = "tensor_balance_factor"


@dataclass(frozen=True)
class Balanced:
    """model: computes what the model it was made from computes, up to rounding. folded: the layers without a Mul.
    skips: the layers that keep one although folding was asked for, with the reasons."""

    model: ir.Model
    folded: tuple[str, ...] = ()
    skips: tuple[Skip, ...] = ()


def balance_model(model: ir.Model, balance: Balance) -> Balanced:
    """`model` (prepared, not modified) with the layers of `balance` balanced.

    Raises ExportError that names a layer whose input cannot be balanced, or whose weight would overflow.
    """
    result = ir.clone(model)
    folded: list[str] = []
    skips: list[Skip] = []
    layers = balanced_layers(result, balance.factors)
    for readers in _groups(layers, balance):
        reason = fold.fold(readers, _array(balance, readers[0])) if balance.fold else ""
        if balance.fold and not reason:
            folded += [layer.name for layer in readers]
            continue
        for layer in readers:
            _insert_mul(layer, _array(balance, layer))
            skips += [Skip(layer.name, layer.op_type, reason)] if reason else []
    for layer in layers:
        _scale_weight(layer, _array(balance, layer))
    ir.remove_unused(result)
    return Balanced(result, tuple(folded), tuple(skips))


def factors_in(model: ir.Model) -> dict[str, tuple[float, ...]]:
    """Layer → the factors of its Mul, of a model that was balanced without folding; as exact as 1 / (1 / f) is."""
    found: dict[str, tuple[float, ...]] = {}
    for node in model.graph:
        layer = str(node.name).removesuffix(".mul")
        constant = ir.constant_of(model.graph.initializers.get(f"{layer}.{FACTOR}"))
        if node.op_type == "Mul" and layer != node.name and constant is not None:
            found[layer] = tuple((np.float32(1) / constant.reshape(-1)).tolist())
    return found


def balanced_layers(model: ir.Model, names: Iterable[str]) -> tuple[Layer, ...]:
    """The layers called `names`, in the order of the graph. Raises ExportError for one that cannot be balanced."""
    wanted = set(names)
    found: list[Layer] = []
    for node in model.graph:
        if node.name not in wanted:
            continue
        layer = bind(node)
        refusal = layer.balance_refusal if isinstance(layer, Layer) else layer or "it is no layer that is quantized"
        if refusal or not isinstance(layer, Layer):
            raise ExportError(f"the input of {node.name} ({node.op_type}) cannot be balanced: {refusal}. Remove its {FACTOR}.")
        found.append(layer)
    return tuple(found)


def _groups(layers: Iterable[Layer], balance: Balance) -> list[tuple[Layer, ...]]:
    """Layers that read one tensor with equal factors along the same axis, together; factors of 1 need nothing."""
    groups: dict[tuple[object, ...], list[Layer]] = {}
    for layer in layers:
        factors = balance.factors[layer.name]
        if any(factor != 1.0 for factor in factors):
            groups.setdefault((layer.node.inputs[layer.data[0]], layer.channel_axis, factors), []).append(layer)
    return [tuple(group) for group in groups.values()]


def _array(balance: Balance, layer: Layer) -> FloatArray:
    factors = np.array(balance.factors[layer.name], dtype=np.float32)
    if factors.shape != (layer.input_channels,):
        raise ExportError(f"{layer.name} has {layer.input_channels} input channels, but {factors.size} {FACTOR}.")
    return factors


def _insert_mul(layer: Layer, factors: FloatArray) -> None:
    source, graph = layer.node.inputs[layer.data[0]], layer.node.graph
    assert source is not None
    assert graph is not None
    inverse = fold.along_channels(np.float32(1) / factors, layer)
    constant = ir.add_initializer(graph, f"{layer.name}.{FACTOR}", inverse)
    mul = ir.new_node("Mul", [source, constant], name=ir.unique_name(graph, f"{layer.name}.mul"))
    ir.insert_before(layer.node, mul)
    mul.outputs[0].shape, mul.outputs[0].type = source.shape, source.type
    ir.replace_input(layer.node, layer.data[0], mul.outputs[0])


def _scale_weight(layer: Layer, factors: FloatArray) -> None:
    """Multiply the weight along its input channels, for this layer alone where others read it, too."""
    weight = layer.weight_array
    assert layer.weight is not None
    with np.errstate(over="ignore"):
        rows = (layer.input_rows(weight).astype(np.float64) * factors[:, None]).astype(np.float32)
    if not np.isfinite(rows).all():
        raise ExportError(f"the weight of {layer.name} ({layer.op_type}) times its {FACTOR} is too large for float32.")
    if np.any(factors != 1):
        set_constant(layer.node, layer.weight, layer.from_input_rows(rows, weight.shape))
