"""Nodes, initializers and model-local functions that nobody reads or calls go away.

ONNX operators have no side effects, so a node counts by its outputs alone. Inputs of the model always stay. The bodies
of If, Loop and Scan are left as they are; what they capture counts as read for as long as their node does.
"""

from __future__ import annotations

from collections.abc import Iterable

from amct_lite import ir
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport


def run(model: ir.Model) -> PassReport:
    findings = Findings("remove_dead")
    findings.changed = ir.remove_unused(model) + _remove_uncalled_functions(model)
    return findings.report()


def _remove_uncalled_functions(model: ir.Model) -> int:
    called = set[tuple[str, str, str]]()
    pending: list[Iterable[ir.Node]] = [model.graph.all_nodes()]
    while pending:
        for node in pending.pop():
            callee = node.op_identifier()
            if callee in model.functions and callee not in called:
                called.add(callee)
                pending.append(model.functions[callee].all_nodes())
    uncalled = model.functions.keys() - called
    for identifier in uncalled:
        del model.functions[identifier]
    return len(uncalled)
