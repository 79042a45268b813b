"""docs/adding-an-op.md: its block, put beside the other operators, is all that a new operator needs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fences import added, blocks

import amct_lite
from amct_lite import ir
from amct_lite.converting import convert
from amct_lite.exporters import ascend, qdq
from amct_lite.ops import OPS
from amct_lite.validate.equivalence import verify_deploy

MODEL = """<ir_version: 8, opset_import: ["": 17]>
g (float[2, 3, 4, 4] x) => (float[2, 3, 1, 1] y) {
   y = GlobalAveragePool (x)
}"""
DATA = [{"x": np.random.default_rng(i).normal(size=(2, 3, 4, 4)).astype(np.float32)} for i in range(4)]


@pytest.fixture
def with_toy(tmp_path: Path) -> Iterator[None]:
    (source,) = blocks("docs/adding-an-op.md", "python")
    with added("amct_lite.ops", "global_pool", source, tmp_path, OPS):
        yield


def quantized(target: str) -> amct_lite.QuantizeResult:
    return amct_lite.quantize(ir.from_text(MODEL), DATA, amct_lite.QuantConfig(target=target))


def test_operator_without_a_row_is_not_quantized() -> None:
    with pytest.raises(amct_lite.AmctError, match="has no layer to quantize"):
        quantized("generic")


@pytest.mark.usefixtures("with_toy")
def test_toy_operator_is_quantized_from_one_file() -> None:
    result = quantized("generic")
    assert [layer.op_type for layer in result.plan.layers] == ["GlobalAveragePool"]
    ops = [node.op_type for node in result.exports.fake_quant.graph]
    assert ops == ["QuantizeLinear", "DequantizeLinear", "GlobalAveragePool"]
    # Rounding to 8 bits leaves about 6 dB a bit; the mean over 16 values only improves on that.
    assert result.report.outputs[0].sqnr_db > 35


@pytest.mark.usefixtures("with_toy")
def test_toy_operator_is_refused_where_the_target_does_not_take_it() -> None:
    plan = amct_lite.inspect(ir.from_text(MODEL), amct_lite.QuantConfig(target="ascend")).plan
    assert not plan.layers
    assert plan.skips[0].reason.startswith("ATC takes no GlobalAveragePool")


@pytest.mark.usefixtures("with_toy")
def test_integer_form_computes_what_the_fake_quant_model_does() -> None:
    result = quantized("generic")
    prepared, record = result.source.prepared, result.record
    proof = verify_deploy(ascend.export(prepared, record), qdq.export(prepared, record), DATA)
    assert proof.layers == 1
    # 16 codes below 2^8 are summed exactly; only the division by 16 is rounded, once on each side.
    assert proof.accumulator_error < 1e-3


@pytest.mark.usefixtures("with_toy")
def test_toy_record_is_converted_again() -> None:
    result = quantized("generic")
    config = amct_lite.QuantConfig(target="generic")
    again = convert(ir.from_text(MODEL), result.record, config=config)
    assert ir.to_bytes(again.exports.fake_quant) == ir.to_bytes(result.exports.fake_quant)


def test_toy_leaves_no_trace() -> None:
    assert "GlobalAveragePool" not in OPS.names()
