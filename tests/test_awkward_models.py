"""Models and data as people really have them: each comes through well, or is refused with the reason."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from corpus import SHARED, needs_shared
from onnx import helper, numpy_helper
from small_nets import FOUR_CONVS, ONE_THREAD, images, net, run, saved, sqnr_of, to_float16, weights_of

from amct_lite import ir
from amct_lite.config import Override, QuantConfig
from amct_lite.converting import convert_qdq
from amct_lite.errors import AmctError, CalibrationError, ConfigError, DataError, UnsupportedModelError, VerificationError
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions

GENERIC = QuantConfig(target="generic")
GOOD_DB = 30.0
"""Four int8 layers in a row leave about 35 dB of Gaussian data (8 bits: 40 dB a layer); 9 and 3 dB are what broken ones do."""


def quantized(model: onnx.ModelProto, folder: Path, data: object = None, config: QuantConfig | None = None) -> QuantizeResult:
    return quantize(saved(model, folder), images() if data is None else data, config, options=ONE_THREAD)


def assert_good(model: onnx.ModelProto, result: QuantizeResult, *, layers: int, data: list | None = None) -> None:
    """So many layers are quantized, and the result is as good as int8 can be."""
    assert len(result.record.layers) == layers, result.report.skips
    assert sqnr_of(model, result, data) > GOOD_DB


@pytest.mark.parametrize("opset", [7, 9, 11])
def test_old_opset_is_raised_and_weights_are_quantized_per_channel(opset: int, tmp_path: Path) -> None:
    model = net(opset=opset, ir_version=3 if opset < 9 else 6)
    if opset < 9:  # before IR version 4 every initializer must be a graph input
        model.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer)
    result = quantized(model, tmp_path)
    assert_good(model, result, layers=4)
    assert any(f"raised from opset {opset} to 13" in note for note in result.report.notes)
    assert {row.name: row.weight for row in result.report.layers}["conv1"] == "per channel (8)"


def test_initializers_that_are_also_inputs_are_constants(tmp_path: Path) -> None:
    model = net()
    model.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer)
    result = quantized(model, tmp_path)
    assert_good(model, result, layers=4)
    assert [value.name for value in result.exports.fake_quant.graph.inputs] == ["x"]


@pytest.mark.parametrize("name", ["", "same"])
def test_absent_or_duplicate_node_names_become_unique(name: str, tmp_path: Path) -> None:
    model = net()
    for node in model.graph.node:
        node.name = name
    result = quantized(model, tmp_path)
    assert_good(net(), result, layers=4)  # ONNX Runtime itself refuses duplicate names
    assert len(set(result.record.by_key)) == 4


def test_float16_model_is_quantized_and_keeps_its_interface(tmp_path: Path) -> None:
    model = to_float16(net())
    data = [{"x": feeds["x"].astype(np.float16)} for feeds in images()]
    result = quantized(model, tmp_path, data)
    fresh = [{"x": feeds["x"].astype(np.float16)} for feeds in images(seed=99)]
    assert_good(model, result, layers=4, data=fresh)
    assert run(result.exports.fake_quant, fresh[0])[0].dtype == np.float16


def test_weights_in_constant_nodes(tmp_path: Path) -> None:
    model = net()
    nodes = [helper.make_node("Constant", [], [t.name], value=t) for t in model.graph.initializer] + list(model.graph.node)
    del model.graph.initializer[:]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert_good(model, quantized(model, tmp_path), layers=4)


def test_weights_computed_by_constant_subgraphs(tmp_path: Path) -> None:
    computed = """{
      flat = Mul(raw, half)
      shape = Constant<value_ints = [8,8,1,1]>()
      w3 = Reshape(flat, shape)"""
    text = FOUR_CONVS.replace("{", computed)
    model = net(text, raw=(64, 1), half=np.float32(0.25))
    del model.graph.initializer[[t.name for t in model.graph.initializer].index("w3")]
    assert_good(model, quantized(model, tmp_path), layers=4)


SHARED_WEIGHT = """net (float[N,3,16,16] x) => (float[N,3,16,16] y) {
  [first] a = Conv<pads = [1,1,1,1]>(x, w)
  b = Relu(a)
  [second] y = Conv<pads = [1,1,1,1]>(b, w)
}"""


def test_shared_weight_is_quantized_once(tmp_path: Path) -> None:
    model = net(SHARED_WEIGHT, w=(3, 3, 3, 3))
    result = quantized(model, tmp_path, config=GENERIC)
    assert_good(model, result, layers=2)
    codes = [v for v in result.exports.fake_quant.graph.initializers.values() if v.const_value.numpy().shape == (3, 3, 3, 3)]
    assert len(codes) == 1


def test_ascend_leaves_layers_of_a_shared_weight_in_float_and_says_why(tmp_path: Path) -> None:
    model = net(SHARED_WEIGHT, w=(3, 3, 3, 3))
    with pytest.raises(UnsupportedModelError, match=r"no layer to quantize: first \(Conv\): its weight is shared with another"):
        quantized(model, tmp_path)


def test_external_data_are_read(tmp_path: Path) -> None:
    model = net()
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="model.data", size_threshold=0)
    result = quantize(path, images(), options=ONE_THREAD)
    onnx.load_external_data_for_model(model, str(tmp_path))
    assert_good(net(), result, layers=4)
    written = result.save(tmp_path / "out" / "r")
    assert run(written[1], images()[0])[0].shape == (1, 10, 8, 8)


@pytest.mark.parametrize("group", [1, 2])
def test_a_transposed_convolution_is_quantized(group: int, tmp_path: Path) -> None:
    text = f"""net (float[N,3,16,16] x) => (float[N,6,33,33] y) {{
      a = Conv(x, w, bias)
      b = Relu(a)
      y = ConvTranspose<strides = [2,2], group = {group}>(b, t, tb)
    }}"""
    model = net(text, w=(4, 3, 1, 1), bias=(4,), t=(4, 6 // group, 3, 3), tb=(6,))
    for config in (None, GENERIC):
        assert_good(model, quantized(model, tmp_path, config=config), layers=2)


LEFT_CONSTANT = """net (float[N,3,16,16] x) => (float[N,3,16,16] y) {
  [left] a = MatMul(w, x)
  b = Relu(a)
  [right] y = MatMul(b, w)
}"""


def test_constant_on_the_left_of_a_matmul(tmp_path: Path) -> None:
    model = net(LEFT_CONSTANT.replace("(b, w)", "(b, v)"), w=(16, 16), v=(16, 16))
    assert_good(model, quantized(model, tmp_path, config=GENERIC), layers=2)
    result = quantized(model, tmp_path)
    assert_good(model, result, layers=1)
    assert [(skip.node, skip.reason) for skip in result.report.skips] == [
        ("left", "ATC takes a MatMul only with its constant as second input")
    ]


def test_attention_with_two_variable_products(tmp_path: Path) -> None:
    text = """net (float[N,3,16,16] x) => (float[N,3,16,16] y) {
      q = MatMul(x, wq)
      k = MatMul(x, wk)
      v = MatMul(x, wv)
      kt = Transpose<perm = [0,1,3,2]>(k)
      [scores] s = MatMul(q, kt)
      p = Softmax<axis = -1>(s)
      [mix] y = MatMul(p, v)
    }"""
    model = net(text, wq=(16, 16), wk=(16, 16), wv=(16, 16))
    result = quantized(model, tmp_path)
    # a softmax turns errors of its arguments into relative ones: 25 dB are what symmetric int8 leaves here
    assert len(result.record.layers) == 5
    assert sqnr_of(model, result) > 25
    assert result.record.by_key["scores"].activation.zero_point == (0,)


TWO_CONVS = """net (float[N,3,16,16] x) => (float[N,10,16,16] y) {{
      a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      b = com.microsoft.{}
      y = Conv<pads = [1,1,1,1]>(b, w4, b4)
    }}"""


def test_contrib_op_stays_and_its_neighbours_are_quantized(tmp_path: Path) -> None:
    model = net(TWO_CONVS.format("SampleOp(a)"), domains=', "com.microsoft": 1')
    result = quantized(model, tmp_path)
    assert_good(model, result, layers=2)
    assert "SampleOp" in [node.op_type for node in result.exports.fake_quant.graph]
    assert "'b' of unknown rank from SampleOp_1 (com.microsoft.SampleOp)" in str(result.report.deploy_problem)


@pytest.mark.parametrize(("op", "layers"), [("Gelu(a)", 2), ("FusedMatMul<alpha = 0.5>(a, m)", 3)])
def test_a_contrib_op_that_has_words_of_onnx_does_not(op: str, layers: int, tmp_path: Path) -> None:
    model = net(TWO_CONVS.format(op), domains=', "com.microsoft": 1', m=(16, 16))
    result = quantized(model, tmp_path)
    assert_good(model, result, layers=layers)
    assert result.report.deploy_problem is None
    assert not [node for node in result.exports.fake_quant.graph if node.domain]


IF = """net (float[N,3,16,16] x, bool flag) => (float[N,10,8,8] y) {
  a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  b = Relu(a)
  c = Conv<group = 8, pads = [1,1,1,1]>(b, w2, b2)
  d = If(flag) <
    then_branch = t () => (float[N,8,16,16] u) { u = Add(c, b) },
    else_branch = e () => (float[N,8,16,16] v) { [inner] k = Conv(b, w3, b3)
      v = Neg(k) }>
  y = Conv<strides = [2,2], pads = [1,1,0,0]>(d, w4, b4)
}"""


@pytest.mark.parametrize("flag", [True, False])
def test_if_whose_body_reads_an_outer_relu(flag: bool, tmp_path: Path) -> None:
    model = net(IF)
    data = [feeds | {"flag": np.array(flag)} for feeds in images()]
    result = quantized(model, tmp_path, data)
    assert_good(model, result, layers=3, data=[feeds | {"flag": np.array(flag)} for feeds in images(seed=99)])
    assert "it stands inside the body of a control-flow node" in [skip.reason for skip in result.report.skips]


def test_loop_body_that_reads_outer_values(tmp_path: Path) -> None:
    text = """net (float[N,3,16,16] x) => (float[N,10,8,8] y) {
      a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      b = Relu(a)
      c = Conv<group = 8, pads = [1,1,1,1]>(b, w2, b2)
      trips = Constant<value_int = 3>()
      go = Constant<value = bool {1}>()
      f = Loop(trips, go, c) <body = step (int64 i, bool again, float[N,8,16,16] state) =>
        (bool again_out, float[N,8,16,16] state_out) { again_out = Identity(again)
          sum = Add(state, b)
          state_out = Mul(sum, half) }>
      y = Conv<strides = [2,2], pads = [1,1,0,0]>(f, w4, b4)
    }"""
    model = net(text, half=np.float32(0.5))
    assert_good(model, quantized(model, tmp_path), layers=3)


def test_scan_body_that_reads_outer_values(tmp_path: Path) -> None:
    text = """net (float[N,3,16,16] x) => (float[16,N,8,16] y) {
      a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      b = Relu(a)
      rows = Transpose<perm = [2,0,1,3]>(b)
      last, sums = Scan<num_scan_inputs = 1, body = step (float[N,8,16] state, float[N,8,16] row) =>
        (float[N,8,16] state_out, float[N,8,16] out) { scaled = Mul(state, half)
          state_out = Add(scaled, row)
          out = Identity(state_out) }>(zero_state, rows)
      y = MatMul(sums, m)
    }"""
    model = net(text, half=np.float32(0.5), zero_state=np.zeros((1, 8, 16), np.float32), m=(16, 16))
    assert_good(model, quantized(model, tmp_path), layers=2)


def test_model_local_functions_are_written_out(tmp_path: Path) -> None:
    model = net(FOUR_CONVS.replace("d = Relu(c)", "d = local.twice(c)"), domains=', "local": 1')
    body = [helper.make_node("Relu", ["p"], ["r"]), helper.make_node("Add", ["r", "r"], ["q"])]
    model.functions.append(helper.make_function("local", "twice", ["p"], ["q"], body, [helper.make_opsetid("", 17)]))
    assert_good(model, quantized(model, tmp_path), layers=4)


def test_two_inputs_of_which_one_is_int64(tmp_path: Path) -> None:
    text = """net (float[N,3,16,16] x, int64[N] kind) => (float[N,10,8,8] y) {
      a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      b = Gather(table, kind)
      c = Reshape(b, shape)
      d = Mul(a, c)
      y = Conv<strides = [2,2], pads = [1,1,0,0]>(d, w4, b4)
    }"""
    model = net(text, table=(5, 8), shape=np.array([-1, 8, 1, 1]))
    data = [feeds | {"kind": np.array([i % 5])} for i, feeds in enumerate(images())]
    result = quantized(model, tmp_path, data)
    assert_good(model, result, layers=2, data=[feeds | {"kind": np.array([3])} for feeds in images(seed=99)])


DYNAMIC = FOUR_CONVS.replace("[N,3,16,16]", "[N,3,H,W]").replace("[N,10,8,8]", "[N,10,P,Q]")


def test_mixed_batch_sizes_and_dynamic_height_and_width(tmp_path: Path) -> None:
    model = net(DYNAMIC)
    data = [*images(4, batch=2), *images(3, seed=1, batch=3, size=(20, 12)), *images(1, seed=2, size=(16, 40))]
    result = quantized(model, tmp_path, data)
    assert_good(model, result, layers=4)
    assert result.exports.deploy is None
    assert "--input-shape" in str(result.report.deploy_problem)


def test_dynamic_model_becomes_static_when_the_data_agree(tmp_path: Path) -> None:
    model = net(DYNAMIC)
    result = quantized(model, tmp_path, images(size=(12, 12)))
    assert result.report.deploy_shapes == {"x": (1, 3, 12, 12)}
    assert_good(model, result, layers=4, data=images(seed=99, size=(24, 8)))


def test_dead_channel_with_a_large_bias_is_repaired(tmp_path: Path) -> None:
    model = net()
    arrays = {name: array.copy() for name, array in weights_of(model).items()}
    arrays["w3"][2] = 0
    arrays["b3"][2] = 50.0
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    assert_good(model, quantized(model, tmp_path), layers=4)


def test_bias_beyond_int32_is_repaired_and_reported(tmp_path: Path) -> None:
    model = net()
    arrays = {name: array.copy() for name, array in weights_of(model).items()}
    arrays["w3"][2] = 1e-4
    arrays["b3"][2] = 30.0
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    result = quantized(model, tmp_path)
    assert_good(model, result, layers=4)
    notes = {row.name: row.notes for row in result.report.layers}
    assert notes["conv3"] == ("raised the scale of 1 of 8 channels so that the bias fits into int32",)


def test_nan_in_one_sample_names_the_sample(tmp_path: Path) -> None:
    data = images()
    data[5]["x"][0, 1, 2, 3] = np.nan
    with pytest.raises(DataError, match=r"input 'x' has NaN in sample 0 of batch 5.* 1 of 768 values"):
        quantized(net(), tmp_path, data)


def test_nan_inside_the_network_names_tensor_and_sample(tmp_path: Path) -> None:
    text = """net (float[N,3,16,16] x) => (float[N,10,16,16] y) {
      a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      b = Sqrt(a)
      y = Conv<pads = [1,1,1,1]>(b, w4, b4)
    }"""
    model = net(text, b1=np.full(8, 9.0, np.float32))  # all of a is positive, until a sample is made large
    data = images(8, batch=4)
    data[1]["x"][2] *= 100
    with pytest.raises(CalibrationError, match=r"tensor 'b': sample 6 has NaN"):
        quantized(model, tmp_path, data)


def test_empty_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gives no batch\. Check the path, or the loader"):
        quantized(net(), tmp_path, [])
    with pytest.raises(CalibrationError, match="there is no data to calibrate with"):
        quantize(saved(net(), tmp_path), options=ONE_THREAD)


def test_wrong_input_name_gets_a_suggestion(tmp_path: Path) -> None:
    model = net(FOUR_CONVS.replace(" x)", " image)").replace("(x,", "(image,"))
    with pytest.raises(DataError, match=r"batch 0 .*no array for input 'image' \(did you mean 'imgae'\?\)"):
        quantized(model, tmp_path, [{"imgae": feeds["x"]} for feeds in images()])


@pytest.mark.parametrize("batch", [1, 8])
def test_one_wild_sample_does_not_ruin_the_ranges(batch: int, tmp_path: Path) -> None:
    model = net()
    clean = quantized(model, tmp_path, [feeds for i, feeds in enumerate(images()) if i != 5])
    data = images()
    data[5] = {"x": data[5]["x"] * np.float32(1e4)}
    if batch == 8:
        data = [{"x": np.concatenate([feeds["x"] for feeds in data])}]
    result = quantized(model, tmp_path, data)
    assert sqnr_of(model, result) > sqnr_of(model, clean) - 1
    (warning,) = [text for text in result.report.warnings if text.startswith("sample")]
    assert "sample 5 is 9.5e+03 times larger" in warning  # than the median of all eight
    assert "4 tensors in all" in warning
    assert "--trust-data" in warning
    # what the report measures is what the user will see on clean data
    assert result.report.outputs[0].sqnr_db > GOOD_DB


def test_trusted_data_take_the_wild_sample_in(tmp_path: Path) -> None:
    data = images()
    data[5] = {"x": data[5]["x"] * np.float32(1e4)}
    result = quantized(net(), tmp_path, data, QuantConfig(trust_data=True, algorithm="minmax"))
    assert not [text for text in result.report.warnings if text.startswith("sample")]
    assert any(note.startswith("sample 5, far larger than the typical one, was taken") for note in result.report.notes)
    largest = max(float(np.abs(feeds["x"]).max()) for feeds in data)
    assert result.record.by_key["conv1"].activation.scale[0] * 127 > largest * 0.5


def test_quantized_model_is_refused_with_a_hint(tmp_path: Path) -> None:
    result = quantized(net(), tmp_path)
    written = result.save(tmp_path / "out" / "q")
    for path in written[1:3]:
        with pytest.raises(
            UnsupportedModelError, match=r"is already quantized.* (Give the float model it was made from|`amct-lite convert`)"
        ):
            quantize(path, images(), options=ONE_THREAD)


def test_a_model_of_integer_kernels_is_refused_as_such() -> None:
    text = """net (float[1,4,16] x) => (float[1,4,8] y) { [product] a = MatMul (x, w) b = Add (a, v) y = Relu (b) }"""
    model = net(text, w=(16, 8), v=(8,))
    data = [{"x": np.random.default_rng(seed).standard_normal((1, 4, 16)).astype(np.float32)} for seed in range(4)]
    deploy = quantize(
        ir.load_bytes(model.SerializeToString()), data, QuantConfig(target="ort"), options=ONE_THREAD
    ).exports.deploy
    assert deploy is not None
    for again in (partial(quantize, deploy, data, options=ONE_THREAD), partial(convert_qdq, deploy)):
        with pytest.raises(
            UnsupportedModelError, match=r"is already quantized: .* product \(MatMulIntegerToFloat\)\. Give the"
        ):
            again()


def test_a_model_for_one_processor_is_refused_as_such(tmp_path: Path) -> None:
    """What ONNX Runtime writes where nobody tells it to stop before it chooses kernels."""
    (tmp_path / "net.onnx").write_bytes(net(FOUR_CONVS).SerializeToString())
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "written.onnx"), 4
    onnxruntime.InferenceSession(tmp_path / "net.onnx", options, providers=["CPUExecutionProvider"])
    if not any(node.domain == "com.microsoft.nchwc" for node in onnx.load(tmp_path / "written.onnx").graph.node):
        pytest.skip("ONNX Runtime has no kernels in blocks for this processor")
    with pytest.raises(UnsupportedModelError, match=r"for one kind of processor: .* nodes such as .*nchwc\.Conv.*EXTENDED"):
        quantize(tmp_path / "written.onnx", images(), options=ONE_THREAD)


def test_a_model_that_onnx_runtime_fused_has_all_layers(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(net(FOUR_CONVS).SerializeToString())
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "written.onnx"), 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(tmp_path / "net.onnx", options, providers=["CPUExecutionProvider"])
    written = onnx.load(tmp_path / "written.onnx")
    assert "FusedConv" in {node.op_type for node in written.graph.node}
    assert_good(written, quantized(written, tmp_path), layers=4)


def test_a_model_with_pairs_of_onnxruntime_s_own_is_refused_as_such() -> None:
    """As quantize_static writes 16 bits with UseQDQContribOps: it was taken for a float model."""
    text = """net (float[1,4,16] x) => (float[1,4,8] y) { [q] c = com.microsoft.QuantizeLinear (x, s, z)
      [dq] d = com.microsoft.DequantizeLinear (c, s, z) [product] y = MatMul (d, w) }"""
    model = net(text, domains=', "com.microsoft": 1', s=np.float32(1e-4), z=np.uint16(30000), w=(16, 8))
    given = ir.load_bytes(model.SerializeToString())
    for again in (partial(quantize, given, [], options=ONE_THREAD), partial(convert_qdq, given)):
        with pytest.raises(UnsupportedModelError, match=r"is already quantized: it holds 2 nodes such as q \(QuantizeLinear\)"):
            again()


def test_nothing_to_quantize_is_refused(tmp_path: Path) -> None:
    model = net("net (float[N,3,16,16] x) => (float[N,3,16,16] y) { y = Relu(x) }")
    with pytest.raises(UnsupportedModelError, match=r"no layer to quantize: it holds none of .*Conv.*`amct-lite inspect`"):
        quantized(model, tmp_path)


def test_missing_custom_op_library(tmp_path: Path) -> None:
    options = RunOptions(runtime=RuntimeOptions(custom_op_libraries=(str(tmp_path / "ops.so"),)))
    with pytest.raises(ConfigError, match=r"custom-op library .*ops\.so does not exist"):
        quantize(saved(net(), tmp_path), images(), options=options)


def test_custom_op_without_its_library(tmp_path: Path) -> None:
    model = net(FOUR_CONVS.replace("d = Relu(c)", "d = custom.Swirl(c)"), domains=', "custom": 1')
    with pytest.raises(UnsupportedModelError, match=r"Swirl.*pass the library that implements it \(--custom-ops FILE\)"):
        quantized(model, tmp_path)


def test_double_model_is_never_mishandled(tmp_path: Path) -> None:
    text = "net (double[N,4] x) => (double[N,4] y) { y = MatMul(x, w) }"
    model = net(text, w=np.eye(4))
    with pytest.raises(AmctError, match="its weight is float64, not float32"):
        quantized(model, tmp_path, [{"x": np.ones((1, 4))}])


def test_scalar_and_one_element_inputs_leave_the_batch_alone(tmp_path: Path) -> None:
    text = FOUR_CONVS.replace("[N,3,16,16] x)", "[N,3,16,16] x, float gain)").replace("d = Relu(c)", "d = Mul(c, gain)")
    model = net(text)
    data = [{"x": feeds["x"], "gain": np.float32(1.5)} for feeds in images(8, batch=4)]
    result = quantized(model, tmp_path, data)
    assert result.statistics is not None
    assert result.statistics.samples == 8


STRUCTURE = SHARED / "corpus" / "structure"
RANDOM = RunOptions(runtime=RuntimeOptions(threads=2), random=2)

# what becomes of each: the number of quantized layers on (ascend, generic), or the error and what it says
QUANTIZED = [
    ("basic_pitch_nmp.onnx", "", 6, 6),  # its filters go into a logarithm of squares
    ("cifar10_resnet20_op21_vc.onnx", "", 21, 21),
    ("mobilenet_v1_025_extdata_pertensor/model.onnx", "", 28, 28),
    ("squeezenet11_fp16_op7.onnx", "", 26, 26),
    ("tract_byte_sb_bidi_lstm.onnx", "input:1,32", 1, 1),
    ("ultraface_version-RFB-320.onnx", "", 52, 52),
    ("yunet_n_dynamic.onnx", "input:1,3,96,128", 59, 59),
]
REFUSED = [
    ("mlperftiny_kws_qdq.onnx", UnsupportedModelError, r"is already quantized: it holds 44 Quant.*calibrate --strip-qdq"),
    ("mlperftiny_resnet8_qdq.onnx", UnsupportedModelError, r"is already quantized: it holds 50 Quant.*calibrate --strip-qdq"),
    (
        "silero_vad_if.onnx",
        UnsupportedModelError,
        r"no layer to quantize: .*stft/Conv .*inside the body of a control-flow node",
    ),
    ("silero_vad_op18_ifless.onnx", UnsupportedModelError, r"no layer to quantize: .*inside the body of a control-flow node"),
    ("superres_prepost_customops_op18.onnx", AmctError, r"DecodeImage.*pass the library that implements it"),
    ("tract_byte_sb_bidi_lstm.onnx", DataError, r'random data need their sizes\. Pass --input-shape "input:1,\?"'),
    ("tract_lgbm_classifier.onnx", UnsupportedModelError, r"no layer to quantize: it holds none of .*Conv"),
    ("winml_style_candy.onnx", UnsupportedModelError, r"scalerPreprocessor \(ImageScaler\): .*Export the model again"),
    ("yunet_n_dynamic.onnx", DataError, r'random data need their sizes\. Pass --input-shape "input:1,3,\?,\?"'),
]


@needs_shared
@pytest.mark.parametrize(("name", "shape", "ascend", "generic"), QUANTIZED, ids=[row[0] for row in QUANTIZED])
def test_odd_model_is_quantized(name: str, shape: str, ascend: int, generic: int) -> None:
    for target, layers in (("ascend", ascend), ("generic", generic)):
        config = QuantConfig(target=target, input_shapes=shape or {})
        result = quantize(STRUCTURE / name, config=config, options=RANDOM)
        assert len(result.record.layers) == layers
        assert all(np.isfinite(error.mse) for error in result.report.outputs)
        # Noise drives a detector's rare classes to 1e-5, where a sigmoid's steps show, and two batches of it move the SQNR of
        # MobileNetV1 by 5 dB either way (16 to 25 dB with 1 to 16 batches). What is wrong lies near 0 dB.
        assert max(error.sqnr_db for error in result.report.outputs) > 12
        assert result.report.deploy_problem is None
        assert (result.report.equivalence is not None) == (target == "ascend")


@needs_shared
@pytest.mark.parametrize(("name", "error", "match"), REFUSED, ids=[row[0] for row in REFUSED])
def test_odd_model_is_refused_with_the_reason(name: str, error: type[AmctError], match: str) -> None:
    with pytest.raises(error, match=match):
        quantize(STRUCTURE / name, options=RANDOM)


@needs_shared
def test_every_odd_model_of_the_corpus_is_looked_at() -> None:
    files = {path.name for path in STRUCTURE.iterdir()}
    assert files == {row[0].split("/")[0] for row in (*QUANTIZED, *REFUSED)}


def test_an_output_that_is_a_sequence_is_refused(tmp_path: Path) -> None:
    model = net(
        "net (float[1,3,16,16] x) => (float[1,8,16,16] y) { y = Conv<pads = [1,1,1,1]>(x, w1) s = SequenceConstruct(y) }"
    )
    model.graph.output.append(helper.make_tensor_sequence_value_info("s", onnx.TensorProto.FLOAT, None))
    with pytest.raises(UnsupportedModelError, match="output 's' is a sequence or map, and only tensors can be compared"):
        quantized(model, tmp_path)


@pytest.mark.parametrize("target", ["generic", "ort"])
def test_vectors_and_single_numbers_stay_float(target: str, tmp_path: Path) -> None:
    text = """net (float[8] v, float n) => (float[8] y, float[1,4] z) {
      [vector] y = MatMul(v, m)
      [one] r = Reshape(n, s)
      [row] z = MatMul(r, k)
    }"""
    model = net(text, m=(8, 8), s=np.array([1, 1]), k=(1, 4))
    data = [{"v": np.ones(8, np.float32), "n": np.float32(i)} for i in range(3)]
    result = quantized(model, tmp_path, data, QuantConfig(target=target))
    assert set(result.record.by_key) == {"row"}
    assert [(skip.node, skip.reason) for skip in result.report.skips] == [("vector", "one of its inputs is a vector (1-D)")]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bias_that_is_no_number_keeps_its_layer_in_float(value: float, tmp_path: Path) -> None:
    model = net(
        "net (float[1,8] x) => (float[1,8] y, float[1,8] z) { [dense] y = Gemm(x, m, b) [mm] p = MatMul(x, m) z = Add(p, b) }",
        m=(8, 8),
        b=np.full(8, value, np.float32),
    )
    result = quantized(model, tmp_path, [{"x": np.ones((1, 8), np.float32)}], GENERIC)
    assert set(result.record.by_key) == {"mm"}
    assert [(skip.node, skip.reason) for skip in result.report.skips] == [("dense", "its bias holds NaN or an infinite value")]


@pytest.mark.parametrize(("target", "channels"), [("generic", {"first": 16, "second": 8}), ("ort", {"first": 1, "second": 8})])
def test_a_stack_of_matrices_in_front_of_a_layer_has_a_scale_a_channel(
    target: str, channels: dict[str, int], tmp_path: Path
) -> None:
    """ONNX Runtime's integer kernel, which would take it there, knows only one scale for all."""
    text = "net (float[2,12,32] x) => (float[2,12,8] y) { [first] a = MatMul (x, ms) [second] y = MatMul (a, mp) }"
    model = net(text, ms=(2, 32, 16), mp=(16, 8))
    data = [{"x": np.random.default_rng(seed).standard_normal((2, 12, 32)).astype(np.float32)} for seed in range(4)]
    result = quantized(model, tmp_path, data, QuantConfig(target=target))
    assert {entry.key: entry.weight.scales.size for entry in result.record.layers} == channels
    assert_good(model, result, layers=2, data=data)


STACK = """net (float[2,5,8] x) => (float[2,5,16] y) {
  [fc] h = MatMul(x, m)
  [add] z = Add(h, b)
  [act] y = Tanh(z)
}"""
MOVED = """net (float[1,3,16,16] x) => (float[1,16,16,8] y) {
  [conv] c = Conv<pads = [1,1,1,1]>(x, w1)
  [move] y = Transpose<perm = [0,2,3,1]>(c)
}"""


@pytest.mark.parametrize("target", ["ascend", "ort", "generic"])
@pytest.mark.parametrize(("text", "size"), [(STACK, (2, 5, 8)), (MOVED, (1, 3, 16, 16))], ids=["stack", "moved"])
def test_rounding_that_onnx_runtime_moves_along_keeps_its_type(
    text: str, size: tuple[int, ...], target: str, tmp_path: Path
) -> None:
    """From opset 21 on it writes the type of moved codes down, and does not follow when it makes int8 uint8."""
    model = net(text, opset=21, ir_version=10, m=(8, 16), b=(16,))
    rng = np.random.default_rng(0)
    data = [{"x": rng.standard_normal(size).astype(np.float32)} for _ in range(4)]
    tensors = {"Transpose:0": Override()} if text is MOVED and target != "ort" else {}
    config = QuantConfig(target=target, tensors=tensors)
    assert sqnr_of(model, quantized(model, tmp_path, data, config), data) > GOOD_DB


@pytest.mark.parametrize("target", ["ascend", "ort", "generic"])
def test_a_dilated_mean_stays_float_between_layers(target: str, tmp_path: Path) -> None:
    text = """net (float[1,3,16,16] x) => (float[1,8,14,14] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1)
      [pool] p = AveragePool<kernel_shape = [2,2], dilations = [2,2]>(a)
      [conv3] y = Conv(p, w3)
    }"""
    result = quantized(net(text, opset=19, ir_version=9), tmp_path, config=QuantConfig(target=target))
    assert {"conv1", "conv3"} <= result.record.by_key.keys()
    assert [skip.reason for skip in result.report.skips] == ["ONNX Runtime has no integer kernel for dilated means"]


@pytest.mark.parametrize("target", ["ascend", "ort", "generic"])
def test_a_layer_of_which_the_size_alone_is_read_stays_float(target: str, tmp_path: Path) -> None:
    """With the sizes fixed it is no node of a deploy model any more."""
    text = """net (float[N,3,H,W] x) => (float[A,B,C,D] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1)
      [guide] b = Conv<strides = [2,2]>(x, guide)
      [moved] c = Transpose<perm = [0,1,2,3]>(b)
      [size] s = Shape(c)
      [resize] d = Resize<mode = "linear">(a, , , s)
      [conv3] y = Conv(d, w3)
    }"""
    config = QuantConfig(target=target, input_shapes={"x": (1, 3, 16, 16)})
    result = quantized(net(text, guide=(8, 3, 3, 3)), tmp_path, config=config)
    assert {"conv1", "conv3"} == {layer.name for layer in result.report.layers if layer.op_type == "Conv"}
    assert [(skip.node, skip.reason) for skip in result.report.skips] == [("guide", "only the size of its result is read")]


@pytest.mark.parametrize(
    ("opset", "form"),
    [
        (17, "kernel_shape = [1,1], strides = [4,4]"),
        (22, "kernel_shape = [1,1], strides = [4,4]"),
        (21, "kernel_shape = [2,2], dilations = [4,4], strides = [8,8], pads = [0,0,1,1]"),
        (22, "kernel_shape = [2,2], dilations = [4,4], strides = [8,8], pads = [0,0,1,1]"),
    ],
)
def test_a_deploy_model_that_takes_a_size_for_another_is_refused_with_the_remedy(opset: int, form: str, tmp_path: Path) -> None:
    """Below opset 22 onnx infers a window too many: the pads that follow would be others than in the float model. Where gaps
    are wide, preparing the model cannot help it."""
    text = f"""net (float[N,3,H,W] x) => (float[A,B,C,D] y) {{
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1)
      [pool] p = MaxPool<ceil_mode = 1, {form}>(a)
      [size] s = Shape<start = 2>(p) [rest] r = Mod(s, three) [ends] e = Concat<axis = 0>(none, r)
      [pad] y = Pad(p, e)
    }}"""
    model = net(text, opset=opset, ir_version=10, three=np.array([3]), none=np.zeros(6, np.int64))
    config = QuantConfig(input_shapes={"x": (1, 3, 16, 16)})
    if "dilations" in form and opset < 22:
        with pytest.raises(VerificationError, match=r"of shape .* in the deploy model, .*export the model for opset 22"):
            quantized(model, tmp_path, config=config)
    else:
        assert quantized(model, tmp_path, config=config).exports.deploy is not None


def test_a_deploy_model_that_a_wrong_size_breaks_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """What a Reshape is told is a constant there, of 3 pixels a row, and there are 2."""
    text = """net (float[N,3,H,W] x) => (float[A,B,C,D] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1)
      [pool] p = MaxPool<ceil_mode = 1, kernel_shape = [2,2], dilations = [4,4], strides = [8,8], pads = [0,0,1,1]>(a)
      [size] s = Shape(p) [act] r = Relu(p) [same] y = Reshape(r, s)
    }"""
    config = QuantConfig(input_shapes={"x": (1, 3, 16, 16)})
    with pytest.raises(VerificationError, match=r"cannot be run on samples .* Reshape .*export the model for opset 22"):
        quantized(net(text), tmp_path, config=config)


@pytest.mark.parametrize("config", [QuantConfig(weight_algorithm="gptq"), QuantConfig(bias_correction="full")])
def test_a_piece_that_takes_a_size_for_another_is_refused_with_the_remedy(config: QuantConfig, tmp_path: Path) -> None:
    """Learned roundings and measured biases go from piece to piece, each of which knows the sizes that onnx infers."""
    text = """net (float[N,3,16,16] x) => (float[A,B,C,D] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1)
      [pool] p = MaxPool<ceil_mode = 1, kernel_shape = [2,2], dilations = [4,4], strides = [8,8], pads = [0,0,1,1]>(a)
      [conv2] c = Conv(p, k2, b2) [relu] r = Relu(c) [conv3] y = Conv(r, w3, b3)
    }"""
    model = net(text, k2=(8, 8, 1, 1))
    with pytest.raises(UnsupportedModelError, match=r"has shape \(1, 8, 2, 2\), .*export the model for opset 22"):
        quantized(model, tmp_path, config=config)


@pytest.mark.parametrize("target", ["ascend", "ort", "generic"])
def test_a_pooling_of_which_onnx_counts_too_many_windows_is_compared_as_it_runs(target: str, tmp_path: Path) -> None:
    """Of 16 pixels every fourth: 4. With ceil_mode onnx infers 5 below opset 22, a window behind the data."""
    text = """net (float[1,3,16,16] x) => (float[1,8,4,4] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1)
      [pool] p = MaxPool<ceil_mode = 1, kernel_shape = [1,1], strides = [4,4]>(a)
      [conv3] b = Conv(p, w3)
      [sum] y = Add(b, p)
    }"""
    model = net(text)
    assert_good(model, quantized(model, tmp_path, config=QuantConfig(target=target)), layers=2 if target != "ort" else 5)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("how", [{"weight_algorithm": "gptq"}, {"bias_correction": "full"}], ids=["gptq", "full"])
def test_a_network_with_such_a_pooling_is_run_in_pieces(how: dict[str, str], half: bool, tmp_path: Path) -> None:
    """A piece behind the pooling had another size than what it is given: an error that blamed the loader."""
    text = """net (float[N,3,15,15] x) => (float[N,6,H,W] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1)
      [pool] p = AveragePool<ceil_mode = 1, count_include_pad = 1, kernel_shape = [2,2], strides = [2,2], pads = [1,1,1,1]>(a)
      [conv2] b = Conv<pads = [1,1,1,1]>(p, w2) [sum] c = Add(b, p) [conv3] y = Conv(c, w3)
    }"""
    model = net(text, w2=(8, 8, 3, 3), w3=(6, 8, 1, 1))
    data = images(size=(15, 15))
    if half:
        model, data = to_float16(model), [{"x": feeds["x"].astype(np.float16)} for feeds in data]
    result = quantized(model, tmp_path, data, QuantConfig(**how))
    assert result.exports.deploy is not None
    assert sqnr_of(model, result, data) > GOOD_DB


def test_a_product_whose_size_is_asked_for_has_its_bias_in_all_models() -> None:
    """Where sizes are fixed nobody asks any more: the deploy model took in a bias that the fake-quant model did not have."""
    text = """net (float[N,5,16] x) => (float[N,40] y) {
      [product] a = MatMul (x, w) [bias] b = Add (a, v) s = Shape (a) n = Slice (s, zero, one) k = Concat <axis=0> (n, flat)
      y = Reshape (b, k) }"""
    model = net(text, w=(16, 8), v=(8,), zero=np.array([0]), one=np.array([1]), flat=np.array([40]))
    data = [{"x": feeds["x"].reshape(-1)[:80].reshape(1, 5, 16)} for feeds in images()]
    result = quantize(ir.load_bytes(model.SerializeToString()), data, options=ONE_THREAD)
    assert result.report.equivalence is not None
    assert "product.bias.dequantizelinear" in {node.name for node in result.exports.fake_quant.graph}
