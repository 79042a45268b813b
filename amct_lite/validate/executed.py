"""Which node of the graph that ONNX Runtime executes is which node of the model that it was given."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from amct_lite import ir

_ADDED = re.compile(r"(_token_\d+|_nchwc|_nhwc)+$")
"""What layout transformations add to a name."""
_FUSION = re.compile(r"/\w+Fusion/?$")
"""What the fusion of a MatMul with its Add, or with a scale, does."""
_TAKEN_IN = frozenset({"BatchNormalization", "Relu", "Clip", "Add", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"})
"""Nodes that vanish into the layer in front of them, which then has the name of their output."""


def _forms(name: str) -> tuple[str, ...]:
    """The name, and what it was before each of ONNX Runtime's optimizers added to it."""
    plain = _ADDED.sub("", name)
    return name, plain, _FUSION.sub("", plain)


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
    """Name of each of `layers` → the one of `names` (of nodes that are executed) that stands for it, where there is one.

    A layer's own name may end in what ONNX Runtime adds, if it wrote the model: so the longest form counts first.
    """
    known: dict[str, str] = {}
    for forms in zip(*map(_forms, names), strict=True):
        for form, name in zip(forms, names, strict=True):
            known.setdefault(form, name)
    found = {str(node.name): next((known[name] for name in names_of(node) if name in known), None) for node in layers}
    return {layer: name for layer, name in found.items() if name is not None}
