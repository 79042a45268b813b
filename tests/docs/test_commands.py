"""The commands that documents and messages name are there, with the options that they are given."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from fences import ROOT

from amct_lite.cli import group

PLACES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "samples").rglob("*.md"))]
SOURCES = sorted((ROOT / "amct_lite").rglob("*.py"))


def spoken(text: str) -> set[str]:
    """What begins with the name of the command: in a fence, a span of code or a string."""
    fenced = re.findall(r"^(?:\$ )?(amct-lite .*)$", text, flags=re.MULTILINE)
    return {*fenced, *re.findall(r"[`\"](amct-lite [a-z][^`\"]*)[`\"]", text)}


def unknown(line: str) -> list[str]:
    """Words that are no command, and options that the command does not have."""
    command: click.Command = group
    words = line.partition("#")[0].split()[1:]
    while isinstance(command, click.Group) and words and not words[0].startswith(("-", "…")):
        found = command.get_command(click.Context(command), words[0])
        if found is None:
            return [words[0]]
        command, words = found, words[1:]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h"}
    options = re.findall(r"(?<![\w-])--?[a-z][\w-]*", " ".join(words))
    return [option for option in options if option not in known]


@pytest.mark.parametrize("place", PLACES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documents_name_commands_and_options_that_exist(place: Path) -> None:
    assert {line: bad for line in spoken(place.read_text(encoding="utf-8")) if (bad := unknown(line))} == {}


def test_messages_name_commands_and_options_that_exist() -> None:
    said = {line for source in SOURCES for line in spoken(source.read_text(encoding="utf-8"))}
    assert len(said) > 15
    assert {line: bad for line in said if (bad := unknown(line))} == {}


def test_a_wrong_word_is_found() -> None:
    assert unknown("amct-lite calibrat model.onnx") == ["calibrat"]
    assert unknown("amct-lite record show r.txt --mode m.onnx") == ["--mode"]
    assert unknown("amct-lite calibrate model.onnx --data calib/ -o out/net --algo mse") == []
