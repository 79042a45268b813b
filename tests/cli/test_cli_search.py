"""`amct-lite search` as a user meets it."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from digits_metric import METRIC

import amct_lite
from amct_lite.cli.search_report import tell_measured
from amct_lite.errors import ConfigError, UnsupportedModelError
from amct_lite.precision.measured import Measured
from amct_lite.reports.report import OutputError

Run = Callable[..., Any]


@pytest.fixture
def search(amct: Run, digits: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command on the digits in an empty folder."""
    monkeypatch.chdir(tmp_path)
    Path("eval.py").write_text(METRIC, encoding="utf-8")
    return lambda *words: amct("search", digits, "--data", samples, "-o", "out/d", "--threads", 1, *words)


def test_the_choice_is_shown_beside_its_neighbours_and_the_same_widths_everywhere(search: Run) -> None:
    done = search("--budget", "bitops=0.15", "--evaluator", "eval.py")
    assert done.code == 0
    lines = done.out.splitlines()
    # Bit operations, weights and accuracy of each strategy, in one table.
    for name in ("float32", "float16", "all W8A8", "all W4A8", "mixed"):
        assert any(line.startswith(f"{name} ") and " G " in line for line in lines), name
    assert next(line for line in lines if line.startswith("float32 ")).split()[-2] == "99.4962"
    assert any(line.startswith("next cheaper") for line in lines)
    assert any(line.startswith("warning: ") and "=float), or try more bits (--only " in line for line in lines)
    assert "4 and 16 bits are not faster there" in done.out
    assert "1. mixed (" in done.err
    assert "float32 (7 float32): exact, metric 99.4962\n" in done.err
    names = {file.name for file in Path("out").iterdir()}
    assert {"d_config.json", "d_search.json", "d_deploy_model.onnx", "d_record.txt"} <= names
    assert not any("journal" in name for name in names)


def test_json_holds_the_front_and_the_choice(search: Run) -> None:
    done = search("--budget", "bytes=0.3", "--json", "--widths", "W8A8,W4A8", "--sensitivity", "local", "--rounding", "none")
    found = json.loads(done.out)["search"]
    assert found["chosen"]["weight_bytes"] <= 0.3 * found["cost_of_the_float_model"]
    costs = [point["cost"] for point in found["front"]]
    assert costs == sorted(costs)
    assert set(found["latency_ms"]) == {"float32", "float16", "all W8A8", "all W4A8", "mixed"}
    assert "latency_ms" not in json.loads(Path("out/d_search.json").read_text(encoding="utf-8"))  # the same bytes each time


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "bitops=0.01"), "cannot be met: the smallest that can is bitops=0."),
        (("--budget", "bitop=0.5"), "did you mean 'bitops'"),
        (("--budget", "bitops=0.2", "--only", "stem.conv"), "is not LAYER=WIDTHS"),
        (("--budget", "bitops=0.2", "--only", "stem.con=W8A8"), "did you mean 'stem.conv'"),
        (("--budget", "bitops=0.2", "--sensitivity", "globl"), "'globl' is not known"),
        (("--budget", "bitops=0.2", "--rounding", "gptk"), "ConfigError: unknown weight method 'gptk' (did you mean 'gptq'?)"),
    ],
)
def test_mistakes_are_told_without_a_traceback(search: Run, words: tuple[str, ...], message: str) -> None:
    done = search(*words)
    assert done.code != 0
    assert message in done.err
    assert not Path("out").exists() or not any(file.suffix == ".onnx" for file in Path("out").iterdir())


def test_a_missing_solver_is_found_before_anything_is_read(amct: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    done = amct("search", "absent.onnx", "--data", "absent/", "--budget", "bitops=0.5", "-o", "out/x")
    assert done.code == 3
    assert "pip install 'amct-lite[search]'" in done.err
    with pytest.raises(ConfigError, match=r"pip install 'amct-lite\[search\]'"):
        amct_lite.search_precision("absent.onnx", "absent/", "bytes=0.5")
    with pytest.raises(UnsupportedModelError):  # no optimum, no solver
        amct_lite.search_precision("absent.onnx", "absent/", "max-loss=0.5")


@pytest.mark.parametrize(("decibels", "shown"), [(math.inf, "exact"), (-math.inf, "-inf dB"), (30.12, "30.1 dB")])
def test_only_what_is_identical_is_exact(decibels: float, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    point = Measured({"conv": "W8A8"}, 1, 1, 1, 0.1, 0.1, (OutputError("y", 0.1, 0.9, decibels),))
    tell_measured(quiet=False)("W8A8", point)
    assert f"(1 W8A8): {shown}" in capsys.readouterr().err
