"""How many bytes the activations of a graph take, and how many of them at once.

A tensor is held from the node that makes it (an input of the graph: from the start) until its last reader has run (an
output of the graph: until the end), and its place is free again afterwards. An operator that works element by element, or
only renames elements, writes over its input where nobody else reads that: kernels fuse them with the operator in front.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from amct_lite import ir
from amct_lite.types import QParams

IN_PLACE = frozenset(
    {"Abs", "BatchNormalization", "Cast", "Ceil", "Clip", "Dropout", "Elu", "Erf", "Exp", "Flatten", "Floor", "Gelu"}
    | {"HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Mish", "Neg", "PRelu", "Reciprocal", "Relu", "Reshape"}
    | {"Round", "Selu", "Sigmoid", "Softplus", "Sqrt", "Squeeze", "Tanh", "ThresholdedRelu", "Unsqueeze"}
)

Readers = Mapping[tuple[str, int], QParams]
"""(node name, input index) → how that input is quantized; inputs that are not in it are read as floats."""


@dataclass(frozen=True)
class Forms:
    """The forms in which tensors of floats are held: as codes where `readers` say so, else as floats of `float_bits`, but for
    the nodes that compute in floats of other bits (`floats`: node name → bits)."""

    float_bits: int
    readers: Readers = field(default_factory=dict)
    floats: Mapping[str, int] = field(default_factory=dict)

    def float_of(self, node: ir.Node | None) -> int:
        """Bits of the floats that `node` reads and writes; None stands for the world outside."""
        return self.float_bits if node is None else self.floats.get(str(node.name), self.float_bits)


@dataclass(frozen=True)
class Peak:
    """The most bytes that are held at once, and the node that runs then (empty for a graph without nodes)."""

    bytes: int
    node: str


class Activations:
    """The tensors that the main graph of `model` makes, in buffers; constants are none.

    unknown: the tensors whose size is not known before the model runs, which no sum contains.
    """

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._nodes = tuple(model.graph)
        self._reads = {node: tuple(dict.fromkeys(ir.reads(node))) for node in self._nodes}
        self._readers: dict[ir.Value, list[ir.Node]] = {}
        for node, values in self._reads.items():
            for value in values:
                self._readers.setdefault(value, []).append(node)
        made = (value for node in self._nodes for value in node.outputs)
        self._values = [v for v in (*model.graph.inputs, *made) if self._readers.get(v) or v.is_graph_output()]
        self._place = {node: place for place, node in enumerate(self._nodes)}

    @cached_property
    def unknown(self) -> tuple[ir.Value, ...]:
        return tuple(value for value in self._values if _elements(value) is None)

    def bytes_of(self, value: ir.Value, forms: Forms) -> int:
        """Bytes of `value` as its readers want it: codes where they are quantized, floats where one is not.

        Readers with different scales need codes of their own, and floats of other bits are other floats; all forms count until
        the last reader. 0 when the size is not known.
        """
        elements = _elements(value)
        if elements is None:
            return 0
        return sum(-(-elements * bits // 8) for bits in self._widths(value, forms))

    def total(self, forms: Forms) -> int:
        """Bytes of everything that is written once, in-place operators not counted a second time."""
        return sum(self.bytes_of(value, forms) for value in self._values if self._overwriter(value) is None)

    def peak(self, forms: Forms) -> Peak:
        """The most bytes held at once while the nodes run one by one in the order of the graph."""
        changes = [0] * (len(self._nodes) + 1)
        for buffer in self._buffers():
            held = self.bytes_of(buffer[-1], forms)
            changes[self._born(buffer[0])] += held
            changes[self._dies(buffer[-1]) + 1] -= held
        best, node, held = 0, "", 0
        for place, change in enumerate(changes[: len(self._nodes)]):
            held += change
            if held > best:
                best, node = held, str(self._nodes[place].name)
        return Peak(best, node)

    def _buffers(self) -> Iterable[list[ir.Value]]:
        """Each chain of tensors that overwrite one another, first to last."""
        written_over = {after: value for value in self._values if (after := self._overwriter(value)) is not None}
        for value in self._values:
            if value not in written_over:
                chain = [value]
                while (after := self._overwriter(chain[-1])) is not None:
                    chain.append(after)
                yield chain

    def _overwriter(self, value: ir.Value) -> ir.Value | None:
        """What takes the place of `value`: the result of its only reader, an operator that works in place."""
        readers = self._readers.get(value, [])
        if len(readers) != 1 or value.is_graph_input() or value.is_graph_output():
            return None
        (node,) = readers
        fits = node.op_type in IN_PLACE and not node.domain and node.inputs[0] is value
        after = node.outputs[0]
        return after if fits and _elements(after) == _elements(value) is not None and after in self._known else None

    @cached_property
    def _known(self) -> frozenset[ir.Value]:
        return frozenset(self._values)

    def _widths(self, value: ir.Value, forms: Forms) -> list[int]:
        """Bits of each form in which `value` is held."""
        after = self._overwriter(value)
        if after is not None:
            return self._widths(after, forms)
        if value.dtype not in {ir.DataType.FLOAT, ir.DataType.FLOAT16}:
            return [_bits(value)]
        written = value.is_graph_output() or not self._readers.get(value)
        found: dict[QParams | int, int] = {forms.float_of(node): 0 for node in [value.producer()] if written}
        for node in self._readers.get(value, ()):
            direct = [index for index, read in enumerate(node.inputs) if read is value]
            for index in direct or [-1]:  # a value captured by a subgraph is read as it is
                found[forms.readers.get((str(node.name), index)) or forms.float_of(node)] = 0
        return [form if isinstance(form, int) else form.bits for form in found]

    def _born(self, value: ir.Value) -> int:
        producer = value.producer()
        return 0 if producer is None else self._place[producer]

    def _dies(self, value: ir.Value) -> int:
        if value.is_graph_output():
            return len(self._nodes) - 1
        return max(self._place[node] for node in self._readers[value])


def _elements(value: ir.Value) -> int | None:
    shape = ir.sizes_of(value)
    return None if shape is None or value.dtype is None else prod(shape)


def _bits(value: ir.Value) -> int:
    return int(value.dtype.bitwidth) if value.dtype is not None and value.dtype != ir.DataType.STRING else 0
