"""Tables in terminals of any width, and where there is none."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from amct_lite.cli.layout import PIPE_WIDTH, console, count_of, print_annotated, print_table, say, say_whole, size

LONG = "model/activation/Relu;model/batch_normalization/FusedBatchNormV3;model/conv2d/Conv2D"


def _terminal(width: int) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=width, force_terminal=True, color_system=None, highlight=False), file


def _pipe() -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=PIPE_WIDTH, force_terminal=False), file


@pytest.mark.parametrize("width", [60, 80, 90])
def test_a_long_name_is_cut_in_the_middle_and_the_row_stays_one_line(width):
    out, file = _terminal(width)
    print_table(out, "t", ("layer", "op", "#scale_d"), [(LONG, "Conv", "0.25")])
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if "Conv " in line and "0.25" in line)
    assert row.startswith("model/")
    assert "…" in row
    assert row.split()[0].endswith("Conv2D")
    assert any("--json" in line for line in lines)


def test_a_title_longer_than_its_table_stays_one_line_without_blanks_behind():
    title = "cifar10_resnet20_bn_op11.onnx against cifar10_resnet20.onnx"
    for out, file in (_terminal(80), _pipe()):
        print_table(out, title, ("layer", "op"), [("a", "Conv")])
        assert file.getvalue().splitlines()[0] == title


def test_a_number_is_never_cut():
    columns, row = (
        ("layer", "#scale_d", "#clipped", "scale_w", "types"),
        ("0.584932", "0.0016 %", "0.0001 … 0.02 (64)", "INT8 × INT8"),
    )
    for width in (60, 80):  # text gives way
        out, file = _terminal(width)
        print_table(out, "t", columns, [(LONG, *row)])
        assert "  0.584932  0.0016 %  " in file.getvalue()
    out, file = _terminal(30)
    print_table(out, "t", columns, [(LONG, *row)])
    told = " ".join(file.getvalue().split())
    assert told.endswith("Conv2D: scale_d 0.584932, clipped 0.0016 %, scale_w 0.0001 … 0.02 (64), types INT8 × INT8")


def test_a_row_that_is_no_table_leaves_out_what_it_has_not_and_takes_a_name_as_it_is():
    out, file = _terminal(20)
    print_table(out, "t", ("layer", "op", "", "#scale_d"), [("a[0]", "", "[dim]jump[/]", "0.12345678")])
    assert file.getvalue().splitlines() == ["t", "a[0]: jump, scale_d ", "0.12345678", ""]


def test_a_pipe_gets_whole_names():
    out, file = _pipe()
    print_table(out, "t", ("layer", "op"), [(LONG, "Conv")])
    assert LONG in file.getvalue()
    assert "…" not in file.getvalue()


def test_names_with_brackets_are_not_taken_for_markup():
    out, file = _pipe()
    print_table(out, "[red]", ("layer", "op"), [("a[bold]b", "Conv")])
    assert "a[bold]b" in file.getvalue()
    assert "[red]" in file.getvalue()


def test_notes_are_a_column_where_there_is_room():
    out, file = _terminal(120)
    print_annotated(out, "t", ("layer", "op"), [("a", "Conv"), ("b", "Conv")], ["", "raised"])
    assert "b      Conv  raised" in file.getvalue()


def test_notes_are_gathered_below_a_narrow_table():
    out, file = _terminal(80)
    print_annotated(out, "t", ("layer", "op"), [("a", "Conv"), ("b", "Conv")], ["raised", "raised"])
    assert "2 layers: raised" in file.getvalue()
    assert "notes" not in file.getvalue()


def test_text_wraps_in_a_terminal_only_and_commands_never():
    text = "word " * 30
    out, file = _terminal(40)
    say(out, text)
    assert len(file.getvalue().splitlines()) > 1
    out, file = _pipe()
    say(out, text * 10)
    assert len(file.getvalue().splitlines()) == 1
    out, file = _terminal(40)
    say_whole(out, text)
    assert len(file.getvalue().splitlines()) == 1


def test_sizes_and_counts_have_their_units():
    assert [size(n) for n in (99_999, 100_000, 2_500_000_000)] == ["100.0 kB", "0.10 MB", "2.50 GB"]
    assert [count_of(n, "batch", "batches") for n in (0, 1, 2)] == ["0 batches", "1 batch", "2 batches"]


def test_a_name_between_colons_is_no_emoji(capsys):
    out = console()
    print_table(out, "blocks:zap:", ("layer", "op"), [("block:zap:1", "Conv")])
    say(out, "note: block:zap:1")
    assert capsys.readouterr().out.count("block:zap:1") == 2


def test_control_characters_in_a_name_are_shown_and_do_nothing():
    for out, file in (_terminal(80), _pipe()):
        print_table(
            out, "t", ("layer", "op"), [("a\nb", "Conv"), ("c\x1b[31md", "Conv"), ("e\rf", "Conv"), ("g\u2028h", "Conv")]
        )
        say(out, "slow: i\nj")
        lines = file.getvalue().split("\n")
        shown = [line.split()[0] for line in lines if line.rstrip().endswith("Conv")]
        assert shown == [r"a\nb", r"c\x1b[31md", r"e\rf", r"g\u2028h"]
        assert r"slow: i\nj" in lines
