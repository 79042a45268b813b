"""Whether figures that lie beside a run are of what the run has there now: told by digests, never by dates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from amct_lite import ir
from amct_lite.build import TARGETS
from amct_lite.files import output_path
from amct_lite.record import record_digest
from amct_lite.reports.report import Report
from amct_lite.types import QuantRecord, Subject


@dataclass(frozen=True)
class Present:
    """What a run has under its prefix. model: digest of its float model, None where the report does not tell."""

    model: str | None
    record: str
    prefix: str | Path

    @classmethod
    def of(cls, report: Report, record: QuantRecord, prefix: str | Path) -> Present:
        return cls(report.subject.model if report.subject else None, record_digest(record), prefix)

    @cached_property
    def exported(self) -> frozenset[str]:
        """Digests of the exported models that lie there; they are read when this is asked for."""
        suffixes = {"fake_quant_model.onnx", *(target.suffix for target in TARGETS.values())}
        models = (output_path(self.prefix, suffix) for suffix in sorted(suffixes))
        return frozenset(ir.checksum(ir.load(path).model) for path in models if path.is_file())

    def objection(self, subject: Subject) -> str:
        """Why figures about `subject` are not of this run, as a sentence; empty where they are."""
        if subject == Subject():
            return "It does not say what it was made of: an earlier version wrote it."
        if subject.record is not None and subject.record != self.record:
            return "It was made of another record than the one that lies here now."
        if subject.model is not None and self.model is not None and subject.model != self.model:
            return "It was made of another float model than this run."
        if subject.exported is not None and subject.exported not in self.exported:
            return "It was made of another exported model than those that lie here now."
        return ""


def subject_in(content: Mapping[str, Any]) -> Subject:
    """The subject that the JSON of an analysis names; an empty one where it names none."""
    return Subject(**(content.get("subject") or {}))
