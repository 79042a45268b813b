"""Figures of another record or model are never shown as those of the run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from page.conftest import copy_of

from amct_lite import ir
from amct_lite.page.freshness import Present, subject_in
from amct_lite.page.gather import page_of, read_page
from amct_lite.page.template import html_of
from amct_lite.record import format_record, read_record, record_digest
from amct_lite.record.edit import Edit, edit_record
from amct_lite.result import QuantizeResult
from amct_lite.types import Subject

Run = tuple[QuantizeResult, Path]


def stale(prefix: Path) -> dict[str, str]:
    return {analysis.title: analysis.stale for analysis in read_page(prefix).analyses if analysis.source}


def edited(prefix: Path) -> None:
    """Doubles a scale of the record, as `record edit --in-place` does."""
    path = Path(f"{prefix}_record.txt")
    path.write_text(format_record(edit_record(read_record(path), ["conv3"], Edit(scale_w_factor=2.0))))


@pytest.mark.parametrize(
    ("subject", "objection"),
    [
        (Subject("model", "record"), ""),
        (Subject(None, "record"), ""),
        (Subject("model"), ""),
        (Subject("model", "old"), "another record than the one that lies here now"),
        (Subject("old", "record"), "another float model than this run"),
        (Subject(exported="old"), "another exported model than those that lie here now"),
        (Subject(), "does not say what it was made of"),
    ],
)
def test_each_digest_that_differs_is_objected_to(tmp_path: Path, subject: Subject, objection: str) -> None:
    said = Present("model", "record", tmp_path / "m").objection(subject)
    assert objection in said
    assert bool(said) == bool(objection)


def test_a_subject_survives_its_json() -> None:
    subject = Subject("m", "r", None)
    assert subject_in(json.loads(json.dumps({"subject": asdict(subject)}))) == subject
    assert subject_in({"subject": None}) == subject_in({}) == Subject()


def test_nothing_is_stale_beside_the_run_it_was_made_of(analysed: Path) -> None:
    assert len(stale(analysed)) == 8
    assert set(stale(analysed).values()) == {""}
    assert read_page(analysed).stale == ""


def test_a_record_that_was_edited_since_makes_its_analyses_and_the_report_stale(analysed: Path, tmp_path: Path) -> None:
    prefix = copy_of(analysed, tmp_path)
    edited(prefix)
    of_the_record = {"Sensitivity", "Mixed precision", "Cost", "Tuning", "Auto calibration"}
    assert {title for title, said in stale(prefix).items() if "another record" in said} == of_the_record
    page = read_page(prefix)
    assert page.stale.startswith("The record has changed since the run")
    html = html_of(page)
    assert html.count("Not of this run.") == len(of_the_record)
    assert page.stale in html


def test_models_that_were_exported_again_make_what_ran_the_old_ones_stale(analysed: Path, tmp_path: Path) -> None:
    prefix = copy_of(analysed, tmp_path)
    for name in ("fake_quant", "deploy"):
        path = Path(f"{prefix}_{name}_model.onnx")
        model = ir.load(path).model
        model.graph.sort()
        next(iter(model.graph)).name = "renamed"
        ir.save(model, path)
    assert {title for title, said in stale(prefix).items() if said} == {"Error flow", "Speed", "Fusion on the NPU"}


def test_the_report_names_the_record_that_lies_beside_it(run: Run) -> None:
    result, prefix = run
    assert result.report.subject is not None
    assert result.report.subject.record == record_digest(read_record(f"{prefix}_record.txt"))


def test_what_a_run_writes_with_its_page_is_of_that_run(run: Run, analysed: Path) -> None:
    text = Path(f"{analysed}_autocalibration.json").read_text()
    (found,) = (a for a in page_of(run[0], analysed, {"autocalibration.json": text}).analyses if a.source)
    assert found.stale == ""
