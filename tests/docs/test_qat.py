"""docs/qat.md says what is so: its commands run."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from fences import blocks
from qdq_nets import onnxruntime_form
from small_nets import saved

from amct_lite.cli import group


@pytest.mark.parametrize("line", blocks("docs/qat.md", "sh"))
def test_the_commands_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(onnxruntime_form(), tmp_path, "qat.onnx")
    (tmp_path / "calib").mkdir()
    np.save(tmp_path / "calib" / "x.npy", np.random.default_rng(0).normal(0, 1, (4, 3, 8, 8)).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    group.main(shlex.split(line)[1:], standalone_mode=False)
    assert (tmp_path / "out" / "net_record.txt").is_file()
    assert (tmp_path / "out" / "net_fake_quant_model.onnx").is_file()
