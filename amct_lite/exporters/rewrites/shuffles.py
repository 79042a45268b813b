"""A Reshape, a Transpose and a Reshape in a row, as channels or pixels are shuffled: finding them."""

from __future__ import annotations

from dataclasses import dataclass

from amct_lite import ir
from amct_lite.exporters.pairs import PAIR, quantizer_in_front
from amct_lite.exporters.rewrites.neighbours import read_alone


@dataclass(frozen=True)
class Shuffle:
    """`split` makes more axes, `transpose` puts them in another order, `join` makes fewer of them. Nobody else sees what is
    between the three, which may be rounded."""

    split: ir.Node
    transpose: ir.Node
    join: ir.Node

    @property
    def perm(self) -> tuple[int, ...]:
        return tuple(ir.attribute(self.transpose, "perm", []))

    @property
    def stages(self) -> tuple[ir.Value | None, ir.Value, ir.Value]:
        """What goes in, what has more axes, and what comes out."""
        return self.split.inputs[0], self.split.outputs[0], self.join.outputs[0]

    @property
    def fronts(self) -> tuple[ir.Node | None, ...]:
        """The QuantizeLinear in front of each."""
        return tuple(quantizer_in_front(node.inputs[0]) for node in (self.split, self.transpose, self.join))


def shuffle_that_ends(join: ir.Node) -> Shuffle | None:
    """`join`: a Reshape. Sizes and order of the axes are not looked at."""
    transpose = _alone_in_front(join, "Transpose")
    split = _alone_in_front(transpose, "Reshape") if transpose is not None else None
    return None if transpose is None or split is None else Shuffle(split, transpose, join)


def _alone_in_front(node: ir.Node, op_type: str) -> ir.Node | None:
    """The node of that type whose result `node`, and nobody else, reads, rounded or not."""
    front = read_alone(node, PAIR)
    return front if front is not None and front.op_type == op_type and not front.domain else None
