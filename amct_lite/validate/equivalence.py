"""Proves on data that the deploy model and the fake-quant model compute the same.

Both are executed. The fake-quant model is *guided*: in front of every layer it continues from the integer codes that the
deploy model computed, so that a rounding difference in one layer cannot hide or fake one in another. Compared are the
codes that each side computes for every quantized tensor, the accumulators of every layer, and the network's outputs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.errors import VerificationError
from amct_lite.exporters.qdq import data_prefix
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, Feeds
from amct_lite.validate.lowering import Lowered, LoweredLayer, lower

FLOAT_STEPS = 2.0**-20
"""Share of the largest accumulator that a float32 kernel may be off by (24 bits of mantissa, sums in any order)."""
TIES = 1e-3
"""Share of codes that may differ by one: x · (1/scale) and x / scale round differently next to a tie."""
OUTPUT_TOLERANCE = 1e-3
"""Allowed difference of the network's outputs, relative to their largest value, after float layers of any kind."""


@dataclass(frozen=True)
class Equivalence:
    """What was compared. code_mismatch: share of codes that differ (by one step). accumulator_error: largest difference
    in accumulator steps beyond what float32 can tell; output_error: relative to the largest output."""

    samples: int
    layers: int
    code_mismatch: float
    accumulator_error: float
    output_error: float


def verify_deploy(
    deploy: ir.Model, fake_quant: ir.Model, data: Iterable[Feeds], options: RuntimeOptions | None = None
) -> Equivalence:
    """Run both on each of `data`; raises VerificationError at the first difference that rounding does not explain.

    `data` must have the static shapes of `deploy`.
    """
    chosen = options or RuntimeOptions()
    lowered = lower(deploy)
    guided, codes, results = _guided(fake_quant, lowered)
    reference = open_session(guided, chosen, optimize=False)
    deployed = open_session(lowered.model, chosen)
    outputs = [str(value.name) for value in fake_quant.graph.outputs]
    samples, mismatch, error, output_error = 0, 0.0, 0.0, 0.0
    for feeds in data:
        ours = dict(zip(deployed.output_names, deployed.run(feeds), strict=True))
        given = {name: ours[lowered.codes[quant]] for quant, (name, _) in codes.items()}
        theirs = dict(zip(reference.output_names, reference.run({**feeds, **given}), strict=True))
        for quant, (_, computed) in codes.items():
            mismatch = max(mismatch, _compare_codes(quant, ours[lowered.codes[quant]], theirs[computed]))
        for layer in lowered.layers:
            error = max(error, _compare_layer(layer, ours[layer.accumulators], theirs[results[layer.name]]))
        for name in outputs:
            output_error = max(output_error, _compare_output(name, ours[name], theirs[name]))
        samples += 1
    return Equivalence(samples, len(lowered.layers), mismatch, error, output_error)


def _guided(fake_quant: ir.Model, lowered: Lowered) -> tuple[ir.Model, dict[str, tuple[str, str]], dict[str, str]]:
    """The fake-quant model with codes as inputs. Returns it with, for each AscendQuant, the names of the codes given and
    computed, and for each layer the name of its float result."""
    model = ir.clone(fake_quant)
    graph = model.graph
    nodes = {str(node.name): node for node in graph}
    codes: dict[str, tuple[str, str]] = {}
    for quant in lowered.codes:
        layer, _, position = quant.rpartition(".quant")
        node = nodes.get(f"{data_prefix(layer, int(position or 0))}.quantizelinear")
        if node is None:
            raise VerificationError(f"{quant} of the deploy model has no counterpart in the fake-quant model.")
        computed = node.outputs[0]
        source = node.inputs[0]
        assert source is not None
        given = ir.new_input(model, f"{computed.name}.given", ir.DataType.INT8, ir.dims_of(source))
        for usage in ir.uses(computed):
            ir.replace_input(usage.node, usage.idx, given)
        graph.outputs.append(computed)
        codes[quant] = (str(given.name), str(computed.name))
    results: dict[str, str] = {}
    for layer_name in (layer.name for layer in lowered.layers):
        value = _result_of(nodes[layer_name])
        if not value.is_graph_output():
            graph.outputs.append(value)
        results[layer_name] = str(value.name)
    return model, codes, results


def _result_of(node: ir.Node) -> ir.Value:
    """Behind the bias Add, whose constant comes through a DequantizeLinear, where there is one."""
    value = node.outputs[0]
    for usage in ir.uses(value):
        if usage.node.op_type == "Add" and usage.idx == 0:
            other = usage.node.inputs[1]
            producer = other.producer() if other is not None else None
            if producer is not None and producer.name == f"{node.name}.bias.dequantizelinear":
                return usage.node.outputs[0]
    return value


def _compare_codes(quant: str, ours: AnyArray, theirs: AnyArray) -> float:
    difference = np.abs(ours.astype(np.int16) - theirs)
    share = float(np.count_nonzero(difference) / max(difference.size, 1))
    allowed = max(TIES, 2 / max(difference.size, 1))
    if difference.size and (difference.max() > 1 or share > allowed):
        raise VerificationError(
            f"{quant}: deploy and fake-quant model compute different codes (largest difference {difference.max()}, "
            f"{100 * share:.3f} % of them). The exported models do not agree; please report this model."
        )
    return share


def _compare_layer(layer: LoweredLayer, accumulators: AnyArray, result: AnyArray) -> float:
    """Difference in accumulator steps, less what float32 cannot tell apart."""
    exact = accumulators.astype(np.float64)
    difference = np.abs(result.astype(np.float64) / layer.step.astype(np.float64) - exact)
    allowed = 0.5 + FLOAT_STEPS * (np.abs(exact).max(initial=0.0))
    worst = float(difference.max(initial=0.0))
    if worst > allowed:
        raise VerificationError(
            f"{layer.name}: the accumulators of deploy and fake-quant model differ by {worst:.3g} steps "
            f"(float32 explains {allowed:.3g}). The exported models do not agree; please report this model."
        )
    return worst


def _compare_output(name: str, ours: AnyArray, theirs: AnyArray) -> float:
    if not np.issubdtype(ours.dtype, np.floating):
        return 0.0
    largest = float(np.abs(theirs).max(initial=0.0))
    error = float(np.abs(ours.astype(np.float64) - theirs).max(initial=0.0)) / (largest or 1.0)
    if not error <= OUTPUT_TOLERANCE:
        raise VerificationError(
            f"output {name!r}: deploy and fake-quant model differ by {error:.3g} of the largest value. "
            f"The exported models do not agree; please report this model."
        )
    return error
