"""Single tensors, quantized and dequantized in front of a float node: numbers worked by hand, graphs node by node."""

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
ADD = "g (float[1,4] a, float[1,4] b) => (float[1,4] y) { [add] y = Add (a, b) }"
POOL = "g (float[1,1,2,2] a) => (float[1,1,1,1] y) { [pool] y = MaxPool <kernel_shape = [2, 2]> (a) }"
RESIDUAL = """g (float[1,2,4,4] x, float[2,2,1,1] w, float[2,2,1,1] w2) => (float[1,2,4,4] y) {
    [c1] a = Conv (x, w) [c2] b = Conv (a, w2) [add] s = Add (b, a) [pool] y = MaxPool <kernel_shape = [1, 1]> (s) }"""

COARSE = QParams.of(0.25, 2)
"""Codes: round(x / 0.25) + 2; what lies above (127 - 2) * 0.25 = 31.25 is clipped."""
HALVES = QParams.of(0.5, 0)
A = np.array([[0.26, -0.51, 1.0, 100.0]], np.float32)  # codes 3, 0, 6, 127: 0.25, -0.5, 1.0, 31.25
B = np.array([[0.1, 0.3, -0.3, 1.0]], np.float32)  # codes 0, 1, -1, 2: 0.0, 0.5, -0.5, 1.0


def model_of(text: str, constants: str = "") -> ir.Model:
    return named(parse(text, constants, OPSET))


def tensor(key: str, params: QParams) -> LayerRecord:
    return LayerRecord(key, params, None, tensor_quantize=True)


def record(*entries: LayerRecord) -> QuantRecord:
    return QuantRecord(entries)


def conv(name: str, params: QParams) -> LayerRecord:
    return LayerRecord(name, params, QParams.of(0.02, 0))


def both(model: ir.Model, wanted: QuantRecord) -> tuple[ir.Model, ir.Model]:
    return ascend.export(model, wanted), qdq.export(model, wanted)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([tensor("add:0", COARSE)], [0.35, -0.2, 0.7, 32.25]),
        ([tensor("add:1", HALVES)], [0.26, -0.01, 0.5, 101.0]),
        ([tensor("add:0", COARSE), tensor("add:1", HALVES)], [0.25, 0.0, 0.5, 32.25]),
    ],
)
def test_an_add_computes_in_float_with_rounded_inputs(entries, expected) -> None:
    deploy, fake = both(model_of(ADD), record(*entries))
    feeds = {"a": A, "b": B}
    np.testing.assert_allclose(run(fake, feeds)[0], [expected], rtol=1e-6)  # one float32 product and one sum
    np.testing.assert_allclose(run(lower(deploy).model, feeds)[0], [expected], rtol=1e-6)
    assert verify_deploy(deploy, fake, [feeds]).tensors == len(entries)


def test_a_pool_takes_the_largest_rounded_value() -> None:
    deploy, fake = both(model_of(POOL), record(tensor("pool:0", COARSE)))
    feeds = {"a": np.array([[[[-1.0, 0.4], [0.63, 0.37]]]], np.float32)}  # 0.63 / 0.25 = 2.52: code 5 stands for 0.75
    assert run(fake, feeds)[0].item() == 0.75
    assert run(lower(deploy).model, feeds)[0].item() == 0.75


def written(model: ir.Model) -> list[tuple[object, ...]]:
    return [
        (node.op_type, node.name, [v.name for v in node.inputs if v], [v.name for v in node.outputs]) for node in model.graph
    ]


def test_the_deploy_graph_of_an_add_node_by_node() -> None:
    deploy = ascend.export(model_of(ADD), record(tensor("add:0", COARSE), tensor("add:1", HALVES)))
    assert written(deploy) == [
        ("AscendQuant", "add.quant", ["a"], ["add.quant.output0"]),
        ("AscendAntiQuant", "add.anti_quant", ["add.quant.output0"], ["add.anti_quant.output0"]),
        ("AscendQuant", "add.quant1", ["b"], ["add.quant1.output0"]),
        ("AscendAntiQuant", "add.anti_quant1", ["add.quant1.output0"], ["add.anti_quant1.output0"]),
        ("Add", "add", ["add.anti_quant.output0", "add.anti_quant1.output0"], ["y"]),
    ]
    quant, anti_quant, *_ = deploy.graph
    assert {name: ir.attribute(quant, name, None) for name in quant.attributes} == {
        "scale": 4.0,
        "offset": 2.0,
        "dst_type": "INT8",
    }
    assert {name: ir.attribute(anti_quant, name, None) for name in anti_quant.attributes} == {
        "scale": 0.25,
        "offset": 2.0,
        "dst_type": "INT8",
    }
    assert [v.dtype for v in (quant.outputs[0], anti_quant.outputs[0])] == [ir.DataType.INT8, ir.DataType.FLOAT]


def test_the_deploy_graph_of_a_pool_node_by_node() -> None:
    deploy = ascend.export(model_of(POOL), record(tensor("pool:0", COARSE)))
    assert written(deploy) == [
        ("AscendQuant", "pool.quant", ["a"], ["pool.quant.output0"]),
        ("AscendAntiQuant", "pool.anti_quant", ["pool.quant.output0"], ["pool.anti_quant.output0"]),
        ("MaxPool", "pool", ["pool.anti_quant.output0"], ["y"]),
    ]


def test_the_fake_quant_graph_of_a_pool_node_by_node() -> None:
    fake = qdq.export(model_of(POOL), record(tensor("pool:0", COARSE)))
    assert [node.op_type for node in fake.graph] == ["QuantizeLinear", "DequantizeLinear", "MaxPool"]
    assert [node.name for node in fake.graph][:2] == ["pool.data0.quantizelinear", "pool.data0.dequantizelinear"]


@pytest.mark.parametrize(("second", "quants"), [(COARSE, 2), (HALVES, 3)])
def test_a_layer_and_a_tensor_share_an_ascend_quant_when_their_factors_are_equal(second: QParams, quants: int) -> None:
    model = model_of(RESIDUAL, "w w2")
    wanted = record(conv("c1", HALVES), conv("c2", COARSE), tensor("add:1", second))
    deploy, fake = both(model, wanted)
    assert [node.op_type for node in deploy.graph].count("AscendQuant") == quants
    assert [node.op_type for node in fake.graph].count("QuantizeLinear") == quants
    verify_deploy(deploy, fake, [{"x": np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)}])


def test_a_tensor_that_is_read_before_the_layer_names_the_shared_quant() -> None:
    text = """g (float[1,2,4,4] x, float[2,2,1,1] w) => (float[1,2,4,4] p, float[1,2,4,4] y) {
        [pool] p = MaxPool <kernel_shape = [1, 1]> (x) [c1] y = Conv (x, w) }"""
    deploy, fake = both(model_of(text, "w"), record(conv("c1", COARSE), tensor("pool:0", COARSE)))
    assert [node.name for node in deploy.graph if node.op_type == "AscendQuant"] == ["pool.quant"]
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)}
    assert verify_deploy(deploy, fake, [feeds]).layers == 1


def test_one_tensor_read_twice_by_a_node_is_quantized_once() -> None:
    text = "g (float[1,4] a) => (float[1,4] y) { [add] y = Add (a, a) }"
    deploy, fake = both(model_of(text), record(tensor("add:0", COARSE), tensor("add:1", COARSE)))
    assert [node.op_type for node in deploy.graph] == ["AscendQuant", "AscendAntiQuant", "AscendAntiQuant", "Add"]
    np.testing.assert_array_equal(run(fake, {"a": A})[0], [[0.5, -1.0, 2.0, 62.5]])
    verify_deploy(deploy, fake, [{"a": A}])


@pytest.mark.parametrize(
    ("node", "attribute", "value"),
    [
        ("add.anti_quant", "scale", 4.0),  # the reciprocal
        ("add.anti_quant", "scale", 0.2501),
        ("add.anti_quant", "offset", 1.0),
        ("add.anti_quant", "offset", -2.0),  # negated, as the device wants it, but not the file
        ("add.quant1", "scale", 0.5),  # not the reciprocal
        ("add.quant1", "offset", 1.0),
    ],
)
def test_a_wrong_number_in_the_deploy_model_is_found(node: str, attribute: str, value: float) -> None:
    deploy, fake = both(model_of(ADD), record(tensor("add:0", COARSE), tensor("add:1", HALVES)))
    wrong = next(found for found in deploy.graph if found.name == node)
    ir.set_attribute(wrong, attribute, value)
    with pytest.raises(VerificationError, match=f"^{node}: deploy and fake-quant model"):
        verify_deploy(deploy, fake, [{"a": A, "b": B}])


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("sum:0", "the record names input 0 of 'sum', which the model does not have"),
        ("add:2", "the record names input 2 of 'add', which the model does not have"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(key: str, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        qdq.export(model_of(ADD), record(tensor(key, COARSE)))


def test_a_constant_is_refused() -> None:
    text = "g (float[1,4] a, float[1,4] b) => (float[1,4] y) { [add] y = Add (a, b) }"
    with pytest.raises(ExportError, match=r"add:1 \(Add\) cannot be quantized: the input is a constant"):
        ascend.export(model_of(text, "b"), record(tensor("add:1", COARSE)))
