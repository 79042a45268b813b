"""What the user must know of the opset of a deploy model: ATC has parsers for some alone."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.build import Exports
from amct_lite.exporters.atc import NEWEST_OPSET, obstacles
from amct_lite.plan import ASCEND
from amct_lite.reports.wording import some

_KNOWN = f"ATC (CANN 8) has parsers up to opset {NEWEST_OPSET}"


def opset_notes(exports: Exports) -> list[str]:
    """The opset that is stated instead of the model's own, and what was written out for it."""
    before, after = _opsets(exports)
    if after >= before:
        return []
    if before <= NEWEST_OPSET:
        return [f"deploy model: opset {after} instead of {before}, as ATC reads the axes of means and norms as an attribute."]
    later = ir.later_operators(exports.computed, NEWEST_OPSET)
    parts = " and ".join(f"{op_type} ({count} ×)" for op_type, count in sorted(later.items()))
    written_out = f"; {parts} {'is' if len(later) == 1 else 'are'} written out in older operators" if later else ""
    return [f"deploy model: opset {after} instead of {before}, as {_KNOWN}{written_out}."]


def opset_warnings(exports: Exports) -> list[str]:
    """What keeps the deploy model in an opset that ATC refuses."""
    before, after = _opsets(exports)
    if after <= NEWEST_OPSET:
        return _misread(exports)
    nodes = some(obstacles(exports.computed), between="; ")
    problem = (
        f"deploy model: it keeps opset {before}, and {_KNOWN}, so it may end in `No parser is registered for Op`. Not to be "
        f"said in older operators: {nodes}. Replace them in the float model."
    )
    return [problem]


def _misread(exports: Exports) -> list[str]:
    """The means and norms of a deploy model of opset 18, which something else needs."""
    nodes = exports.deploy.graph.all_nodes() if exports.target == ASCEND and exports.deploy is not None else ()
    names = [f"{node.name} ({node.op_type})" for node in nodes if ir.reads_axes(node)]
    if not names:
        return []
    problem = (
        f"deploy model: ATC (CANN 8) reads the axes of these as an attribute, and here they are an input, so it may take all "
        f"axes: {some(names)}. Export the float model for opset 17."
    )
    return [problem]


def _opsets(exports: Exports) -> tuple[int, int]:
    """Of the model that the deploy model is made of, and of the deploy model; twice the oldest where ATC gets none."""
    if exports.target != ASCEND or exports.deploy is None:
        return 0, 0
    return ir.opset(exports.computed), ir.opset(exports.deploy)
