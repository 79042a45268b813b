"""Outputs of a model that are integer codes."""

import numpy as np
import pytest
from layer_cases import named
from passes.graphs import parse
from small_nets import run

from amct_lite import ir
from amct_lite.errors import ExportError, VerificationError
from amct_lite.exporters import ascend, qdq
from amct_lite.types import LayerRecord, QParams, QuantRecord
from amct_lite.validate.equivalence import verify_deploy
from amct_lite.validate.lowering import lower

OPSET = '<ir_version: 8, opset_import: ["": 13]>'
TEXT = """g (float[1,2,4,4] x, float[3,2,1,1] w, float s, int8 z) => (int8[1,3,4,4] codes) {
    [c1] a = Conv (x, w) [end] codes = QuantizeLinear (a, s, z) }"""
RECORD = QuantRecord((LayerRecord("c1", QParams.of(0.02, 5), QParams.of(0.01, 0)),))
FEEDS = {"x": np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)}


def exported(text: str = TEXT, **values: np.ndarray) -> tuple[ir.Model, ir.Model]:
    given = {"s": np.float32(0.03), "z": np.int8(-7)} | values
    model = named(parse(text, "w", OPSET, **given))
    return ascend.export(model, RECORD), qdq.export(model, RECORD)


def test_the_codes_of_an_output_are_made_by_an_ascend_quant() -> None:
    deploy, fake = exported()
    assert [(node.op_type, node.name) for node in deploy.graph] == [
        ("AscendQuant", "c1.quant"),
        ("Conv", "c1"),
        ("AscendDequant", "c1.dequant"),
        ("AscendQuant", "end.quant"),
    ]
    (output,) = deploy.graph.outputs
    assert (output.name, output.dtype, output.producer().name) == ("codes", ir.DataType.INT8, "end.quant")
    assert {name: ir.attribute(output.producer(), name, None) for name in ("scale", "offset", "dst_type")} == {
        "scale": float(np.float32(1) / np.float32(0.03)),
        "offset": -7.0,
        "dst_type": "INT8",
    }
    assert [node.op_type for node in fake.graph].count("QuantizeLinear") == 2
    np.testing.assert_array_equal(run(lower(deploy).model, FEEDS)[0], run(fake, FEEDS)[0])
    verify_deploy(deploy, fake, [FEEDS])


@pytest.mark.parametrize(("attribute", "value"), [("offset", -6.0), ("scale", 0.03), ("scale", 34.0)])
def test_wrong_codes_of_an_output_are_found(attribute: str, value: float) -> None:
    deploy, fake = exported()
    ir.set_attribute(deploy.graph.outputs[0].producer(), attribute, value)
    with pytest.raises(VerificationError, match=r"^end\.quant: deploy and fake-quant model compute different codes"):
        verify_deploy(deploy, fake, [FEEDS])


def test_codes_that_the_npu_does_not_make_are_refused() -> None:
    unsigned = TEXT.replace("int8 z", "uint8 z").replace("(int8[", "(uint8[")
    with pytest.raises(ExportError, match="output 'codes' holds codes that end makes with no int8 or int16 zero point"):
        exported(unsigned, z=np.uint8(3))
    with pytest.raises(ExportError, match="with no int8 or int16 zero point"):
        exported(unsigned.replace(", z) }", ") }"))
    with pytest.raises(ExportError, match="with many scales"):
        exported(s=np.float32([0.1, 0.2, 0.3]), z=np.int8([0, 0, 0]))
