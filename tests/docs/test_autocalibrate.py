"""docs/autocalibrate.md says what is so: its commands and code run, its numbers are those of the code."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from fences import ROOT, blocks

from amct_lite.accuracy.candidates import MAX_EVALUATIONS
from amct_lite.analysis.ranking import SENSITIVITIES
from amct_lite.calibration import observing
from amct_lite.cli import group
from amct_lite.cli.autocalibrate import command

DOCUMENT = "docs/autocalibrate.md"
TEXT = (ROOT / DOCUMENT).read_text(encoding="utf-8")
DIGITS = ROOT / "samples" / "digits"


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(DIGITS / "digits.onnx", tmp_path / "model.onnx")
    shutil.copy(DIGITS / "test.npz", tmp_path / "test.npz")
    shutil.copytree(DIGITS / "calibration", tmp_path / "calib")
    (tmp_path / "eval.py").write_text(blocks(DOCUMENT, "python")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_runs(own_model: Path) -> None:
    (line,) = blocks(DOCUMENT, "sh")
    words = shlex.split(line)
    group.main(words[1:], standalone_mode=False)
    names = {file.name for file in (own_model / "out").iterdir()}
    assert {"net_config.json", "net_autocalibration.json", "net_fake_quant_model.onnx"} <= names


@pytest.mark.usefixtures("own_model")
def test_the_python_runs() -> None:
    metric, code, _ = blocks(DOCUMENT, "python")
    exec(compile(f"{metric}\n{code}", DOCUMENT, "exec"), {})
    assert Path("out/net_record.txt").is_file()


def test_options_and_numbers_are_those_of_the_code() -> None:
    own = {"--evaluator", "--max-loss", "--lower-is-better", "--sensitivity", "--max-evaluations"}
    assert own <= {name for parameter in command.params for name in parameter.opts}
    assert all(f"| `{name}" in TEXT for name in own)
    assert all(f"`{name}`" in TEXT for name in SENSITIVITIES)
    assert f"at most, default {MAX_EVALUATIONS} |" in TEXT
    assert f"for at most {MAX_EVALUATIONS} evaluations" in TEXT
    assert f"the first {observing.MOST_KEPT} batches (64 MiB)" in TEXT
