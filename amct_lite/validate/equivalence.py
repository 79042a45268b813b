"""Proves on data that the deploy model and the fake-quant model compute the same.

Both are executed. The fake-quant model is *guided*: in front of every layer it continues from the integer codes that the
deploy model computed, so that a rounding difference in one layer cannot hide or fake one in another; so it does behind nodes
where the last bit decides (`steps`). Compared are the codes that each side computes for every quantized tensor, what becomes of
the codes of a single tensor when they are floats again, the accumulators of every layer, what goes into the nodes that decide,
and the network's outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.errors import CalibrationError, VerificationError
from amct_lite.exporters.ascend import quant_name
from amct_lite.exporters.pairs import UNSIGNED_SHIFT, quantizer_in_front
from amct_lite.numerics.metrics import same_where_not_finite
from amct_lite.runtime import MISINFERRED, RuntimeOptions, Session, beside_others, message_of, open_session
from amct_lite.types import AnyArray, Feeds
from amct_lite.validate.lowering import Lowered, LoweredLayer, lower
from amct_lite.validate.steps import guide_steps, unsized

FLOAT_STEPS = 2.0**-16
"""Share of the largest accumulator that a float32 kernel may be off by: each addition rounds to 24 bits, and a thousand
products of one sign round the same way again and again (2^-17 seen on GoogLeNet with constant weights)."""
TIE_DISTANCE = 0.02
"""A code may differ by one where the value lies this close, in steps, to the middle between two codes: x · (1/scale) and
x / scale round differently there, and the float layers in front (a logarithm, a normalization) enlarge the last bit.
That is 2^-13.6 of the range, or five of its steps where there are 65,536 of them."""
MOST_VALUES = 1 << 22
"""A sample runs in both models without any optimization; four million accumulators leave no layer unseen."""
OUTPUT_TOLERANCE = 1e-3
"""Allowed difference of the network's outputs, relative to their largest value, after float layers of any kind."""
OUTPUT_NOISE = 1e-6
"""Allowed in any case: a sigmoid or softmax kernel is exact to float32's last bit of 1, however small its results are."""
UNBOUNDED_SHARE = 0.01
"""Of an output's values, those that may be infinite or NaN on one side alone: the last bit decides whether a logarithm or a
root is of 0, or of less."""


@dataclass(frozen=True)
class _Quantized:
    """One quantized tensor of the guided model: names of the codes it is given and computes, and of their float source.
    unsigned: its codes lie 128 higher than those of the deploy model."""

    given: str
    computed: str
    source: str
    scale: float
    unsigned: bool

    def of_deploy(self, codes: AnyArray) -> AnyArray:
        """Codes of the deploy model as the guided model has them."""
        return (codes.astype(np.int16) + UNSIGNED_SHIFT).astype(np.uint8) if self.unsigned else codes

    def as_deploy(self, codes: AnyArray) -> AnyArray:
        """The way back."""
        return (codes.astype(np.int16) - UNSIGNED_SHIFT).astype(np.int8) if self.unsigned else codes


@dataclass(frozen=True)
class _Guided:
    """The fake-quant model with codes as inputs. codes: AscendQuant → its tensor; results: layer → name of its float output;
    restored: AscendAntiQuant → name of what its reader gets. All that is named here is an output of `model`."""

    model: ir.Model
    codes: dict[str, _Quantized]
    results: dict[str, str]
    restored: dict[str, str]


@dataclass(frozen=True)
class Equivalence:
    """What was compared: so many layers and single tensors. code_mismatch: share of codes that differ (by one step).
    accumulator_error: largest difference in accumulator steps beyond what float32 can tell; output_error: of the outputs, and
    of what goes into nodes that decide, relative to the largest value. int32_share: how much of int32 the accumulators of
    16-bit data needed at most; 0 without such layers."""

    samples: int
    layers: int
    code_mismatch: float
    accumulator_error: float
    output_error: float
    tensors: int = 0
    int32_share: float = 0.0


def verify_deploy(
    deploy: ir.Model, fake_quant: ir.Model, data: Iterable[Feeds], options: RuntimeOptions | None = None
) -> Equivalence:
    """Run both on `data` until MOST_VALUES accumulators are compared, at least once.

    `data` must have the static shapes of `deploy`. Raises VerificationError at the first difference that rounding does not
    explain.
    """
    chosen = beside_others(options or RuntimeOptions(), fake_quant)
    lowered = lower(deploy)
    guided = _guided(fake_quant, lowered)
    steps = guide_steps(guided.model, lowered.model)
    reference = open_session(guided.model, chosen, optimize=False)
    deployed = open_session(lowered.model, chosen, optimize=False)
    outputs = [str(value.name) for value in fake_quant.graph.outputs]
    floats = [*(read for step in steps for read in step.reads), *((f"output {name!r}", name, name) for name in outputs)]
    decided = {name for step in steps for name in step.decided}
    order = _order(lowered)
    accumulators = [layer.accumulators for layer in lowered.layers]
    results = {given: name for step in steps for name, given in step.results}
    watched = (*accumulators, *lowered.restored.values(), *(name for _, name, _ in floats), *results.values())
    wanted = tuple(dict.fromkeys((*lowered.codes.values(), *watched)))
    samples, compared, mismatch, error, output_error, share = 0, 0, 0.0, 0.0, 0.0, 0.0
    for feeds in data:
        ours = _outputs(deployed, feeds, wanted, fake_quant, chosen)
        given = {tensor.given: tensor.of_deploy(ours[lowered.codes[quant]]) for quant, tensor in guided.codes.items()}
        given |= {name: ours[result] for name, result in results.items()}
        theirs = feeds | _outputs(reference, {**feeds, **given}, reference.output_names, fake_quant, chosen)
        for name, restored in lowered.restored.items():  # from equal codes: no difference can come from elsewhere
            _compare_restored(name, ours[restored], theirs[guided.restored[name]])
        for quants, layer in order:
            for quant in quants:
                tensor = guided.codes[quant]
                codes = ours[lowered.codes[quant]], tensor.as_deploy(theirs[tensor.computed])
                mismatch = max(mismatch, _compare_codes(quant, *codes, theirs[tensor.source], tensor.scale))
            if layer is not None:
                share = max(share, _int32_share(layer, ours[layer.accumulators]))
                error = max(error, _compare_layer(layer, ours[layer.accumulators], theirs[guided.results[layer.name]]))
        for what, name, other in floats:
            if name not in decided:
                output_error = max(output_error, _compare_floats(what, ours[name], theirs[other]))
        samples += 1
        compared += sum(ours[name].size for name in accumulators)
        if compared >= MOST_VALUES:
            break
    return Equivalence(samples, len(lowered.layers), mismatch, error, output_error, len(lowered.restored), share)


def _outputs(
    session: Session, feeds: Feeds, names: Sequence[str], fake_quant: ir.Model, options: RuntimeOptions
) -> dict[str, AnyArray]:
    """By name. Raises VerificationError where the sizes that the deploy model knows are to blame that it cannot be run: where
    `fake_quant` can."""
    try:
        return dict(zip(names, session.run(feeds, names), strict=True))
    except CalibrationError as error:
        plain = open_session(fake_quant, options)
        plain.run({name: feeds[name] for name in plain.input_names})
        raise VerificationError(
            "the deploy model cannot be run on samples on which the fake-quant model can: "
            f"{message_of(error.__cause__ or error)} {MISINFERRED}"
        ) from error


def _order(lowered: Lowered) -> list[tuple[list[str], LoweredLayer | None]]:
    """What is compared after what: each layer behind its own AscendQuants, in the order of the graph, so that a difference is
    found where it arises; then the AscendQuants of single tensors."""
    own = [
        ([name for name in (quant_name(layer.name, 0), quant_name(layer.name, 1)) if name in lowered.codes], layer)
        for layer in lowered.layers
    ]
    taken = {name for names, _ in own for name in names}
    return [*own, ([name for name in lowered.codes if name not in taken], None)]


def _guided(fake_quant: ir.Model, lowered: Lowered) -> _Guided:
    model = ir.clone(fake_quant)
    graph = model.graph
    nodes = {str(node.name): node for node in graph}
    shapes = {str(value.name): ir.dims_of(value) for value in lowered.model.graph.outputs}
    codes: dict[str, _Quantized] = {}
    for quant in lowered.codes:
        node = _counterpart(nodes, quant)
        computed = node.outputs[0]
        source, scale = node.inputs[0], ir.constant_of(node.inputs[1])
        assert source is not None
        assert scale is not None
        zero_point = ir.constant_of(node.inputs[2])
        assert zero_point is not None
        dtype = ir.DataType.from_numpy(zero_point.dtype)
        given = ir.new_input(model, f"{computed.name}.given", dtype, unsized(shapes[lowered.codes[quant]]))
        ir.redirect(computed, given, ir.uses(computed))
        if not computed.is_graph_output():
            graph.outputs.append(computed)
        if not source.is_graph_input() and not source.is_graph_output():
            graph.outputs.append(source)
        unsigned = dtype == ir.DataType.UINT8
        codes[quant] = _Quantized(str(given.name), str(computed.name), str(source.name), float(scale), unsigned)
    results = {layer.name: _result_of(nodes[layer.name]) for layer in lowered.layers}
    restored = {name: _read_through(nodes, name) for name in lowered.restored}
    watched = dict.fromkeys((*results.values(), *restored.values()))
    graph.outputs.extend(value for value in watched if not value.is_graph_output())
    return _Guided(model, codes, _names(results), _names(restored))


def _counterpart(nodes: dict[str, ir.Node], quant: str) -> ir.Node:
    """The QuantizeLinear of the fake-quant model that computes the codes of the AscendQuant `quant`."""
    name, _, position = quant.rpartition(".quant")
    node = nodes.get(name)
    if node is not None and node.op_type != "QuantizeLinear":  # of an output that is codes, the node itself is it
        node = quantizer_in_front(node.inputs[int(position or 0)])
    if node is None:
        raise VerificationError(f"{quant} of the deploy model has no counterpart in the fake-quant model.")
    return node


def _names(values: dict[str, ir.Value]) -> dict[str, str]:
    return {key: str(value.name) for key, value in values.items()}


def _read_through(nodes: dict[str, ir.Node], anti_quant: str) -> ir.Value:
    """What the reader of an AscendAntiQuant gets in the fake-quant model."""
    node, _, index = anti_quant.rpartition(".anti_quant")
    value = nodes[node].inputs[int(index or 0)]
    assert value is not None
    return value


def _result_of(node: ir.Node) -> ir.Value:
    """Behind the bias Add, whose constant comes through a DequantizeLinear, where there is one."""
    value = node.outputs[0]
    for usage in ir.uses(value):
        if usage.node.op_type == "Add" and usage.idx == 0:
            other = usage.node.inputs[1]
            producer = ir.producer_of(other)
            if producer is not None and producer.name == f"{node.name}.bias.dequantizelinear":
                return usage.node.outputs[0]
    return value


def _compare_codes(quant: str, ours: AnyArray, theirs: AnyArray, source: AnyArray, scale: float) -> float:
    """The share of codes that differ. source: the values in front of the rounding."""
    _require_equal_shapes(quant, ours, theirs)
    differs = np.flatnonzero(ours != theirs)
    if not differs.size:
        return 0.0
    share = differs.size / ours.size
    difference = np.abs(ours.ravel()[differs].astype(np.int32) - theirs.ravel()[differs])
    steps = source.ravel()[differs] / np.float64(scale)
    from_tie = np.abs(steps - np.floor(steps) - 0.5)
    apart = TIE_DISTANCE * (256 if ours.dtype == np.int16 else 1)
    if difference.max() > math.ceil(apart) or not from_tie.max() <= apart:  # NaN is no tie either
        raise VerificationError(
            f"{quant}: deploy and fake-quant model compute different codes (largest difference {difference.max()}, "
            f"{100 * share:.3f} % of them, {from_tie.max():.2g} steps away from a tie). "
            f"The exported models do not agree; please report this model."
        )
    return share


def _compare_restored(name: str, ours: AnyArray, theirs: AnyArray) -> None:
    """Floats made of the same codes: one product each, so at most the last bit differs."""
    if not np.allclose(ours, theirs, rtol=2.0**-22, atol=0.0):
        worst = float(np.abs(ours.astype(np.float64) - theirs).max())
        raise VerificationError(
            f"{name}: deploy and fake-quant model make different floats of the same codes (they differ by up to {worst:.3g}). "
            f"The exported models do not agree; please report this model."
        )


def _compare_layer(layer: LoweredLayer, accumulators: AnyArray, result: AnyArray) -> float:
    """Difference in accumulator steps, less what float32 cannot tell apart: the last bit of the comparison itself is a
    hundredth of that."""
    exact = accumulators.astype(np.float32, copy=False)
    difference = result / layer.step
    difference -= exact
    between = 0.5 if layer.whole else 0.0
    allowed = between + FLOAT_STEPS * float(max(exact.max(initial=0.0), -exact.min(initial=0.0)))
    worst = float(np.abs(difference, out=difference).max(initial=0.0))
    if not worst <= allowed:  # NaN is no agreement either
        raise VerificationError(
            f"{layer.name}: the accumulators of deploy and fake-quant model differ by {worst:.3g} steps "
            f"(float32 explains {allowed:.3g}). The exported models do not agree; please report this model."
        )
    return worst


def _int32_share(layer: LoweredLayer, accumulators: AnyArray) -> float:
    """The share of int32 that the sums of 16-bit data need, computed in int64; 0 for all others."""
    if accumulators.dtype != np.int64:
        return 0.0
    share = float(np.abs(accumulators).max(initial=0)) / np.iinfo(np.int32).max
    if share > 1:
        raise VerificationError(
            f"{layer.name}: with 16-bit data its accumulators reach {share:.3g} times the range of int32 and would overflow. "
            f"Give the layer 8-bit activations, or leave it in float."
        )
    return share


def _require_equal_shapes(what: str, ours: AnyArray, theirs: AnyArray) -> None:
    if ours.shape != theirs.shape:
        raise VerificationError(
            f"{what}: of shape {ours.shape} in the deploy model, {theirs.shape} in the fake-quant model. {MISINFERRED}"
        )


def _compare_floats(what: str, ours: AnyArray, theirs: AnyArray) -> float:
    _require_equal_shapes(what, ours, theirs)
    if not np.issubdtype(ours.dtype, np.floating):
        return 0.0
    finite = np.isfinite(ours) & np.isfinite(theirs)
    apart = np.count_nonzero(~(finite | same_where_not_finite(ours, theirs)))
    if apart > max(1, UNBOUNDED_SHARE * ours.size):
        raise VerificationError(
            f"{what}: {apart} of {ours.size} values are infinite or NaN in the deploy or in the fake-quant model "
            f"alone. The exported models do not agree; please report this model."
        )
    largest = float(np.abs(theirs).max(initial=0.0, where=finite))
    between = np.subtract(ours, theirs, out=np.zeros(ours.shape), where=finite)
    difference = float(np.abs(between).max(initial=0.0))
    error = difference / (largest or 1.0)
    if not difference <= max(OUTPUT_TOLERANCE * largest, OUTPUT_NOISE):
        raise VerificationError(
            f"{what}: deploy and fake-quant model differ by {error:.3g} of the largest value. "
            f"The exported models do not agree; please report this model."
        )
    return error
