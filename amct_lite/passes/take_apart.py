"""HardSwish, in one node or by hand, becomes the two operators that ONNX Runtime can compute on integers, each on its own:

    HardSwish(x)                                          x · HardSigmoid<1/6, 1/2>(x), x = max(x, -3)
    Clip(x + c, 0, u) / u                                 HardSigmoid<1/u, c/u>(x)
    m · Clip(x + c, 0, u) / u, multiplied first           m · HardSigmoid<1/u, c/u>(x)

Between the two lies a tensor that can have a scale. What x is below -3 does not count, since the product is 0 from there on: if
nobody else reads x, no code need stand for it. Who does not compute on integers so keeps the nodes of the model.
Source: ONNX operator spec, HardSwish and HardSigmoid.
"""

from __future__ import annotations

from math import isclose

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.passes.constants import number_of
from amct_lite.passes.findings import Findings
from amct_lite.passes.readers import sole_reader
from amct_lite.types import PassReport

NAME = "take_apart"
PART = ".hardsigmoid"
"""What the name of a HardSigmoid that is made here ends in, behind that of the node it was a part of."""
LIMIT = f"{PART}.clip"
"""The same of the Clip in front of both."""
_COMPUTING = frozenset({"Conv", "ConvTranspose", "BatchNormalization", "Gemm", "MatMul", "Add"})
"""A Clip behind them vanishes when their results are rounded."""
_SAME = 1e-6
"""1/6 is 0.16666667 in float32."""


def run(model: ir.Model) -> PassReport:
    findings = Findings(NAME)
    whole, by_hand, apart = 0, 0, 0
    for node in tuple(model.graph):
        if node.domain or node.graph is None:
            continue
        if node.op_type == "HardSwish":
            _multiply(node)
            whole += 1
        elif node.op_type == "Clip" and _gate(node):
            by_hand += 1
        elif node.op_type == "HardSigmoid":
            apart += _limit(node.outputs[0])
    findings.changed = whole + by_hand + apart
    if whole:
        said = f"for integer kernels, HardSwish ({whole} ×) is computed in two steps"
        findings.notes.append(f"{said}: where the model has x, there are x{PART} and the Mul x behind it, in front x{LIMIT}")
    if by_hand:
        said = f"for integer kernels, Add, Clip and a division ({by_hand} ×) are a HardSigmoid"
        findings.notes.append(f"{said}: where the model has Clip x, there is x{PART}")
    if apart:
        said = f"for integer kernels, what is multiplied by its HardSigmoid ({apart} ×) ends where that is 0"
        findings.notes.append(f"{said}: in front of a HardSigmoid x there is x{LIMIT}")
    return findings.report()


def whole_of(node: ir.Node) -> tuple[str, str] | None:
    """Name and operator type, in the user's model, of what `node` is a part of; None for a node that stands there itself.

    A HardSigmoid is named after what it was a part of, and the product behind it has that name: a HardSwish; one without such
    a product stands for a Clip.
    """
    if node.op_type == "HardSigmoid" and str(node.name).endswith(PART):
        name = str(node.name).removesuffix(PART)
        products = {use.node.name for use in ir.uses(node.outputs[0]) if use.node.op_type == "Mul"}
        return name, "HardSwish" if name in products else "Clip"
    if node.op_type == "Mul" and any(
        maker is not None and maker.op_type == "HardSigmoid" and maker.name == f"{node.name}{PART}"
        for maker in (value.producer() for value in node.inputs if value is not None)
    ):
        return str(node.name), "HardSwish"
    return None


def line_of(sigmoid: ir.Node) -> tuple[float, float]:
    """alpha and beta of a HardSigmoid, which is clip(alpha · x + beta, 0, 1)."""
    return ir.attribute(sigmoid, "alpha", 0.2), ir.attribute(sigmoid, "beta", 0.5)


def _multiply(swish: ir.Node) -> None:
    gate = Inserter(swish, str(swish.name)).op("HardSigmoid", swish.inputs[0], alpha=1 / 6, beta=0.5)
    swish.op_type = "Mul"
    ir.replace_input(swish, 1, gate)
    _limit(gate)


def _gate(clip: ir.Node) -> bool:
    """Let a HardSigmoid stand for `clip`, the Add in front of it and the division behind, if that is what they are."""
    added = ir.producer_of(clip.inputs[0])
    low, high = (number_of(clip.inputs[index]) if len(clip.inputs) > index else None for index in (1, 2))
    if added is None or added.op_type != "Add" or added.domain or low != 0.0 or high is None or high <= 0.0:
        return False
    source, shift = _with_number(added)
    reader = sole_reader(clip.outputs[0])
    if source is None or shift is None or shift <= 0.0 or reader is None or sole_reader(added.outputs[0]) is not clip:
        return False
    at_once = _divides(reader, high)
    divided = reader if at_once else sole_reader(reader.outputs[0])
    if divided is None or not _divides(divided, high) or not (at_once or _multiplies(reader)):
        return False
    gate = Inserter(clip, str(clip.name)).op("HardSigmoid", source, alpha=1 / high, beta=shift / high)
    if at_once:
        ir.replace_node(divided, gate)
    else:
        divided.op_type = "Mul"
        for index, value in enumerate(tuple(reader.inputs)):
            ir.replace_input(divided, index, gate if value is clip.outputs[0] else value)
        ir.remove_node(reader)
    ir.remove_node(clip)
    ir.remove_node(added)
    _limit(gate)
    return True


def _limit(gate: ir.Value) -> bool:
    """Let what `gate`, a HardSigmoid, is computed of end where that is 0, if both are multiplied, and nobody else reads it."""
    sigmoid, product = ir.producer_of(gate), sole_reader(gate)
    source = sigmoid.inputs[0] if sigmoid is not None else None
    maker = ir.producer_of(source)
    if source is None or sigmoid is None or product is None or maker is None or source.is_graph_output():
        return False
    alpha, beta = line_of(sigmoid)
    if product.op_type != "Mul" or maker.op_type not in _COMPUTING or maker.domain or min(alpha, beta) <= 0:
        return False
    readers = [use.node for use in ir.uses(source)]
    if len(readers) != 2 or set(readers) != {sigmoid, product} or maker.graph is not sigmoid.graph:
        return False
    b = Inserter(sigmoid, f"{str(sigmoid.name).removesuffix(PART)}{PART}")
    limited = b.op("Clip", source, b.constant(-beta / alpha, np.float32))
    for reader in readers:
        ir.replace_input(reader, list(reader.inputs).index(source), limited)
    return True


def _multiplies(node: ir.Node) -> bool:
    """Whether `node` is the product of two tensors."""
    return node.op_type == "Mul" and not node.domain and len(set(node.inputs)) == 2 and _with_number(node)[1] is None


def _divides(node: ir.Node, number: float) -> bool:
    """Whether all that `node` does is to divide by `number`."""
    if node.domain or node.op_type not in {"Div", "Mul"}:
        return False
    source, constant = _with_number(node)
    if source is None or constant is None or (node.op_type == "Div" and node.inputs[0] is not source):
        return False
    return isclose(constant, number if node.op_type == "Div" else 1 / number, rel_tol=_SAME)


def _with_number(node: ir.Node) -> tuple[ir.Value | None, float | None]:
    """What `node` computes with a single number, and that number, which adds no axes."""
    for source, other in (tuple(node.inputs), tuple(node.inputs[::-1])):
        number = number_of(other)
        if number is not None and source is not None and _rank(other) <= max(_rank(source), 1):
            return source, number
    return None, None


def _rank(value: ir.Value | None) -> int:
    """0 where it is not known."""
    return len(ir.dims_of(value) or ())
