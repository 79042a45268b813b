"""Scores that do not count, in front of a Softmax, become low enough to count for nothing, and no lower.

Of scores that lie more than 87 below the largest of their row a Softmax makes denormal numbers: ONNX Runtime takes four times
as long for it then, and up to 24 times for the product behind. A mask puts all that it hides there by adding -10000, the least
of floats or minus infinity, and much of it by adding -100. How far all scores lie apart, and 25, is enough.

To know that takes a fifth of the time of what is done to scores without a mask. So it is done where something is hidden
whatever the data are: windows that are cut, and what comes later in a text. A mask that is made of an input, for texts of
different lengths, often hides nothing.

It counts for nothing in products. Who looks at the weights themselves, at their logarithms for instance, sees what is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import PAIR
from amct_lite.exporters.rewrites.neighbours import read_alone
from amct_lite.ir.build import Inserter
from amct_lite.passes.readers import SIZES
from amct_lite.types import AnyArray

_HIDDEN = 70.0
"""A mask takes more than this off a score that does not count, or puts a number below -70 in its place."""
_NOTHING = 25.0
"""Beside a weight of 1, thousands of exp(-25) are below its last bit."""
_MASKED = -1e6
"""No score is so low; near this, 25 less is still another number."""
_PRODUCTS = frozenset({"MatMul", "Einsum", "IsNaN"})
"""And what tells rows of which nothing counts, which stay as they are."""
_ON_THE_WAY = PAIR | {"Cast", "Expand", "Flatten", "Mul", "Reshape", "Squeeze", "Transpose", "Unsqueeze", "Where"}


def raise_hidden(softmax: ir.Node) -> None:
    """`softmax`, of scores and a mask that does not depend on data: where nobody else reads these together, and its weights go
    into products alone, the mask takes no more off than is needed. In a row of which nothing counts it stays as it is."""
    masked = read_alone(softmax, frozenset({"Reshape"})) if _is_multiplied(softmax.outputs[0]) else None
    raised = _RAISED.get(masked.op_type) if masked is not None else None
    if masked is not None and raised is not None and _same_rows(softmax, masked.outputs[0]):
        raised(masked)


def _is_multiplied(weights: ir.Value) -> bool:
    """Whether `weights`, moved, scaled or chosen from, go into products, and nowhere else."""
    readers = [use.node for use in ir.uses(weights)]
    return not weights.is_graph_output() and all(
        reader.op_type in _PRODUCTS or (reader.op_type in _ON_THE_WAY and _is_multiplied(reader.outputs[0]))
        for reader in readers
    )


def _same_rows(softmax: ir.Node, masked: ir.Value) -> bool:
    """Whether `softmax` makes weights of each row of `masked`, in float32."""
    read = softmax.inputs[0]
    ours, theirs = ir.dims_of(read), ir.dims_of(masked)
    if not ours or not theirs or ir.attribute(softmax, "axis", -1) not in {-1, len(ours) - 1}:
        return False
    return (read is masked or ours[-1] == theirs[-1] is not None) and masked.dtype == ir.DataType.FLOAT


def _raise_sum(add: ir.Node) -> None:
    """Of a mask that is added, nothing is left below the largest of its row less the range of all scores, and 25; unless
    another mask makes that range so large that these are no numbers of their own."""
    hidden = [_hides(value) for value in add.inputs]
    if sum(hidden) != 1:
        return
    place = hidden.index(True)
    scores, mask = add.inputs[1 - place], add.inputs[place]
    if not ir.dims_of(mask):
        return
    b = Inserter(add, f"{add.name}.hidden")
    span = b.op("Sub", b.op("ReduceMin", scores, keepdims=0), b.op("ReduceMax", scores, keepdims=0))
    ir.replace_input(add, place, _unless_lower(b, span, _MASKED, mask, b.op("Max", mask, _below(b, mask, span))))


def _raise_choice(where: ir.Node) -> None:
    """The number that stands in the place of scores becomes the least of all, less 25; unless another mask makes these as low,
    beside which what is hidden here would count, or not."""
    condition, *choices = where.inputs
    constants = [ir.constant_of(value) for value in choices]
    hidden = [array is not None and array.size == 1 and array.item() <= -_HIDDEN for array in constants]
    if sum(hidden) != 1 or not ir.dims_of(condition) or _constants_of(condition) is None:
        return
    place = hidden.index(True)
    number = constants[place]
    assert number is not None
    b = Inserter(where, f"{where.name}.hidden")
    zero = b.constant(0, np.float32)
    mask = b.op("Where", condition, *(value if one else zero for value, one in zip(choices, hidden, strict=True)))
    least = b.op("ReduceMin", choices[1 - place], keepdims=0)
    masked = max(number.item() / 2, _MASKED)
    ir.replace_input(where, 1 + place, _unless_lower(b, least, masked, choices[place], _below(b, mask, least)))


_RAISED: dict[str, Callable[[ir.Node], None]] = {"Add": _raise_sum, "Where": _raise_choice}


def _unless_lower(b: Inserter, least: ir.Value, bound: float, kept: ir.Value | None, raised: ir.Value) -> ir.Value:
    """`raised`, or `kept` where `least` is lower than `bound`."""
    return b.op("Where", b.op("Less", least, b.constant(bound, np.float32)), kept, raised)


def _below(b: Inserter, mask: ir.Value | None, number: ir.Value) -> ir.Value:
    """`number`, less 25, from the largest of each row of `mask` on: this is zero, or the mask itself where nothing counts."""
    largest = b.reduced("ReduceMax", mask, [-1])
    return b.op("Add", largest, b.op("Sub", number, b.constant(_NOTHING, np.float32)))


def _hides(value: ir.Value | None) -> bool:
    """Whether it is a mask: made of constants alone, large numbers among them."""
    constants = _constants_of(value) or ()
    return any(array.dtype.kind == "f" and bool((np.abs(array) > _HIDDEN).any()) for array in constants)


def _constants_of(value: ir.Value | None) -> Sequence[AnyArray] | None:
    """Those that `value` is made of; None where more than the sizes of an input go into it."""
    front, seen, constants = [value], set[ir.Value | None](), []
    while front:
        one = front.pop()
        if one is None or one in seen:
            continue
        seen.add(one)
        array, node = ir.constant_of(one), ir.producer_of(one)
        if node is not None and node.op_type == "ConstantOfShape":
            array = ir.attribute(node, "value", np.zeros(1, np.float32))
        if array is not None:
            constants.append(array)
        elif node is None:
            return None
        elif node.op_type not in SIZES:
            front += node.inputs
    return constants
