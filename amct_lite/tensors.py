"""Single tensors: which inputs of nodes that stay in float can be quantized on their own, and which of them are to be.

A node then reads the tensor rounded to integers and back, and computes in float as before. Nothing is decided about layers.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence

from amct_lite import ir
from amct_lite.config import LayerConfig, QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.ops import Layer, bind, bodies_behind, weights_behind
from amct_lite.ops.pool import dilated
from amct_lite.passes.gone import not_there_any_more
from amct_lite.record import ReadFacts, mistake, obstacle
from amct_lite.registry import did_you_mean
from amct_lite.types import Gone, QuantSpec, Skip, TensorPlan, TensorRead

_BITS = (8, 16)
"""Of AMCT's words for a single tensor; 4 bits are for data beside 4-bit weights."""


def read_facts(model: ir.Model) -> dict[str, ReadFacts]:
    """Of every node of `model` (prepared): what its inputs are, whoever is quantized."""
    claims = _claims(model)
    of_shapes = _from_shapes(model)
    return {
        str(node.name): ReadFacts(
            tuple(_never(node, value, of_shapes) for value in node.inputs),
            claims.get(str(node.name), {}),
            tuple(dict.fromkeys(weights_behind(node))),
            next(bodies_behind(node), ""),
        )
        for node in model.graph
    }


def plan_reads(
    config: QuantConfig, model: ir.Model, layers: Container[str], gone: Sequence[Gone] = ()
) -> tuple[tuple[TensorRead, ...], tuple[Skip, ...]]:
    """The tensors that `config` asks for, where the nodes named `layers` are quantized, and those that cannot be, each with its
    reason; in the order of the graph. gone: what preparing took away of the user's model.

    Raises ConfigError with every request that makes no sense: a node or input that is not there, one that is no float data, or
    that a quantized layer reads anyway. A pattern asks for those inputs alone for which it does.
    """
    if not config.tensors:
        return (), ()
    facts = read_facts(model)
    reads: list[TensorRead] = []
    skips: list[Skip] = []
    problems, biases = _pointless(config, model, facts, layers, gone)
    for node in model.graph:
        name = str(node.name)
        for index in range(len(node.inputs)):
            wanted = config.for_tensor(name, node.op_type, index)
            if wanted is None or mistake(facts[name], index, layers):
                if (name, index) in biases:
                    reason = f"it is the bias of {facts[name].claimed[index]!r}, which is quantized and takes it in"
                    skips.append(Skip(f"{name}:{index}", node.op_type, reason))
                continue
            read = _read(node, index, wanted)
            if wanted.bits not in _BITS:
                asked = f"{config.place('tensors', read.key)}: {wanted.bits} bits were asked for"
                problems.append(f"{asked}; a single tensor takes 8 or 16 bits.")
            elif reason := obstacle(facts[name], layers) or wanted.skip:
                skips.append(Skip(read.key, node.op_type, reason))
            else:
                reads.append(read)
    if problems:
        raise ConfigError("\n".join(problems))
    return tuple(reads), tuple(skips)


def without_obstacles(
    reads: Collection[TensorRead], model: ir.Model, layers: Container[str]
) -> tuple[tuple[TensorRead, ...], tuple[Skip, ...]]:
    """Of `reads`, those that are possible where no more than `layers` are quantized, and the others with their reasons."""
    facts = read_facts(model) if reads else {}
    reasons = {read: obstacle(facts[read.node], layers) for read in reads}
    kept = tuple(read for read, reason in reasons.items() if not reason)
    return kept, tuple(Skip(read.key, read.op_type, reason) for read, reason in reasons.items() if reason)


def _read(node: ir.Node, index: int, wanted: LayerConfig) -> TensorRead:
    spec = QuantSpec(wanted.bits, wanted.symmetric)
    options = tuple(sorted(wanted.options.items()))
    tensor = TensorPlan(str(node.inputs[index].name), spec, None, 1, wanted.algorithm, options)  # type: ignore[union-attr] # present
    return TensorRead(str(node.name), node.op_type, index, tensor)


def _pointless(
    config: QuantConfig, model: ir.Model, facts: Mapping[str, ReadFacts], layers: Container[str], gone: Sequence[Gone]
) -> tuple[list[str], set[tuple[str, int]]]:
    """Requests for which there is nothing to quantize, or not what they name; and what those ask for that name no node, and
    meet nothing but biases of quantized layers: (node, input)."""
    problems = []
    biases: set[tuple[str, int]] = set()
    for key in config.tensors:
        name, _, index = key.rpartition(":")
        nodes = [node for node in model.graph if config.asks_for(key, str(node.name), node.op_type)]
        if not nodes:
            problems.append(f"{config.place('tensors', key)}: {_missing(name, model, gone)}")
            continue
        mistakes = {
            (str(node.name), number): mistake(facts[str(node.name)], number, layers)
            for node in nodes
            for number in (range(len(node.inputs)) if index == "*" else [int(index)])
        }
        if not all(mistakes.values()):
            continue
        claims = {place: facts[place[0]].claimed.get(place[1]) for place in mistakes if place[0] != name}
        taken_in = {place for place, layer in claims.items() if layer in layers and layer != place[0]}
        if taken_in:
            biases |= taken_in
        else:
            problems.append(f"{config.place('tensors', key)}: {next(iter(mistakes.values()), 'the node has no inputs')}.")
    return problems, biases


def _missing(name: str, model: ir.Model, gone: Sequence[Gone]) -> str:
    if sentence := not_there_any_more(name, gone):
        return sentence
    known = dict.fromkeys(word for node in model.graph for word in (str(node.name), node.op_type))
    hint = did_you_mean(name, known)
    return f"{name!r} is no node, pattern or operator type of the model{hint}. `amct-lite inspect` lists the names of layers."


def _claims(model: ir.Model) -> dict[str, dict[int, str]]:
    """Node → input → the layer that reads it as integers when it is quantized: its data, and the sum before its bias."""
    claims: dict[str, dict[int, str]] = {}
    for node in model.graph:
        layer = bind(node)
        if not isinstance(layer, Layer):
            continue
        claims.setdefault(layer.name, {}).update(dict.fromkeys(layer.data, layer.name))
        if layer.bias_node is not None and layer.bias_node is not node:
            claims.setdefault(str(layer.bias_node.name), {})[0] = layer.name
    return claims


def _from_shapes(model: ir.Model) -> set[ir.Value]:
    """Values that no data go into: they are constants in a model with fixed shapes, which has no quantized constants."""
    found: set[ir.Value] = set()
    for node in model.graph:
        read = ir.reads(node)  # what bodies of control flow capture included
        fixed = all(value in found or ir.constant_of(value) is not None for value in read)
        if _reads_shape(node) or (read and fixed):
            found.update(node.outputs)
    return found


def _reads_shape(node: ir.Node) -> bool:
    return node.op_type in {"Shape", "Size"} and not node.domain


def _never(node: ir.Node, value: ir.Value | None, of_shapes: Container[ir.Value]) -> str:
    """Why input `value` of `node` can never be quantized on its own; empty when it can."""
    if value is None:
        return "the input is absent"
    if _reads_shape(node):
        return f"a {node.op_type} reads no values"
    if dilated(node):
        return "ONNX Runtime has no integer kernel for dilated means, but makes one of them where they are rounded"
    if value in of_shapes:
        return "the input is made of shapes and constants alone"
    if ir.constant_of(value) is not None or value.is_initializer():
        return "the input is a constant"
    if not isinstance(value.type, ir.TensorType):
        return "the input is no tensor, or its type is not known"
    if value.dtype != ir.DataType.FLOAT:
        return f"the input holds {value.dtype.name.lower()}, not float32" if value.dtype else "the input's type is not known"
    if value.shape is not None and value.shape.rank() == 0:
        return "the input is a single number"
    return ""
