"""Single tensors in a record: keys of the form `<node>:<input index>`, and what can be said against one of them.

What the model is, the caller says in `ReadFacts`; no graph is seen here.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ReadFacts:
    """One node, as far as it speaks against quantizing an input of it on its own.

    inputs: for each input why it never can be, empty where nothing speaks against it. claimed: input → the layer that reads
    this tensor as integers whenever that layer is quantized. weights: layers with a constant weight that the dequantized
    tensor would reach unchanged. inside: a node in the body of an If or Loop that it would reach behind this one.
    """

    inputs: tuple[str, ...] = ()
    claimed: Mapping[int, str] = field(default_factory=dict)
    weights: tuple[str, ...] = ()
    inside: str = ""


def split_key(key: str) -> tuple[str, int]:
    """Node and input index of a key that has this form."""
    node, _, index = key.rpartition(":")
    return node, int(index)


def mistake(facts: ReadFacts, index: int, quantized: Container[str]) -> str:
    """Why it makes no sense to quantize input `index` where the layers `quantized` are; empty when it does."""
    if index >= len(facts.inputs):
        count = len(facts.inputs)
        return f"there is no input {index}: it has {'one input, 0' if count == 1 else f'{count} inputs, 0 to {count - 1}'}"
    layer = facts.claimed.get(index)
    if layer in quantized:
        return f"layer {layer!r} is quantized, which quantizes this input anyway"
    return facts.inputs[index]


def obstacle(facts: ReadFacts, quantized: Container[str]) -> str:
    """Why an input of the node cannot be quantized although that would make sense; empty when nothing is in the way."""
    if facts.inside:
        return f"{facts.inside!r}, in the body of an If or Loop, would read it: ONNX Runtime crashes on such a model"
    floats = [layer for layer in facts.weights if layer not in quantized]
    if not floats:
        return ""
    return f"{floats[0]!r} stays in float and would read it: ONNX Runtime would quantize that layer's weights unasked"
