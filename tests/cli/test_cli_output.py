"""How the end of a run is worded."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from math import inf

import pytest
from rich.console import Console

from amct_lite.cli import output
from amct_lite.cli.output import print_kernels, print_report, print_skips, progress_bar
from amct_lite.reports.report import LayerRow, OutputError, Report
from amct_lite.types import Skip
from amct_lite.validate.kernels import Kernels


@pytest.mark.parametrize(("sqnr_db", "told"), [(inf, "2 batches: no difference\n"), (61.04, "2 batches: SQNR 61.0 dB\n")])
def test_kernels_that_reproduce_the_fake_quant_model_exactly_have_no_decibels(sqnr_db: float, told: str) -> None:
    text = StringIO()
    kernels = Kernels(layers=3, integer=3, in_float=(), quantize=1, dequantize=1, samples=2, sqnr_db=sqnr_db)
    print_kernels(Console(file=text, width=300), kernels)
    assert text.getvalue().endswith(told)


def test_a_layer_without_an_error_has_no_decibels() -> None:
    assert output._measured(LayerRow("embed", "Gather", None, None, "per tensor", inf, 1.0)) == ("exact", "1.000000")


def test_values_that_were_compared_on_noise_are_said_to_be_not_judged() -> None:
    text = StringIO()
    kernels = Kernels(layers=3, integer=3, in_float=(), quantize=1, dequantize=1, samples=2, sqnr_db=61.04, judged=False)
    print_kernels(Console(file=text, width=300), kernels)
    assert text.getvalue().endswith("2 batches of random numbers (shown, not judged: that takes samples): SQNR 61.0 dB\n")


def test_of_tables_alone_nothing_is_computed_on_integers() -> None:
    text = StringIO()
    kernels = Kernels(layers=0, integer=0, in_float=(), quantize=0, dequantize=1, samples=2, sqnr_db=inf)
    print_kernels(Console(file=text, width=300), kernels)
    assert text.getvalue().startswith("ONNX Runtime has no layer to compute on integers: tables are stored as them (0 Quant")


def test_layers_in_float_are_named_with_their_reasons() -> None:
    text = StringIO()
    in_float = (Skip("a", "Conv", "[add] reads its output as float"), Skip("b", "Gemm", "its bias is float"))
    kernels = Kernels(layers=3, integer=1, in_float=in_float, quantize=1, dequantize=1, samples=2, sqnr_db=50.0)
    print_kernels(Console(file=text, width=300), kernels)
    rows = [line.split(maxsplit=2) for line in text.getvalue().splitlines() if line[:2] in {"a ", "b "}]
    assert [[cell.strip() for cell in row] for row in rows] == [[s.node, s.op_type, s.reason] for s in in_float]


@pytest.mark.parametrize(
    ("terminal", "rows"), [(True, ["scores0 and others  12 MatMul", "head "]), (False, ["scores11 ", "head "])]
)
def test_many_layers_with_one_reason_share_a_row_where_people_read(terminal: bool, rows: list[str]) -> None:
    alike = [Skip(f"scores{number}", "MatMul", "both inputs are activations") for number in range(12)]
    text = StringIO()
    print_skips(
        Console(file=text, width=200, force_terminal=terminal, color_system=None), (*alike, Skip("head", "Gemm", "asked for"))
    )
    lines = text.getvalue().splitlines()
    assert all(any(line.startswith(row) for line in lines) for row in rows)
    assert sum("both inputs are activations" in line for line in lines) == (1 if terminal else 12)


@pytest.mark.parametrize(("terminal", "names"), [(True, ["conv", "cat1:0", "cat1:1", "add:0"]), (False, None)])
def test_a_tensor_that_several_nodes_of_a_kind_read_has_one_row_where_people_read(
    terminal: bool, names: list[str] | None
) -> None:
    """With the count of its readers; rows of other numbers, operators or layers stay."""
    same = LayerRow("", "Concat", 0.5, -3, "—", 40.0, 0.9999, tensor=True)
    rows = (
        replace(same, name="conv", op_type="Conv", tensor=False),
        *(replace(same, name=f"cat{number}:0") for number in (1, 2, 3)),
        replace(same, name="cat1:1", sqnr_db=41.0),
        replace(same, name="add:0", op_type="Add"),
    )
    text = StringIO()
    report = Report("m.onnx", "ort", 8, rows, (), (), ())
    print_report(Console(file=text, width=200, force_terminal=terminal, color_system=None), report, (), 1.0)
    lines = [line for line in text.getvalue().splitlines() if " 0.5 " in line]
    assert [line.split()[0] for line in lines] == (names or [row.name for row in rows])
    assert (lines[1].split()[1:5] == ["and", "others", "3", "Concat"]) == terminal
    assert ("share a row" in text.getvalue()) == terminal
    assert "1 layer and 5 tensors quantized" in text.getvalue()


def test_in_sixty_columns_no_word_of_the_table_is_broken() -> None:
    row = LayerRow("a/long/name/of/some/layer", "AveragePool", 0.0178571, -128, "per channel (64)", 59.1, 0.999999)
    text = StringIO()
    report = Report("m.onnx", "ascend", 8, (row,), (), (), ())
    print_report(Console(file=text, width=60, force_terminal=True, color_system=None), report, (), 1.0)
    (line,) = (line for line in text.getvalue().splitlines() if "AveragePool" in line)
    assert line.split()[1:] == ["AveragePool", "0.0178571", "-128", "59.1"]


def test_a_stage_that_comes_again_is_counted_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search learns roundings for one width after the other."""
    text = StringIO()
    terminal = Console(file=text, width=100, force_terminal=True, color_system=None)
    monkeypatch.setattr(output, "console", lambda **_options: terminal)
    with progress_bar(hidden=False) as advance:
        for total in (6, 6, 3):
            for _ in range(total):
                advance("learn rounding", 1, total)
            terminal.print(f"learned {total}")  # shows the bar as it is
    shown = re.findall(r"learn rounding .* (\d+/\d+)", text.getvalue())
    assert {"6/6", "3/3"} <= set(shown)
    assert all(int(done) <= int(total) for done, total in (count.split("/") for count in shown))


def test_outputs_that_are_equal_have_no_decibels() -> None:
    text = StringIO()
    equal = OutputError("y", 0.0, 1.0, inf)
    report = Report("m.onnx", "generic", 4, (), (), (), (), outputs=(equal,), compared_samples=4)
    print_report(Console(file=text, width=300), report, (), 0.0)
    assert "output y, 4 batches: no difference\n" in text.getvalue()
