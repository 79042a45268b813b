"""Which nodes a user means who names layers that are not to be fused, before any pass has changed the model.

    layer → (BatchNormalization | Mul | Div | Add | Sub)+         a named node, and all in front of it up to the layer
    BatchNormalization → Conv                                     a named node, and the Conv, where no layer is in front

So nothing at all is folded into a layer that is kept apart, and its name alone, as a record has it, says everything.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import replace

from amct_lite import ir
from amct_lite.errors import ConfigError
from amct_lite.passes.channel_affine import LAYERS
from amct_lite.passes.readers import sole_reader
from amct_lite.registry import did_you_mean
from amct_lite.types import Fusion

_FOLDED = frozenset({"BatchNormalization", "Mul", "Div", "Add", "Sub"})


def resolved(fusion: Fusion, model: ir.Model) -> Fusion:
    """`fusion` with what it names in `skip` as nodes of `model` that stay apart.

    Raises ConfigError with every name that fits no node.
    """
    if not fusion.skip:
        return fusion
    nodes = {str(node.name): node for node in model.graph}
    types = {node.op_type for node in nodes.values()}
    found: set[str] = set()
    problems = []
    for pattern in fusion.skip:
        chosen = _matching(pattern, nodes)
        if not chosen:
            hint = did_you_mean(pattern, [*nodes, *types])
            problems.append(f"{fusion.place}: {pattern!r} is no node, pattern or operator type of the model{hint}.")
        for node in chosen:
            found |= {str(member.name) for member in _group(node)}
    if problems:
        raise ConfigError("\n".join(problems))
    return replace(fusion, skip=(), apart=fusion.apart | found)


def _matching(pattern: str, nodes: dict[str, ir.Node]) -> list[ir.Node]:
    """An exact name means that node alone."""
    if pattern in nodes:
        return [nodes[pattern]]
    return [node for name, node in nodes.items() if node.op_type == pattern or fnmatch.fnmatchcase(name, pattern)]


def _group(node: ir.Node) -> Iterator[ir.Node]:
    """`node`, and with it the layer that it would be folded into."""
    yield node
    if node.op_type not in _FOLDED or node.domain:
        return
    front = list(_up_to_layer(node))
    yield from front
    if not front or front[-1].op_type not in LAYERS:
        behind = sole_reader(node.outputs[0])
        if node.op_type == "BatchNormalization" and behind is not None and behind.op_type == "Conv":
            yield behind


def _up_to_layer(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes in front of `node` as far as they could be folded with it, the layer last."""
    while node.op_type not in LAYERS:
        data = [value for value in node.inputs if value is not None and not _is_constant(value)]
        maker = data[0].producer() if len(data) == 1 else None
        if maker is None or maker.domain or maker.op_type not in _FOLDED | LAYERS:
            return
        node = maker
        yield node


def _is_constant(value: ir.Value) -> bool:
    """Also before Constant nodes have been made initializers."""
    producer = value.producer()
    return value.is_initializer() or (producer is not None and producer.op_type == "Constant")
