"""A CastLike becomes a Cast to the type that the other tensor has: what it casts may be a constant, while the other is none."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.passes.findings import Findings
from amct_lite.types import PassReport


def run(model: ir.Model) -> PassReport:
    findings = Findings("name_cast_types")
    findings.changed = ir.name_cast_types(model)
    return findings.report()
