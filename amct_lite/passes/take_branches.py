"""An If whose condition is known becomes the branch that it takes. Exporters write one where a size decides: in a squeeze."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes import fold_constants, fold_shapes, lift_constants
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport


def run(model: ir.Model) -> PassReport:
    findings = Findings("take_branches")
    while chosen := [(node, branch) for node in model.graph if (branch := _branch(node)) is not None]:
        for node, branch in chosen:
            ir.unwrap(node, branch)
        findings.changed += len(chosen)
        for follow in (lift_constants.run, fold_constants.run, fold_shapes.run):  # another If may be known by what is known now
            follow(model)
    if findings.changed:
        count = "1 If" if findings.changed == 1 else f"{findings.changed} If"
        findings.notes.append(f"{count} of known condition replaced by the branch that is taken: y in the If x is x.y")
    return findings.report()


def _branch(node: ir.Node) -> ir.Graph | None:
    condition = ir.constant_of(node.inputs[0]) if node.op_type == "If" and not node.domain else None
    if condition is None:
        return None
    branch: ir.Graph = node.attributes["then_branch" if condition.reshape(-1)[0] else "else_branch"].as_graph()
    return branch
