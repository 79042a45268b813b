"""Calls of model-local functions become the nodes of their bodies: the layers within are layers of the model then.

Refused: a function of other versions of its operators than the model imports.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport


def run(model: ir.Model) -> PassReport:
    findings = Findings("inline_functions")
    while calls := {node: model.functions[node.op_identifier()].clone() for node in _calls(model) if not _strange(node, model)}:
        ir.inline_calls(model, calls)
        findings.changed += len(calls)
    for node in _calls(model):
        findings.refuse(node, _strange(node, model))
    if findings.changed:
        count = "1 call of a function" if findings.changed == 1 else f"{findings.changed} calls of functions"
        findings.notes.append(f"{count} of the model written out: y in what x called is x.y")
    return findings.report()


def _calls(model: ir.Model) -> list[ir.Node]:
    nodes = model.graph.all_nodes() if model.functions else ()
    return [node for node in nodes if node.op_identifier() in model.functions]


def _strange(call: ir.Node, model: ir.Model) -> str:
    """Why the body cannot stand in the model; empty where it can."""
    wanted = model.functions[call.op_identifier()].opset_imports
    other = {domain: version for domain, version in wanted.items() if model.opset_imports.get(domain, version) != version}
    versions = " and ".join(f"{domain or 'opset'} {version}" for domain, version in other.items())
    return f"the function that it calls needs {versions}, which the model has in another version" if other else ""
