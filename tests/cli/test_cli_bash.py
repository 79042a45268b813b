"""Completion in bash itself, whose words end at `=` and `:`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem

from amct_lite.cli import group
from amct_lite.cli.bash import WholeWords
from amct_lite.precision.widths import DEFAULT, FLOATS

BREAKS = " \t\n\"'><=;|&(:"
"""Bash's own default."""


def offered(monkeypatch: pytest.MonkeyPatch, line: str, breaks: str = BREAKS) -> list[str]:
    monkeypatch.setenv("COMP_LINE", f"amct-lite {line}")
    monkeypatch.setenv("COMP_WORDBREAKS", breaks)
    return WholeWords(group, {}, "amct-lite", "_AMCT_LITE_COMPLETE").complete().splitlines()


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("search MODEL --only stem", ["plain,stem.conv="]),
        ("search MODEL --only stem.conv=", [f"plain,{name}" for name in (*DEFAULT, *FLOATS)]),
        ("search MODEL --only stem.conv=W4A8,W8A1", ["plain,W4A8,W8A16"]),
        ("search MODEL --only=stem.conv=W4", ["plain,W4A8", "plain,W4A4"]),
        ("search MODEL --only=stem", ["plain,stem.conv="]),
        ("search MODEL --only 'stem.conv=W8A1", ["plain,stem.conv=W8A16"]),
        ("calibrate MODEL --tensor block1.add:", ["plain,0", "plain,1"]),
        ("calibrate MODEL --skip=cl", ["plain,classifier"]),
        ("calibrate MODEL --skip cl", ["plain,classifier"]),
        ("calibrate MODEL --target ", ["plain,ascend", "plain,ort", "plain,generic"]),
        ("calibrate MODEL --bias-c", ["plain,--bias-correction"]),
        ("autoc", ["plain,autocalibrate"]),
        ("calibrate MODEL --data=cal", ["file,cal"]),
    ],
)
def test_bash_gets_what_stands_behind_the_last_break(
    monkeypatch: pytest.MonkeyPatch, digits: Path, line: str, replies: list[str]
) -> None:
    assert offered(monkeypatch, line.replace("MODEL", str(digits))) == replies


def test_where_bash_breaks_words_at_blanks_alone_it_gets_all_of_the_word(monkeypatch: pytest.MonkeyPatch, digits: Path) -> None:
    assert offered(monkeypatch, f"search {digits} --only=stem.conv=W8A1", " ") == ["plain,--only=stem.conv=W8A16"]


def test_characters_that_mean_something_to_bash_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = WholeWords(group, {}, "amct-lite", "_AMCT_LITE_COMPLETE")
    monkeypatch.setenv("COMP_WORDBREAKS", BREAKS)
    monkeypatch.setenv("COMP_LINE", "amct-lite calibrate m --skip model/a")
    reply.get_completion_args()
    item = CompletionItem("model/act;bn/Conv (1)")
    assert reply.format_completion(item) == r"plain,model/act\;bn/Conv\ \(1\)"
    monkeypatch.setenv("COMP_LINE", "amct-lite calibrate m --skip 'model/a")
    reply.get_completion_args()
    assert reply.format_completion(item) == "plain,model/act;bn/Conv (1)"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_the_script_completes_in_bash(digits: Path, tmp_path: Path) -> None:
    command = tmp_path / "amct-lite"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m amct_lite "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    line = f"amct-lite search {digits} --only stem.conv=W8"
    script = f"""
        compopt() {{ echo "option $2"; }}
        eval "$(_AMCT_LITE_COMPLETE=bash_source amct-lite)"
        COMP_LINE='{line}and more' COMP_POINT={len(line)}
        _amct_lite_completion amct-lite; printf '%s\\n' "${{COMPREPLY[@]}}"
        COMPREPLY=() COMP_LINE='amct-lite search {digits} --only stem' COMP_POINT=1000
        _amct_lite_completion amct-lite; printf '%s\\n' "${{COMPREPLY[@]}}"
        complete -p amct-lite
    """
    path = os.pathsep.join((str(tmp_path), os.environ["PATH"]))
    root = str(Path(__file__).parents[2])
    run = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": path, "PYTHONPATH": root},
    )
    assert run.stdout.splitlines() == [
        "W8A16",
        "W8A8",
        "option nospace",
        "stem.conv=",
        "complete -o nosort -F _amct_lite_completion amct-lite",
    ]
