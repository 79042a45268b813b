"""What a shell hands over, and what was meant by it."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from amct_lite.cli.words import as_meant


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("--data=~/calib", "--data=HOME/calib"),
        ("-o=~/out/net", "-oHOME/out/net"),
        ("-o~/out/net", "-oHOME/out/net"),
        ("--data=~", "--data=HOME"),
        ("-o=out/net", "-oout/net"),
        ("--data=~x/calib", "--data=~x/calib"),
        ("~/quoted", "~/quoted"),
        ("--data=a~/b", "--data=a~/b"),
        ("x:1,3,8,8", "x:1,3,8,8"),
        ("-", "-"),
        ("--", "--"),
    ],
)
def test_words_are_taken_as_they_were_meant(monkeypatch: pytest.MonkeyPatch, word: str, meant: str) -> None:
    monkeypatch.setattr(Path, "home", lambda: "HOME")
    assert as_meant(["inspect", word]) == ["inspect", meant]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["calibrate", "m.onnx", "-o", ""], "what follows -o is empty. Give a value; is a variable of the shell not set?"),
        (["calibrate", "m.onnx", "--data="], "--data= is empty"),
        (["calibrate", "m.onnx", "-o="], "-o= is empty"),
        ([""], "the first word is empty"),
    ],
)
def test_an_empty_word_is_told(words: list[str], told: str) -> None:
    with pytest.raises(click.UsageError, match=told):
        as_meant(words)


def test_an_option_with_an_equals_sign_names_the_file_behind_it(amct, digits, samples, tmp_path) -> None:
    assert amct("calibrate", digits, f"--data={samples}", "--batches", 1, f"-o={tmp_path / 'x'}").code == 0
    assert (tmp_path / "x_record.txt").exists()


def test_no_output_is_not_the_folder_where_one_is(amct, digits, samples, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = amct("calibrate", digits, "--data", samples, "-o", "")
    assert (done.code, done.out) == (2, "")
    assert "what follows -o is empty" in done.err
    assert not list(tmp_path.iterdir())
