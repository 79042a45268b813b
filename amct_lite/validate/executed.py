"""Which node of the graph that ONNX Runtime executes is which node of the model that it was given."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from amct_lite import ir

_ADDED = re.compile(r"(_token_\d+|_nchwc|_nhwc)+$")
"""What layout transformations add to a name."""
_FUSION = re.compile(r"/\w+Fusion$")
"""What the fusion of a MatMul with its Add does."""
_TAKEN_IN = frozenset({"BatchNormalization", "Relu", "Clip", "Add", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"})
"""Nodes that vanish into the layer in front of them, which then has the name of their output."""


def plain_name(name: str | None) -> str:
    """The name without what ONNX Runtime's optimizers add to it."""
    return _FUSION.sub("", _ADDED.sub("", name or ""))


def names_of(node: ir.Node) -> Iterator[str]:
    """The names under which `node` may be found in the optimized graph, its own first."""
    yield str(node.name)
    value = node.outputs[0]
    while True:
        yield str(value.name)
        readers = ir.uses(value)
        if len(readers) != 1 or readers[0].node.op_type not in _TAKEN_IN:
            return
        value = readers[0].node.outputs[0]


def executed(layers: Iterable[ir.Node], names: Collection[str]) -> Mapping[str, str]:
    """Name of each of `layers` → the one of `names` (of nodes that are executed) that stands for it, where there is one."""
    plain = {plain_name(name): name for name in reversed(tuple(names))}
    found = {str(node.name): next((plain[name] for name in names_of(node) if name in plain), None) for node in layers}
    return {layer: name for layer, name in found.items() if name is not None}
