"""Which tensors of two models are the same tensor: by name, and by the names that exporters give to the results of layers.

The models are brought into a form that ONNX Runtime executes node by node: a deploy model in its executable form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amct_lite import ir
from amct_lite.calibration.feeds import input_specs
from amct_lite.diagnosis.requantizing import is_deploy
from amct_lite.errors import ConfigError
from amct_lite.exporters.rewrites.convs import GROWN
from amct_lite.ops import Layer, bind
from amct_lite.passes import prepare
from amct_lite.validate.lowering import lower

_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class Match:
    """One tensor of the float model, and what it is called in the other; node: who computes it in the float model. more: how
    many channels the other model's has behind them."""

    name: str
    other: str
    node: str
    op_type: str
    more: int = 0


@dataclass(frozen=True)
class Matched:
    """exact: the float model, prepared where the other is quantized. other: executable. matches: in the order of the graph.
    unmatched: float tensors of `exact` that the other model does not have."""

    exact: ir.Model
    other: ir.Model
    matches: tuple[Match, ...]
    unmatched: tuple[str, ...]


def match(exact: ir.Model, other: ir.Model, names: tuple[str, str]) -> Matched:
    """Pair the tensors of a float model with those of `other`; neither is modified. names: what messages call them.

    Raises ConfigError where inputs or outputs differ or only the first is quantized, VerificationError for a deploy model that
    cannot be executed.
    """
    _require_same_ends(exact, other, names)
    if _is_quantized(exact) and not _is_quantized(other):
        raise ConfigError("the first model is quantized and the second one is not. The float model comes first: swap them.")
    renamed: dict[str, str] = {}
    if is_deploy(other):
        lowered = lower(other)
        exact, other = prepare(exact).model, ir.clone(lowered.model)
        results = {layer.name: layer.result for layer in lowered.layers}
        renamed = {_output_of(node): results[str(node.name)] for node in exact.graph if node.name in results}
    elif _is_quantized(other):
        exact = prepare(exact).model
    exact, other = ir.clone(exact), ir.clone(other)
    for model in (exact, other):
        ir.infer_shapes(model)
    produced = {str(v.name): v for node in other.graph for v in node.outputs if _is_float(v)}
    matches, unmatched = [], []
    for node in exact.graph:
        for value in node.outputs:
            name = str(value.name)
            if not name or not _is_float(value):
                continue
            theirs = renamed.get(name, name)
            grown = produced.get(f"{theirs}{GROWN}")
            if theirs in produced:
                matches.append(Match(name, theirs, str(node.name), node.op_type))
            elif grown is not None and (more := _more_channels(value, grown)):
                matches.append(Match(name, str(grown.name), str(node.name), node.op_type, more))
            else:
                unmatched.append(name)
    return Matched(exact, other, tuple(matches), tuple(unmatched))


def _more_channels(value: ir.Value, grown: ir.Value) -> int:
    """0 where it is not known how many, or where there are none."""
    ours, theirs = (dims[1] if dims is not None and len(dims) > 1 else None for dims in map(ir.dims_of, (value, grown)))
    return theirs - ours if isinstance(ours, int) and isinstance(theirs, int) and theirs > ours else 0


def _is_quantized(model: ir.Model) -> bool:
    return is_deploy(model) or any(node.op_type in _QUANTIZED for node in model.graph)


def _output_of(node: ir.Node) -> str:
    """Where the result of a layer stands: behind the bias Add of a MatMul."""
    layer = bind(node)
    return str((layer.output if isinstance(layer, Layer) else node.outputs[0]).name)


def _is_float(value: ir.Value) -> bool:
    return value.dtype in {None, ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE}


def _require_same_ends(exact: ir.Model, other: ir.Model, names: tuple[str, str]) -> None:
    for what in ("inputs", "outputs"):
        ours, theirs = (_names(getattr(model.graph, what)) for model in (exact, other))
        if set(ours) != set(theirs):
            raise _unlike(what, names, ", ".join(ours), ", ".join(theirs))
    second = {spec.name: spec for spec in input_specs(other)}
    for spec in input_specs(exact):
        if spec.name in second and not _can_be_equal(spec.shape, second[spec.name].shape):
            raise _unlike("inputs", names, *(f"{spec.name} {found.shape_text}" for found in (spec, second[spec.name])))


def _names(values: Sequence[ir.Value]) -> list[str]:
    return [str(value.name) for value in values if not value.is_initializer()]


def _can_be_equal(ours: ir.Dims | None, theirs: ir.Dims | None) -> bool:
    """Unless both fix a dimension, each at another size."""
    if ours is None or theirs is None:
        return True
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def _unlike(what: str, names: tuple[str, str], first: str, second: str) -> ConfigError:
    return ConfigError(
        f"the {what} differ: the first model ({names[0]}) has {first}, the second ({names[1]}) {second}. "
        f"Compare models of one network, whose {what} have the same names and sizes."
    )
