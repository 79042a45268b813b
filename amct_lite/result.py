"""What a run returns: every stage's value, frozen, and how it is written to disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from amct_lite import ir
from amct_lite.build import TARGETS, Exports
from amct_lite.calibration import store
from amct_lite.calibration.store import Statistics
from amct_lite.errors import AmctError
from amct_lite.files import output_path, staged_outputs
from amct_lite.loading import SourceModel
from amct_lite.record import format_record
from amct_lite.reports.reading import read_report
from amct_lite.reports.report import Report
from amct_lite.types import Feeds, QuantPlan, QuantRecord


@dataclass(frozen=True)
class Built:
    """A quantized model, to be executed. plan: None where the record was given. statistics: None where there were none."""

    source: SourceModel
    plan: QuantPlan | None
    record: QuantRecord
    statistics: Statistics | None
    exports: Exports


@dataclass(frozen=True)
class QuantizeResult(Built):
    """All that a run has made. sample: one that was compared on. taken: the record is that of the model's own scales."""

    report: Report
    sample: Feeds | None = field(default=None, repr=False)
    taken: bool = False

    def __repr__(self) -> str:
        """In a line: the models would fill screens in a notebook."""
        layers, skips = len(self.report.layers), len(self.report.skips)
        lacking = ", no deploy model (see .report.deploy_problem)" if self.report.deploy_problem else ""
        what = f"{layers} quantized, {skips} left in float{lacking}"
        return f"<QuantizeResult of {self.report.model}: {what}; see .report, .save(prefix)>"

    def save(
        self, prefix: str | Path, *, inputs: Iterable[Path] = (), also: Mapping[str, str] | None = None
    ) -> tuple[Path, ...]:
        """Write everything under `<prefix>_…`, all files together or none; returns their paths.

        also: texts to write with them, by what follows the prefix.

        A prefix that ends with `/` names a folder only. Record and statistics are written when the run made them.
        Raises ExportError when a file cannot be written or would overwrite the model or one of `inputs`.
        """
        report = replace(self.report, left_over=tuple(path.name for path in self.left_over(prefix)))
        guarded = [*inputs, *((self.source.path,) if self.source.path else ())]
        written: list[Path] = []
        with staged_outputs(inputs=guarded) as out:

            def place(suffix: str) -> Path:
                final = output_path(prefix, suffix)
                written.append(final)
                return out.stage(final)

            if self.plan is not None or self.taken:
                place("record.txt").write_text(format_record(self.record), encoding="utf-8")
            ir.save(self.exports.fake_quant, place("fake_quant_model.onnx"))
            if self.exports.deploy is not None:
                ir.save(self.exports.deploy, place(TARGETS[self.exports.target].suffix))
            if self.plan is not None and self.statistics is not None:
                place("calibration.npz").write_bytes(store.to_bytes(self.statistics))
            place("report.json").write_text(report.to_json(), encoding="utf-8", errors="replace")
            for suffix, text in (also or {}).items():
                place(suffix).write_text(text, encoding="utf-8", errors="replace")
        return tuple(written)

    def left_over(self, prefix: str | Path) -> tuple[Path, ...]:
        """Models that lie under `prefix`, that are not replaced when this is written there, and that are not of its record and
        float model. To be asked before it is written: the report that lies there tells what they are of."""
        replaced = TARGETS[self.exports.target].suffix if self.exports.deploy is not None else None
        others = (output_path(prefix, target.suffix) for target in TARGETS.values() if target.suffix != replaced)
        found = tuple(path for path in others if path.is_file())
        if not found:
            return ()
        with suppress(AmctError):  # no report, or a damaged one
            earlier = read_report(output_path(prefix, "report.json"))
            if earlier.subject == self.report.subject:
                return tuple(path for path in found if path.name in earlier.left_over)
        return found
