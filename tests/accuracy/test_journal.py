"""A journal keeps what was measured, and nothing of another search."""

from __future__ import annotations

from pathlib import Path

import pytest

from amct_lite.accuracy.journal import MetricJournal
from amct_lite.errors import ExportError

METRICS = {None: 58.4, frozenset(): 8.8, frozenset({"b", "a"}): (0.1 + 0.2, 1.0)}


def opened(path: Path | None, key: str = "key", told: list[str] | None = None) -> MetricJournal:
    return MetricJournal(path, key, "in_float", [].append if told is None else told.append)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = opened(tmp_path / "journal.jsonl")
    for layers, metric in METRICS.items():
        journal.add(layers, metric)
    return tmp_path / "journal.jsonl"


def known(path: Path, key: str = "key") -> dict[frozenset[str] | None, object]:
    journal = opened(path, key)
    return {layers: metric for layers in METRICS if (metric := journal.find(layers)) is not None}


def test_metrics_come_back_to_the_last_digit(path: Path) -> None:
    assert known(path) == METRICS
    assert opened(path).find(frozenset("a")) is None


def test_models_are_told_apart_by_their_widths_whatever_their_order(tmp_path: Path) -> None:
    journal = MetricJournal(tmp_path / "journal.jsonl", "key", "widths", [].append)
    journal.add({"b": "W8A8", "a": "W4A8"}, 1.0)
    again = MetricJournal(tmp_path / "journal.jsonl", "key", "widths", [].append)
    assert again.find({"a": "W4A8", "b": "W8A8"}) == 1.0
    assert again.find({"a": "W4A8", "b": "W4A8"}) is None
    assert again.find(None) is None


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_line_that_was_cut_off_does_not_count(path: Path, cut: int) -> None:
    whole = path.read_text()
    path.write_text(whole[:-cut])
    assert len(known(path)) == 2
    opened(path).add(frozenset({"a", "b"}), METRICS[frozenset({"a", "b"})])
    assert path.read_text() == whole


def test_a_journal_of_something_else_is_replaced(path: Path) -> None:
    assert known(path, "another key") == {}
    assert known(path) == {}


def test_what_becomes_of_a_journal_is_told(path: Path) -> None:
    told: list[str] = []
    opened(path, told=told)
    opened(path, "another key", told)
    opened(path, "another key", told)  # nothing is in it
    opened(path.with_name("new.jsonl"), told=told)
    own, others = told
    assert own == f"{path} is of an interrupted run like this: what it knows is not measured again. Delete it to begin anew."
    assert others.startswith(f"{path} was of an interrupted run with another model, other scales or another evaluator")


@pytest.mark.parametrize("content", [b"", b"\n", b"no journal\n", b"\xff\xfe\n", b"[1]\n"])
def test_a_file_that_is_no_journal_is_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert known(path) == {}
    assert path.read_text().count("\n") == 1


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    journal = opened(None)
    journal.add(None, 1.0)
    journal.remove()
    assert journal.find(None) == 1.0
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_cannot_be_written_is_an_error(path: Path) -> None:
    journal = opened(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(ExportError, match="cannot write the journal"):
        journal.add(None, 1.0)
