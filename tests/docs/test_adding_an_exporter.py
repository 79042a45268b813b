"""docs/adding-an-exporter.md: its first block is a whole exporter, its second block shows how it is called."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from fences import ROOT, added, blocks
from onnx_check import full_check

import amct_lite
from amct_lite import ir
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.runtime import open_session
from amct_lite.types import QuantRecord

DIGITS = ROOT / "samples" / "digits"


@pytest.fixture
def weight_only(tmp_path: Path) -> Iterator[ModuleType]:
    source = blocks("docs/adding-an-exporter.md", "python")[0]
    with added("amct_lite.exporters", "weight_only", source, tmp_path) as module:
        yield module


@pytest.fixture(scope="module")
def result() -> amct_lite.QuantizeResult:
    return amct_lite.quantize(DIGITS / "digits.onnx", DIGITS / "calibration")


def test_export_keeps_the_outputs_and_stores_int8(weight_only: ModuleType, result: amct_lite.QuantizeResult) -> None:
    model = weight_only.export(result.exports.corrected, result.record)
    full_check(model)
    types = [node.op_type for node in model.graph]
    assert "QuantizeLinear" not in types
    assert types.count("DequantizeLinear") == 6
    assert ir.weight_bytes(model) < ir.weight_bytes(result.source.prepared) / 2
    feeds = {"images": np.load(DIGITS / "test.npz")["x"]}
    exact = open_session(result.source.prepared).run(feeds)[0]
    rounded = open_session(model).run(feeds)[0]
    # Weights of 8 bits alone: about 40 dB a layer, a few dB less behind six of them.
    assert sqnr_db(exact, rounded) > 30


def test_export_changes_nothing_else(weight_only: ModuleType, result: amct_lite.QuantizeResult) -> None:
    before = ir.checksum(result.source.prepared)
    first = weight_only.export(result.source.prepared, result.record)
    assert ir.checksum(result.source.prepared) == before
    assert ir.to_bytes(first) == ir.to_bytes(weight_only.export(result.source.prepared, result.record))
    assert [value.name for value in first.graph.outputs] == ["logits"]


def test_record_that_does_not_fit_is_refused(weight_only: ModuleType, result: amct_lite.QuantizeResult) -> None:
    model = ir.from_text('<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) { y = Relu (x) }')
    with pytest.raises(amct_lite.AmctError, match=r"the record names 'stem.conv', which is no node of the model"):
        weight_only.export(model, QuantRecord(result.record.layers[:1]))


@pytest.mark.usefixtures("weight_only")
def test_calling_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("docs/adding-an-exporter.md", "python")[1], "adding-an-exporter.md", "exec"), {})
    assert (tmp_path / "digits_int8_weights.onnx").stat().st_size < (DIGITS / "digits.onnx").stat().st_size
