"""What a run says of the latency of its model for ONNX Runtime: measured as the user runs it, and no more than is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from amct_lite.cli import speed
from amct_lite.reports.report import LayerRow, Report
from amct_lite.runtime import RuntimeOptions
from amct_lite.validate.speed import Speed

Run = Callable[..., Any]
FASTER = Speed(4.0, 1.0, threads=2, shapes={"x": (1, 3, 8, 8)})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RuntimeOptions]:
    """The options that speed was measured with; it is always the same."""
    found: list[RuntimeOptions] = []

    def compare(_exact: object, _integer: object, _feeds: object, options: RuntimeOptions) -> Speed:
        found.append(options)
        return FASTER

    monkeypatch.setattr("amct_lite.validate.speed.compare_speed", compare)
    return found


def said(measured: Speed, *, quiet: bool = False, gained: str = "") -> str:
    text = StringIO()
    speed.say_speed(Console(file=text, width=500), measured, quiet=quiet, gained=gained)
    return text.getvalue()


def test_threads_and_shapes_are_told() -> None:
    assert said(FASTER) == "latency here: float 4 ms, quantized 1 ms (0.25 of float; 2 threads, x 1×3×8×8)\n"
    assert said(FASTER, quiet=True) == ""


def test_what_takes_long_is_told_in_seconds() -> None:
    assert "float 4.01 s, quantized 999 ms" in said(Speed(4012.3, 999.4, threads=2, shapes={"x": (4,)}))


def test_a_slower_model_is_warned_of_even_when_quiet() -> None:
    slower = Speed(1.0, 2.0, threads=1, shapes={"x": (4,)})
    assert said(slower, quiet=True).startswith("warning: slower than the float model on this machine: float 1 ms")
    assert "1 thread, x 4" in said(slower)
    assert said(slower).endswith("keep the float model; `amct-lite explain` names the layers to blame.\n")


@pytest.mark.parametrize(
    ("ratio", "scatter", "word"),
    [(1.02, 1.0, "no faster"), (1.3, 2.0, "no faster"), (1.3, 1.2, "slower"), (2.5, 2.0, "slower")],
)
def test_a_model_is_called_slower_only_where_the_measurement_can_tell(ratio: float, scatter: float, word: str) -> None:
    text = said(Speed(1.0, ratio, 1, {"x": (4,)}, scatter), quiet=True)
    assert text.startswith(f"warning: {word} than the float model on this machine")


def report_of(*rows: LayerRow) -> Report:
    return Report("m.onnx", "ort", 8, rows, (), (), (), sizes={"float": 20_480_000, "fake_quant": 0, "ort": 5_120_000})


TABLE = LayerRow("embed", "Gather", None, None, "per channel (256)")
GAINED = "Only tables are quantized, which saves size, not time: weights of 5.12 MB, 20.48 MB in float."


@pytest.mark.parametrize(
    ("rows", "gained"),
    [((TABLE,), GAINED), ((TABLE, LayerRow("fc", "Gemm", 0.1, 3, "per tensor")), ""), ((), "")],
)
def test_where_only_tables_are_quantized_the_size_is_what_is_gained(rows: tuple[LayerRow, ...], gained: str) -> None:
    assert speed.gained_beside_time(report_of(*rows)) == gained


def test_only_what_is_surely_slower_is_warned_of_where_size_is_gained() -> None:
    slower, same = Speed(1.0, 2.0, 1, {"x": (4,)}), Speed(1.0, 1.02, 1, {"x": (4,)})
    assert said(slower, gained=GAINED).endswith(f"1 thread, x 4). {GAINED} Keep the float model if time counts for more.\n")
    assert said(same, gained=GAINED).endswith(f"1 thread, x 4). {GAINED}\n")
    assert (said(slower, gained=GAINED, quiet=True)[:8], said(same, gained=GAINED, quiet=True)) == ("warning:", "")


@pytest.mark.parametrize(("scatter", "doubt"), [(1.4, False), (3.0, True)])
def test_on_a_busy_machine_the_figure_is_doubted(scatter: float, doubt: bool) -> None:
    text = said(Speed(4.0, 1.0, 2, {"x": (1,)}, scatter))
    assert ("the machine is busy, runs scatter 3.0-fold" in text) == doubt


def test_it_is_measured_as_the_user_runs_the_model(
    amct: Run, digits: Path, samples: Path, tmp_path: Path, asked: list[RuntimeOptions]
) -> None:
    options = ("--threads", 1, "--session-config", "session.intra_op.allow_spinning=1")
    done = amct("calibrate", digits, "--data", samples, "--batches", 2, "-o", tmp_path / "x", "--target", "ort", *options)
    assert (done.code, "latency here: float 4 ms" in done.out) == (0, True)
    assert [(one.threads, one.session_config) for one in asked] == [(1, (("session.intra_op.allow_spinning", "1"),))]


def test_programs_get_it_from_standard_output_and_the_file_stays_the_same_each_time(
    amct: Run, digits: Path, samples: Path, tmp_path: Path, asked: list[RuntimeOptions]
) -> None:
    done = amct("calibrate", digits, "--data", samples, "--batches", 2, "-o", tmp_path / "x", "--target", "ort", "--json")
    printed, written = json.loads(done.out), json.loads((tmp_path / "x_report.json").read_text(encoding="utf-8"))
    assert printed.pop("latency") == {
        "float_ms": 4.0,
        "quantized_ms": 1.0,
        "of_float": 0.25,
        "threads": 2,
        "shapes": {"x": [1, 3, 8, 8]},
        "scatter": 1.0,
    }
    assert printed == written
    assert len(asked) == 1
