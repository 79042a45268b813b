"""Output where not every letter can be written: encodings of pipes and old locales, file names that are no UTF-8."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_MAIN = "from amct_lite.cli import main; main()"


def _run(encoding: str, *args: object) -> bytes:
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", _MAIN, *map(str, args)], capture_output=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.mark.parametrize("encoding", ["cp1252:strict", "ascii:surrogateescape"])
def test_what_an_encoding_lacks_is_a_question_mark(encoding: str, digits: Path) -> None:
    name, _, _ = encoding.partition(":")
    assert "target ascend: 7 layers would be quantized" in _run(encoding, "inspect", digits).decode(name)


def test_json_is_utf8_whatever_the_terminal(digits: Path, tmp_path: Path) -> None:
    model = shutil.copy(digits, tmp_path / "zähler—模型.onnx")
    assert json.loads(_run("ascii:strict", "inspect", model, "--json").decode("utf-8"))["model"] == "zähler—模型.onnx"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_file_name_that_is_no_utf8_is_shown_with_a_question_mark(digits: Path, tmp_path: Path) -> None:
    model = shutil.copy(digits, tmp_path / os.fsdecode(b"mod\xe8le.onnx"))
    assert _run("utf-8:strict", "inspect", model).startswith(b"mod?le.onnx")
    assert json.loads(_run("utf-8:strict", "inspect", model, "--json"))["model"] == "mod?le.onnx"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux")
def test_a_run_of_such_a_file_is_written(amct, digits: Path, samples: Path, tmp_path: Path) -> None:
    model = shutil.copy(digits, tmp_path / os.fsdecode(b"mod\xe8le.onnx"))
    prefix = tmp_path / os.fsdecode(b"r\xe9sultat")
    assert amct("calibrate", model, "--data", samples, "--batches", 2, "-o", prefix).code == 0
    assert amct("bitops", model, "--input-shape", "images:1,1,8,8", "-o", prefix).code == 0
    report, cost = (Path(f"{prefix}_{name}.json").read_text(encoding="utf-8") for name in ("report", "bitops"))
    assert json.loads(report)["model"] == json.loads(cost)["model"] == "mod?le.onnx"
