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
    stated = [value for value in results if value.shape is not None]
    inferred = ir.inferred_shapes(model) if stated else {}
    wrong = [value for value in stated if _contradict(ir.dims_of(value), inferred.get(str(value.name)))]
    if wrong:
        name, given, right = wrong[0].name, ir.dims_of(wrong[0]), inferred[str(wrong[0].name)]
        findings.notes.append(
            f"shapes that the model states are wrong ({name} as {given}, it is {right}): none of them is used"
        )
        findings.changed = len(stated)
    for value in stated if wrong else ():
        value.shape = None
    return findings.report()


def _contradict(stated: ir.Dims | None, inferred: ir.Dims | None) -> bool:
    if stated is None or inferred is None:
        return False
    known = [(a, b) for a, b in zip(stated, inferred, strict=False) if isinstance(a, int) and isinstance(b, int)]
    return len(stated) != len(inferred) or any(a != b for a, b in known)
