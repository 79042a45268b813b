"""Shapes that a file states of tensors between its nodes are forgotten where one contradicts what follows from the inputs.

ONNX Runtime runs such a model, with a warning for each. What is inferred anew is true; what is not remains open.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport


def run(model: ir.Model) -> PassReport:
    findings = Findings("forget_wrong_shapes")
    results = [value for node in model.graph for value in node.outputs if not value.is_graph_output()]
    stated = {value: dims for value in results if (dims := ir.dims_of(value)) is not None}
    inferred = ir.inferred_shapes(model) if stated else {}
    right = {value: inferred.get(str(value.name)) for value in stated}
    first = next((value for value, dims in stated.items() if _contradict(dims, right[value])), None)
    if first is None:
        return findings.report()
    wrong = f"{first.name} as {stated[first]}, it is {right[first]}"
    findings.notes.append(f"shapes that the model states are wrong ({wrong}): none of them is used")
    for value in stated:
        value.shape = None
    findings.changed = len(stated)
    return findings.report()


def _contradict(stated: ir.Dims, inferred: ir.Dims | None) -> bool:
    if inferred is None:
        return False
    known = [(a, b) for a, b in zip(stated, inferred, strict=False) if isinstance(a, int) and isinstance(b, int)]
    return len(stated) != len(inferred) or any(a != b for a, b in known)
