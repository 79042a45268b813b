"""`amct-lite autocalibrate` as a user meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from digits_metric import METRIC

ROOT = Path(__file__).parents[2]
Run = Callable[..., Any]

SIZE = """
import os
def evaluate(model_path):  # how much of the file is left: each layer in float adds to it
    with open("calls.txt", "a") as calls:
        calls.write(f"{os.path.basename(model_path)}\\n")
    if STOP and sum(1 for _ in open("calls.txt")) == STOP:
        os.kill(os.getpid(), 9)
    return os.path.getsize(model_path) / 1000
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def evaluator(text: str, **values: object) -> str:
    Path("eval.py").write_text("".join(f"{k} = {v!r}\n" for k, v in values.items()) + text, encoding="utf-8")
    return "eval.py"


@pytest.mark.usefixtures("here")
def test_a_metric_that_is_kept_leaves_everything_quantized(amct: Run, digits: Path, samples: Path) -> None:
    words = ("--data", samples, "-o", "out/d", "--evaluator", evaluator(METRIC), "--max-loss", "0.6")
    done = amct("autocalibrate", digits, *words)
    assert done.code == 0
    assert "1. float model: metric 99.4962" in done.err
    assert "2 evaluations, 1 candidate exported, 1 pass over the data; 0 of 7 layers back in float" in done.out
    names = {file.name for file in Path("out").iterdir()}
    assert {"d_config.json", "d_autocalibration.json", "d_deploy_model.onnx", "d_record.txt"} <= names
    assert not any("journal" in name for name in names)


@pytest.mark.usefixtures("here")
def test_json_holds_search_and_report(amct: Run, digits: Path, samples: Path) -> None:
    words = ("--data", samples, "-o", "out/d", "--evaluator", evaluator(SIZE, STOP=0), "--max-loss", "4", "--json")
    done = amct("autocalibrate", digits, *words)
    told = json.loads(done.out)
    left = told["autocalibration"]["in_float"]
    assert 0 < len(left) < 7
    assert {skip["node"] for skip in told["report"]["skips"]} == set(left)
    assert done.err == ""
    assert len(Path("calls.txt").read_text().splitlines()) == told["autocalibration"]["evaluations"]


@pytest.mark.usefixtures("here")
def test_a_killed_run_goes_on_where_it_stopped(digits: Path, samples: Path) -> None:
    """The process is killed in the middle of its fourth evaluation."""
    words = ["--data", str(samples), "-o", "out/d", "--max-loss", "4", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(stop: int) -> subprocess.CompletedProcess[str]:
        # What stops the run is no part of the evaluator, or its metrics would be another evaluator's.
        text = SIZE.replace("STOP", "int(os.environ['STOP'])")
        command = [sys.executable, "-m", "amct_lite", "autocalibrate", str(digits), "--evaluator", evaluator(text), *words]
        environment["STOP"] = str(stop)
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)

    whole = json.loads(run(0).stdout)["autocalibration"]
    calls = Path("calls.txt")
    expected = calls.read_text().splitlines()
    calls.unlink()
    assert run(4).returncode == -signal.SIGKILL
    assert Path("out/d_autocalibration_journal.jsonl").is_file()
    told = json.loads(run(0).stdout)["autocalibration"]
    assert calls.read_text().splitlines() == [*expected[:4], *expected[3:]]  # only the interrupted one is made again
    assert told["evaluations"] == whole["evaluations"] - 3
    assert told["in_float"] == whole["in_float"]
    assert not Path("out/d_autocalibration_journal.jsonl").exists()


TRAVELLING = """
import os
from amct_onnx.common.auto_calibration import AutoCalibrationEvaluatorBase
class Size(AutoCalibrationEvaluatorBase):
    def calibration(self, model_file):
        raise AssertionError
    def evaluate(self, model_file):
        return os.path.getsize(model_file) / 1000
    def metric_eval(self, original, new):
        return original - new < 4, original - new
"""


@pytest.mark.parametrize(("text", "more"), [(SIZE, ("--max-loss", "4")), (TRAVELLING, ()), (TRAVELLING, ("--max-loss", "4"))])
@pytest.mark.usefixtures("here")
def test_workers_evaluate_with_the_function_or_the_class_of_a_file(
    amct: Run, digits: Path, samples: Path, text: str, more: tuple[str, ...]
) -> None:
    found = {}
    for count in (1, 2):
        words = ("--data", samples, "--evaluator", evaluator(text, STOP=0), *more, "--threads", 1, "--workers", count)
        assert amct("autocalibrate", digits, *words, "-o", f"out{count}/d").code == 0
        found[count] = {file.name: file.read_bytes() for file in Path(f"out{count}").iterdir()}
    assert found[1] == found[2]


EVALUATOR = """
from dataclasses import dataclass
from amct_onnx.common.auto_calibration import AutoCalibrationEvaluatorBase
@dataclass
class Mine(AutoCalibrationEvaluatorBase):
    allowed: "float" = 1e9
    def calibration(self, modified_model_file): raise NotImplementedError
    def evaluate(self, model_file):
        import amct_onnx, pathlib
        return len(pathlib.Path(model_file).read_bytes())
    def metric_eval(self, original, new): return original - new <= self.allowed, original - new
"""


@pytest.mark.usefixtures("here")
def test_an_amct_evaluator_decides_itself_unless_max_loss_is_given(amct: Run, digits: Path, samples: Path) -> None:
    words = ("--data", samples, "-o", "out/d", "--evaluator", evaluator(EVALUATOR))
    done = amct("autocalibrate", digits, *words)
    assert done.code == 0
    assert "0 of 7 layers back in float" in done.out
    done = amct("autocalibrate", digits, *words, "--max-loss", "4000", "--max-evaluations", "3")
    assert done.code == 0
    assert "3 evaluations were not enough to try each layer" in done.out
    assert " 0 of 7 layers back" not in done.out


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("text", "words", "code", "message"),
    [
        (METRIC, (), 3, "--max-loss is missing"),
        ("def evaluate(model_path): pass", ("--max-loss", "1"), 5, "eval.py: evaluate returned None for the float model"),
        ("def evaluate(model_path): return 1 / 0", ("--max-loss", "1"), 5, "eval.py:1: ZeroDivisionError: division by zero"),
        ("def evalute(m): pass", ("--max-loss", "1"), 3, "must define a function evaluate(model_path)"),
        ("def evaluate(m: return 1", ("--max-loss", "1"), 5, "eval.py:1: SyntaxError"),
        (METRIC, ("--max-loss", "1", "--sensitivity", "SQRN"), 3, "unknown sensitivity 'SQRN' (did you mean 'SQNR'?)"),
        (SIZE, ("--max-loss", "0"), 6, "no quantized model keeps the metric"),
    ],
)
def test_mistakes_are_told(
    amct: Run, digits: Path, samples: Path, text: str, words: tuple[str, ...], code: int, message: str
) -> None:
    done = amct("autocalibrate", digits, "--data", samples, "-o", "out/d", "--evaluator", evaluator(text, STOP=0), *words)
    expected = message.replace("eval.py:1:", "eval.py:2:")  # the line of STOP comes first
    assert done.code == code
    assert expected in done.err
    assert not Path("out/d_record.txt").exists()


@pytest.mark.usefixtures("here")
def test_samples_are_asked_for(amct: Run, digits: Path) -> None:
    done = amct("autocalibrate", digits, "-o", "out/d", "--evaluator", "eval.py", "--max-loss", "1")
    assert done.code == 3
    assert "Pass --data" in done.err


@pytest.mark.usefixtures("here")
def test_ctrl_c_says_where_the_metrics_are(amct: Run, digits: Path, samples: Path) -> None:
    text = "import os\ndef evaluate(m):\n    if 'fake' in m: raise KeyboardInterrupt\n    return 1.0"
    words = ("--data", samples, "-o", "out/d", "--evaluator", evaluator(text), "--max-loss", "1")
    done = amct("autocalibrate", digits, *words)
    assert done.code == 130
    assert "what was measured is in out/d_autocalibration_journal.jsonl, the same command goes on from there" in done.err
    assert [file.name for file in Path("out").iterdir()] == ["d_autocalibration_journal.jsonl"]
    journal = Path("out/d_autocalibration_journal.jsonl").read_bytes()
    done = amct("autocalibrate", digits, *words)
    first, second, *_ = done.err.splitlines()
    assert first.startswith("out/d_autocalibration_journal.jsonl is of an interrupted run like this: what it knows is not")
    assert second == "  1. float model: metric 1 (from the journal)"
    Path("out/d_autocalibration_journal.jsonl").write_bytes(journal)
    done = amct("autocalibrate", digits, *words, "--algo", "minmax", "--batches", 2)
    first, second, *_ = done.err.splitlines()
    assert first.endswith(
        "was of an interrupted run with another model, other scales or another evaluator: this one begins anew."
    )
    assert second == "  1. float model: metric 1"


@pytest.mark.usefixtures("here")
def test_a_run_that_fails_before_it_measures_says_nothing_of_a_journal(amct: Run, digits: Path) -> None:
    Path("out").mkdir()
    Path("out/d_autocalibration_journal.jsonl").write_text('{"key": 1}\n{"in_float": null}\n')
    done = amct("autocalibrate", digits, "--data", "absent", "-o", "out/d", "--evaluator", evaluator(SIZE), "--max-loss", "1")
    assert done.code == 5
    assert "journal" not in done.err
    assert Path("out/d_autocalibration_journal.jsonl").is_file()
