"""Which layers are quantized and how, and why the others are not: every decision explicit, before anything is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from amct_lite import ir
from amct_lite.config import LayerConfig, QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.fitting import require_input_shapes, require_known_names, unknown_names
from amct_lite.flow.kernels import KERNELS
from amct_lite.flow.reads import with_flow
from amct_lite.flow.spectra import spectral_layers
from amct_lite.ops import OPS, Layer, bind
from amct_lite.ops.widths import data_problem, weight_problem, widths, with_codes
from amct_lite.passes.readers import giving_values
from amct_lite.passes.take_apart import whole_of
from amct_lite.record import ReadFacts, split_key
from amct_lite.record.check import LayerFacts
from amct_lite.tensors import plan_reads, read_facts
from amct_lite.types import AnyArray, Gone, LayerPlan, QuantPlan, QuantRecord, QuantSpec, Skip, TensorPlan

ASCEND = "ascend"
ORT = "ort"
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
"""Their weights begin with an axis of directions, often 1."""
_MOVING = frozenset({"Concat", "Expand", "Pad", "Reshape", "ScatterND", "Slice", "Split", "Tile", "Transpose", "Where"})
"""A constant that these take is a table, such as a detector's anchors; the rows of a Gather are an embedding."""


def resolve(config: QuantConfig, model: ir.Model, gone: Sequence[Gone] = ()) -> QuantPlan:
    """The plan for `model` (prepared). gone: what preparing took away of the user's model, for messages. Raises ConfigError
    when the config names a layer or op type that is not there, or asks for something no layer of that kind offers."""
    require_known_names(config, model, gone)
    require_input_shapes(config, model)
    shared = _shared_weights(model)
    giving = giving_values(model.graph)
    spectral = spectral_layers(model.graph) if config.fallback else frozenset()
    layers: list[LayerPlan] = []
    skips: list[Skip] = []
    for node in model.graph:
        bound = bind(node)
        if bound is None:
            if reason := _unknown_layer(node):
                skips.append(Skip(str(node.name), node.op_type, reason))
            continue
        if config.target == ORT and node.op_type in KERNELS and isinstance(bound, Layer):
            continue  # it has no weights: it is quantized where integers flow through it
        wanted = config.for_layer(str(node.name), node.op_type)
        reason = _refusal(bound, wanted, config.target, shared)
        if not reason and node not in giving:
            reason = "only the size of its result is read"
        if not reason and node in spectral and not config.insists_on(str(node.name)):
            reason = "its squares go into a logarithm, which makes the rounding of small values large"
        if reason:
            skips.append(Skip(str(node.name), node.op_type, reason))
        else:
            assert isinstance(bound, Layer)
            layers.append(_plan_layer(bound, wanted, config.target))
    skips += _inside_bodies(model)
    reads, without = plan_reads(config, model, {layer.name for layer in layers}, gone)
    left = {skip.node for skip in skips}
    halves = tuple(name for name in halves_of(config, model) if name in left)
    plan = QuantPlan(tuple(layers), (*skips, *without), config.target, reads, halves)
    observed = (*(tensor for layer in layers for tensor in layer.inputs), *(read.tensor for read in reads))
    with_codes(model, {tensor.spec.bits for tensor in observed})  # refused now, not after calibration
    if config.target == ORT:
        _require_bytes(plan)
        plan = with_flow(plan, model, partial(_passed_on, config))
    return _with_one_tap_a_tensor(plan)


def layer_facts(target: str, model: ir.Model) -> dict[str, LayerFacts]:
    """What a record may say of each node of `model` (prepared)."""
    shared = _shared_weights(model)
    reads = read_facts(model)
    facts: dict[str, LayerFacts] = {}
    for node in model.graph:
        bound = bind(node)
        inputs = reads[str(node.name)]
        if isinstance(bound, Layer):
            reason = _target_refusal(bound, target, shared)
            channels = 1 if len(bound.data) > 1 else bound.channels
            symmetric = _why_symmetric(bound, target) if target == ASCEND else ""
            balanced = None if bound.balance_refusal else bound.input_channels
            widths_of = partial(_width_problem, bound, packed=target == ASCEND)
            facts[bound.name] = LayerFacts(
                bound.op_type,
                channels,
                balanced,
                not reason,
                reason,
                bool(reason),
                symmetric,
                inputs,
                data=bool(bound.data),
                recurrent=bound.recurrence is not None,
                width_problem=widths_of,
            )
        else:
            reason = bound or f"{node.op_type} is not among the operators that are quantized"
            facts[str(node.name)] = LayerFacts(node.op_type, quantizable=False, reason=reason, reads=inputs)
    for node, reason in _within(model):
        inputs = ReadFacts((reason,) * len(node.inputs))
        facts.setdefault(str(node.name), LayerFacts(node.op_type, quantizable=False, reason=reason, reads=inputs))
    return facts


def _width_problem(layer: Layer, bits: int, weight_bits: int, *, packed: bool) -> str:
    return data_problem(layer, max(bits, weight_bits) if len(layer.data) > 1 else bits, weight_bits) or weight_problem(
        layer, weight_bits, packed=packed
    )


def halves_of(config: QuantConfig, model: ir.Model) -> tuple[str, ...]:
    """The layers of `model` (prepared) that are to compute in float16 where they are not quantized, in the order of the graph.

    Raises ConfigError for names that it does not have, and where ONNX Runtime's kernels are the target.
    """
    if config.float16 and config.target == ORT:
        raise ConfigError(
            f"{config.place('float16')}: ONNX Runtime's CPU computes in float32, float16 would only be converted to and fro. "
            "Leave it out, or choose the target ascend or generic."
        )
    if problems := unknown_names(config, config.float16, model):
        raise ConfigError("\n".join(problems))
    return tuple(
        str(node.name) for node in model.graph if config.in_half(str(node.name), node.op_type) and bind(node) is not None
    )


def not_in_record(record: QuantRecord, model: ir.Model, target: str) -> tuple[Skip, ...]:
    """What stays in float where `record` decides, in the order of `model` (prepared): what cannot be quantized, and the
    layers that have no entry."""
    plan = resolve(QuantConfig(target=target), model)
    alone = {split_key(entry.key)[0]: entry.key for entry in record.layers if entry.tensor_quantize}
    missing = [
        Skip(layer.name, layer.op_type, _without_entry(layer, alone.get(layer.name)))
        for layer in plan.layers
        if layer.name not in record.by_key
    ]
    order = {str(node.name): place for place, node in enumerate(model.graph)}
    refused = [skip for skip in plan.skips if skip.node not in record.by_key]
    return tuple(sorted((*refused, *missing), key=lambda skip: order.get(skip.node, len(order))))


def _without_entry(layer: LayerPlan, tensor: str | None) -> str:
    """tensor: the entry of a single tensor that the layer reads, where it has one."""
    if tensor is None or layer.weight is not None:
        return "the record has no entry for it"
    return f"the record was made for the target ort, where {layer.op_type} is no layer: it has the tensor {tensor} only"


def _refusal(bound: Layer | str, wanted: LayerConfig, target: str, shared: Counter[ir.Value]) -> str:
    if wanted.skip:
        return wanted.skip
    if isinstance(bound, str):
        return bound
    unasked = OPS.get(bound.op_type).only_ort if target != ORT else ""  # for any runtime a record may still ask for it
    return unasked or _target_refusal(bound, target, shared)


def _require_bytes(plan: QuantPlan) -> None:
    named = [(f"{layer.name} ({layer.op_type})", tensor) for layer in plan.layers for tensor in layer.inputs]
    for name, tensor in (*named, *((f"tensor {read.key}", read.tensor) for read in plan.reads)):
        if tensor.spec.bits != 8:
            raise ConfigError(
                f"activation.bits = {tensor.spec.bits} of {name}: the integer kernels of ONNX Runtime take 8 bits. Use 8, skip "
                f"the layer, or choose the target ascend or generic."
            )


def _passed_on(config: QuantConfig, node: ir.Node, value: ir.Value) -> TensorPlan | None:
    """How a tensor is quantized that `node` passes on as integers; None where the configuration skips the node."""
    wanted = _wanted(config, node)
    if wanted.skip:
        return None
    spec = QuantSpec(symmetric=wanted.symmetric)
    return TensorPlan(str(value.name), spec, None, 1, wanted.algorithm, tuple(sorted(wanted.options.items())))


def _wanted(config: QuantConfig, node: ir.Node) -> LayerConfig:
    """What holds for `node`. A part of an operator that was taken apart is skipped with the operator that the user's model has,
    and is quantized like that where nothing is said of the part."""
    own, whole = config.for_layer(str(node.name), node.op_type), whole_of(node)
    if whole is None:
        return own
    asked, unasked = config.for_layer(*whole), config.for_layer("", "")
    return asked if asked.skip or own == unasked else own


def _target_refusal(bound: Layer, target: str, shared: Counter[ir.Value]) -> str:
    spec = OPS.get(bound.op_type)
    if target == ORT:
        return spec.ort(bound) or ""
    if target != ASCEND:
        return ""
    if reason := spec.only_ort or spec.ascend(bound):
        return reason
    alone = bound.weight_value is None or shared[bound.weight_value] == 1
    return "" if alone else "its weight is shared with another layer, which the Ascend target does not take"


def _plan_layer(layer: Layer, wanted: LayerConfig, target: str) -> LayerPlan:
    bits = widths(layer, wanted.bits, wanted.weight_bits, packed=target == ASCEND)
    why = _why_symmetric(layer, target)
    symmetric = wanted.symmetric or bool(why)
    notes = (*bits.notes, *((f"symmetric, {why}",) if why and not wanted.symmetric else ()))
    inputs = tuple(
        TensorPlan(
            str(value.name),
            QuantSpec(bits.data, symmetric),
            layer.channel_axis,
            layer.input_channels,
            wanted.algorithm,
            tuple(sorted(wanted.options.items())),
        )
        for index in layer.data
        if (value := layer.node.inputs[index]) is not None
    )
    refusal = layer.balance_refusal if wanted.balance else ""
    if refusal:
        notes = (*notes, f"not balanced: {refusal}")
    balance = 0.0 if refusal else wanted.balance
    plan = LayerPlan(layer.name, layer.op_type, layer.data, inputs, notes=notes, balance=balance)
    weight = layer.weight_value
    if weight is None:
        return plan
    return replace(
        plan,
        weight=str(weight.name),
        weight_spec=QuantSpec(
            bits.weight,
            symmetric=True,
            per_channel=_per_channel(layer, wanted, target),
            narrow=target == ORT,  # two products of -128 and -128 are more than ARM's kernels hold
        ),
        weight_algorithm=wanted.weight_algorithm,
        weight_options=tuple(sorted(wanted.weight_options.items())),
    )


def _why_symmetric(layer: Layer, target: str) -> str:
    """Why the data of a layer cannot have a zero point; empty when they can."""
    if len(layer.data) > 1:
        return "because both factors are data"
    return "as the NPU wants for 5-D data" if target == ASCEND and OPS.get(layer.op_type).ascend_symmetric(layer) else ""


def _per_channel(layer: Layer, wanted: LayerConfig, target: str) -> bool:
    if wanted.per_channel != "auto":
        return wanted.per_channel == "all"
    spec = OPS.get(layer.op_type)
    if target == ASCEND:
        return spec.per_channel_on_ascend
    return target != ORT or spec.per_channel_on_ort(layer)


def _with_one_tap_a_tensor(plan: QuantPlan) -> QuantPlan:
    """A reader that does not care about channels shares the observation of one that does."""
    told_apart = {t.name: t for layer in plan.layers for t in layer.inputs if t.channel_axis is not None}

    def joined(tensor: TensorPlan) -> TensorPlan:
        other = told_apart.get(tensor.name)
        if tensor.channel_axis is not None or other is None:
            return tensor
        return replace(tensor, channel_axis=other.channel_axis, channels=other.channels)

    return replace(
        plan,
        layers=tuple(replace(layer, inputs=tuple(map(joined, layer.inputs))) for layer in plan.layers),
        reads=tuple(replace(read, tensor=joined(read.tensor)) for read in plan.reads),
    )


def _shared_weights(model: ir.Model) -> Counter[ir.Value]:
    """How many layers multiply with each constant weight; a Gather that picks rows of it does not."""
    bound = (bind(node) for node in model.graph)
    return Counter(b.weight_value for b in bound if isinstance(b, Layer) and b.data and b.weight_value is not None)


def _unknown_layer(node: ir.Node) -> str:
    """The reason to name a node that is no known layer but carries a weight matrix; empty for all others."""
    if node.op_type in _MOVING and not node.domain:
        return ""
    for value in node.inputs:
        array = ir.constant_of(value)
        if array is None or array.ndim < 2 or array.dtype.kind != "f":
            continue
        if min(array.shape) > 1 or node.op_type in _RECURRENT or _is_foreign_matrix(node, array):
            kind = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            return f"{kind} has weights, but is not among the operators that are quantized"
    return ""


def _is_foreign_matrix(node: ir.Node, array: AnyArray) -> bool:
    """Whether an operator that is none of ONNX's has it for a weight: of a 1 × 1 convolution, maybe."""
    return bool(node.domain) and sum(size > 1 for size in array.shape) > 1


def _inside_bodies(model: ir.Model) -> list[Skip]:
    """Layers within subgraphs and model-local functions: they stay in float."""
    return [
        Skip(str(node.name or node.op_type), node.op_type, where) for node, where in _within(model) if bind(node) is not None
    ]


def _within(model: ir.Model) -> Iterator[tuple[ir.Node, str]]:
    """The nodes that do not stand in the graph itself, and where they do."""
    for node in model.graph.all_nodes():
        if node.graph is not model.graph:
            yield node, "it stands inside the body of a control-flow node"
    for function in model.functions.values():
        yield from ((node, f"it stands inside the model-local function {function.name}") for node in function)
