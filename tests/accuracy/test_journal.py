"""A journal keeps what was measured, and nothing of another search."""

from __future__ import annotations

from pathlib import Path

import pytest

from amct_lite.accuracy.journal import Journal
from amct_lite.errors import ExportError

METRICS = {None: 58.4, frozenset(): 8.8, frozenset({"b", "a"}): (0.1 + 0.2, 1.0)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "journal.jsonl", "key")
    for layers, metric in METRICS.items():
        journal.add(layers, metric)
    return tmp_path / "journal.jsonl"


def test_metrics_come_back_to_the_last_digit(path: Path) -> None:
    journal = Journal(path, "key")
    assert {layers: journal.find(layers) for layers in METRICS} == METRICS
    assert journal.find(frozenset("a")) is None


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_line_that_was_cut_off_does_not_count(path: Path, cut: int) -> None:
    whole = path.read_text()
    path.write_text(whole[:-cut])
    journal = Journal(path, "key")
    assert len(journal) == 2
    journal.add(frozenset({"a", "b"}), METRICS[frozenset({"a", "b"})])
    assert path.read_text() == whole


def test_a_journal_of_something_else_is_replaced(path: Path) -> None:
    assert len(Journal(path, "another key")) == 0
    assert len(Journal(path, "key")) == 0


@pytest.mark.parametrize("content", [b"", b"\n", b"no journal\n", b"\xff\xfe\n", b"[1]\n"])
def test_a_file_that_is_no_journal_is_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert len(Journal(path, "key")) == 0
    assert path.read_text().count("\n") == 1


def test_without_a_path_nothing_is_written(tmp_path: Path) -> None:
    journal = Journal(None, "key")
    journal.add(None, 1.0)
    journal.remove()
    assert journal.find(None) == 1.0
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_cannot_be_written_is_an_error(path: Path) -> None:
    journal = Journal(path, "key")
    path.unlink()
    path.mkdir()
    with pytest.raises(ExportError, match="cannot write the journal"):
        journal.add(None, 1.0)
