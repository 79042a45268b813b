"""`amct-lite sensitivity` in a terminal, as JSON, and with a metric of the user's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from amct_lite.cli.sensitivity_table import bar


@pytest.fixture
def run(amct, calibrated, digits, samples):
    def run(*args: object):
        return amct(
            *("sensitivity", digits, "--record", calibrated.file("record.txt"), "--data", samples, "--threads", 1), *args
        )

    return run


def test_the_most_sensitive_first(run):
    done = run("--candidates", "W8A8,W4A8", "--batches", 2)
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines() if " W8A8 " in line or " W4A8 " in line]
    rows = [row for row in rows if row[2] in {"W8A8", "W4A8"}]
    assert len(rows) == 14
    damages = [float(row[5]) for row in rows]
    assert damages == sorted(damages, reverse=True)
    assert rows[0][2] == "W4A8"
    assert "measured: 7 layers as W8A8, W4A8" in done.out


def test_json_and_file_agree_and_the_journal_is_gone(run, tmp_path):
    done = run("--layer", "block1*", "-o", tmp_path / "out", "--json", "--exact", "--batches", 1)
    content = json.loads(done.out)
    assert [effect["layer"] for effect in content["effects"]] == ["block1.depthwise", "block1.pointwise"]
    assert json.loads((tmp_path / "out_sensitivity.json").read_text()) == content
    assert [file.name for file in tmp_path.iterdir()] == ["out_sensitivity.json"]


def test_an_estimate_shows_as_many_rows_as_its_limit(run):
    done = run("--estimate", "--limit", 2, "--metric", "kl", "--batches", 2)
    assert "5 more rows; --limit 7 shows them." in done.out
    assert "estimated: 7 layers as W8A8" in done.out


def test_a_metric_may_come_from_a_file(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def metric(exact, other):\n    return float(sum(abs(exact[k] - other[k]).max() for k in exact))\n")
    content = json.loads(run("--metric", file, "--json", "--batches", 1).out)
    assert content["metric"] == "metric"
    assert all(effect["damage"] > 0 for effect in content["effects"])


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--metric", "kll"), 3, "unknown metric 'kll' (did you mean 'kl'?)"),
        (("--metric", "none.py"), 3, "none.py does not exist"),
        (("--candidates", "W8A88"), 3, "unknown candidate 'W8A88' (did you mean 'W8A8'?)"),
        (("--layers", "stem.con"), 3, "no layer of the record matches 'stem.con' (did you mean 'stem.conv'?)"),
        (("--from", "none.npz"), 6, "there is no calibration file none.npz"),
    ],
)
def test_what_does_not_exist_is_refused(run, args, code, message):
    done = run(*args)
    assert done.code == code
    assert message in done.err


def test_a_file_without_the_function_and_one_that_fails(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def metrik(a, b):\n    return 0\n")
    done = run("--metric", file)
    assert done.code == 3
    assert "defines no function metric (did you mean 'metrik'?)" in done.err
    file.write_text("def metric(a, b):\n    return a['nothing']\n")
    done = run("--metric", file, "--batches", 1)
    assert done.code == 5
    assert f"{file}:2: KeyError: 'nothing' (on the outputs of a batch). Correct the metric." in done.err


def test_workers_measure_with_a_metric_of_a_file(run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import numpy as np\ndef metric(a, b):\n    return float(np.abs(a['logits'] - b['logits']).max())\n")
    alone, shared = (run("--metric", file, "--batches", 12, "--json", "--workers", count) for count in (1, 2))
    assert shared.code == 0
    assert shared.out == alone.out
    file.write_text("def metric(a, b):\n    return a['nothing']\n")
    done = run("--metric", file, "--batches", 1, "--workers", 2)
    assert done.code == 5
    assert "mine.py:2: KeyError: 'nothing' (on the outputs of a batch). Correct the metric." in done.err


def test_missing_data_and_the_record_of_another_model(amct, calibrated, digits, samples, tmp_path):
    done = amct("sensitivity", digits, "--record", calibrated.file("record.txt"), "--data", tmp_path / "nowhere")
    assert done.code == 5
    other = Path(tmp_path / "other_record.txt")
    other.write_text(calibrated.file("record.txt").read_text().replace("stem.conv", "stem.cnv"))
    done = amct("sensitivity", digits, "--record", other, "--data", samples)
    assert done.code == 7
    assert "stem.cnv" in done.err


def test_a_bar_shrinks_by_a_fifth_for_a_tenth() -> None:
    assert [bar(10.0**-n, 1.0).count("█") for n in (0, 5, 6)] == [16, 0, 0]
    assert bar(0.1, 1.0) == "█" * 12 + "▊"  # 16 · 4/5 = 12.8
    assert bar(0.0, 1.0) == ""
    assert bar(float("inf"), 1.0) == "█" * 16


def test_an_interrupted_run_goes_on_and_says_from_where(run, tmp_path):
    """The metric of a file stops the run in its second batch."""
    file, mark = tmp_path / "mine.py", tmp_path / "seen"
    file.write_text(
        f"from pathlib import Path\nmark = Path({str(mark)!r})\n"
        "def metric(a, b):\n"
        "    seen = len(mark.read_text()) if mark.exists() else 0\n"
        "    mark.write_text('x' * (seen + 1))\n"
        "    if seen == 7:\n        raise KeyboardInterrupt\n"
        "    return float(abs(a['logits'] - b['logits']).max())\n"
    )
    words = ("--metric", file, "--batches", 8, "--exact", "-o", tmp_path / "out/d", "--json")
    journal = tmp_path / "out/d_sensitivity_journal.jsonl"
    done = run(*words)
    assert done.code == 130
    assert f"interrupted; what was measured is in {journal}, the same command goes on from there" in done.err
    again = run(*words)
    assert f"note: 7 measurements of 7 of 7 layers are taken from {journal}, of an interrupted run" in again.err
    journal.unlink(missing_ok=True)
    whole = run(*words)
    assert "journal" not in whole.err
    assert again.out == whole.out
