"""Which single tensors are quantized: requests, refusals, and what a request must never change."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import named
from passes.graphs import parse
from small_nets import ONE_THREAD, images, net, run, saved

from amct_lite import ir
from amct_lite.analysis.ranking import rank_layers
from amct_lite.calibration.store import Statistics
from amct_lite.config import Override, QuantConfig, format_config, load_config
from amct_lite.converting import convert
from amct_lite.decide import decide
from amct_lite.errors import ConfigError
from amct_lite.exporters import qdq
from amct_lite.loading import load_prepared
from amct_lite.pipeline import calibrate, quantize
from amct_lite.plan import layer_facts, resolve
from amct_lite.record import check_record, format_record, parse_record
from amct_lite.types import LayerRecord, QParams, QuantRecord

OPSET = '<ir_version: 8, opset_import: ["": 17]>'
NET = """g (float[1,2,8,8] x, float[N,2,8,8] z, int64[1,2,8,8] n, float[2,2,1,1] w, float[2,2,1,1] w2, float[8,8] m, float[8] v,
           float[1,2,8,8] k, float s) => (float[1,2,8,8] y, float[N,2,8,8] q, float[N,2,8,8] u, int64[1,2,8,8] o,
           float[N,2,8,8] l) {
    [c1] a = Conv (x, w)
    [pool] p = MaxPool <kernel_shape = [1, 1]> (a)
    [c2] b = Conv (p, w2)
    [add] t = Add (b, x)
    [shift] f = Add (t, k)
    [scaled] g2 = Mul (f, s)
    [mm] h = MatMul (g2, m)
    [bias] i = Add (h, v)
    [clip] j = Clip (i, , s)
    [relu] y = Relu (j)
    [count] o = Add (n, n)
    [sum] q = Sum (x, z)
    [sin] u = Sin (z)
    [shape] e = Shape (z)
    [size] e2 = ConstantOfShape (e)
    [plus] l = Add (z, e2) }"""
ALL = Override()


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return named(parse(NET, "w w2 m v k", OPSET))


def keys(model: ir.Model, **settings: object) -> list[str]:
    return [read.key for read in resolve(QuantConfig(**settings), model).reads]  # type: ignore[arg-type]


def test_without_a_request_no_tensor_is_quantized(model) -> None:
    assert keys(model) == []


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (["add:0"], ["add:0"]),
        (["add:1", "add:0", "pool:0"], ["pool:0", "add:0", "add:1"]),  # the order of the graph
        (["Add:*"], ["add:0", "add:1", "shift:0", "plus:0"]),  # no constant, no int64, not the sum in front of a quantized bias
        (["s*:0"], ["shift:0", "scaled:0", "sum:0", "sin:0"]),
        (["MaxPool:0"], ["pool:0"]),
        (["clip:0"], ["clip:0"]),
        (["sum:*"], ["sum:0", "sum:1"]),
    ],
)
def test_requests_name_a_node_a_pattern_or_an_operator(model, tensors, expected) -> None:
    assert keys(model, tensors=dict.fromkeys(tensors, ALL)) == expected


def test_a_tensor_has_the_settings_of_all_activations_and_its_own(model) -> None:
    config = QuantConfig(
        algorithm="hfmg",
        tensors={
            "Add:*": Override(symmetric=True),
            "add:0": Override(algorithm="minmax"),
            "*dd:1": Override(algorithm="mse"),
            "shift:*": Override(skip=True),
            "plus:*": Override(skip=True),
        },
    )
    plan = resolve(config, model)
    chosen = {read.key: (read.tensor.algorithm, read.tensor.spec.symmetric) for read in plan.reads}
    assert chosen == {"add:0": ("minmax", True), "add:1": ("mse", True)}
    assert [(s.node, s.reason) for s in plan.skips] == [
        ("shift:0", 'the configuration skips it (tensors["shift:*"])'),
        ("plus:0", 'the configuration skips it (tensors["plus:*"])'),
    ]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("ad:0", r'tensors\["ad:0"\]: \'ad\' is no node, pattern or operator type of the model \(did you mean \'add\'\?\)'),
        ("add:2", r'tensors\["add:2"\]: there is no input 2: it has 2 inputs, 0 to 1\.'),
        ("shift:1", "the input is a constant"),
        ("clip:1", "the input is absent"),
        ("count:0", "the input holds int64, not float32"),
        ("scaled:1", "the input is a single number"),
        ("shape:0", "a Shape reads no values"),
        ("plus:1", "the input is made of shapes and constants alone"),
        ("c1:0", "layer 'c1' is quantized, which quantizes this input anyway"),
        ("c1:1", "the input is a constant"),
        ("bias:0", "layer 'mm' is quantized, which quantizes this input anyway"),
        ("Conv:*", "layer 'c1' is quantized, which quantizes this input anyway"),
        ("count:*", "the input holds int64, not float32"),
        ("nothing*:0", "'nothing\\*' is no node, pattern or operator type"),
    ],
)
def test_requests_that_make_no_sense_are_errors(model, key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(QuantConfig(tensors={key: ALL}), model)


def test_all_senseless_requests_are_listed_with_their_lines(model, tmp_path) -> None:
    path = tmp_path / "quant.yaml"
    path.write_text("tensors:\n  add:0: {}\n  add:7: {}\n  shft:0: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        resolve(load_config(path), model)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{path}:3", f"{path}:4"]


@pytest.mark.parametrize(
    "key", ["add", "add:", ":0", "add:x", "add:-1", "add:01", "add:1.0", f"add:{'1' * 5000}"], ids=lambda key: key[:8]
)
def test_a_key_without_an_input_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="must name a node and an input"):
        QuantConfig(tensors={key: ALL})
    with pytest.raises(ConfigError, match="must name a node and an input"):
        QuantConfig.from_mapping({"tensors": {key: {}}})


def test_a_tensor_has_no_weight() -> None:
    with pytest.raises(ConfigError, match=r'tensors\["add:0"\].weight_bits: a single tensor has no weight'):
        QuantConfig(tensors={"add:0": Override(weight_bits=8)})
    with pytest.raises(ConfigError, match=r'tensors\["add:0"\].balance: a single tensor has no weight'):
        QuantConfig(tensors={"add:0": Override(balance=0.5)})
    with pytest.raises(ConfigError, match=r'tensors\["add:0"\].weight is unknown'):
        QuantConfig.from_mapping({"tensors": {"add:0": {"weight": {"bits": 8}}}})


def test_four_bits_are_refused_and_sixteen_for_onnx_runtimes_kernels(model) -> None:
    with pytest.raises(ConfigError, match=r'tensors\["add:0"\]: 4 bits were asked for; a single tensor takes 8 or 16 bits\.$'):
        resolve(QuantConfig(tensors={"add:0": Override(bits=4)}), model)
    with pytest.raises(ConfigError, match=r"activation\.bits = 16 of tensor add:0: the integer kernels"):
        resolve(QuantConfig(tensors={"add:0": Override(bits=16)}, target="ort"), model)


def test_sixteen_bits_are_exported_and_agree() -> None:
    """Both models are executed and compared by `quantize`; 16 bits round 256 times finer."""
    errors = {}
    for bits in (8, 16):
        config = QuantConfig(tensors={"Add:*": Override(bits=bits)}, skip=("Conv",), bias_correction="none")
        result = quantize(ir.load_bytes(net().SerializeToString()), images(), config, options=ONE_THREAD)
        assert [entry.activation.bits for entry in result.record.layers] == [bits, bits]
        assert parse_record(format_record(result.record)) == result.record
        deploy = result.exports.deploy
        assert deploy is not None
        kinds = [str(ir.attribute(n, "dst_type", "")) for n in deploy.graph if n.op_type in {"AscendQuant", "AscendAntiQuant"}]
        assert kinds == [f"INT{bits}"] * 4
        assert result.report.equivalence is not None
        errors[bits] = result.report.outputs[0].sqnr_db
    assert errors[16] > errors[8] + 40  # 48 dB are 8 bits


def test_a_record_with_four_bits_for_a_single_tensor_is_refused(model) -> None:
    record = QuantRecord((LayerRecord("add:0", QParams((0.1,), (0,), 4), None, tensor_quantize=True),))
    (problem,) = check_record(record, layer_facts("ascend", model))
    assert "a single tensor is no INT4: use INT8 or INT16" in problem


@pytest.mark.parametrize(
    ("skip", "key", "layer"),
    [("c1", "c1:0", "c1"), ("c2", "pool:0", "c2"), ("mm", "mm:0", "mm")],
)
def test_a_tensor_that_float_weights_would_read_is_left_alone(model, skip: str, key: str, layer: str) -> None:
    plan = resolve(QuantConfig(skip=(skip,), tensors={key: ALL}), model)
    assert plan.reads == ()
    (reason,) = [s.reason for s in plan.skips if s.node == key]
    assert reason.startswith(f"'{layer}' stays in float and would read it")


def test_a_tensor_that_reaches_the_body_of_an_if_is_left_alone() -> None:
    """No weight is near, so it is not said to be."""
    text = """g (float[1,2,8,8] x, bool large, float[2,2,1,1] w) => (float[1,2,8,8] y) {
      [conv] a = Conv (x, w) [pool] p = MaxPool <kernel_shape = [1, 1]> (a)
      [if] y = If (large) <then_branch = yes () => (float[1,2,8,8] t) { [sine] t = Sin (p) },
                           else_branch = no () => (float[1,2,8,8] f) { [cosine] f = Cos (p) }> }"""
    plan = resolve(QuantConfig(tensors={"pool:0": ALL}), named(parse(text, "w", OPSET)))
    assert plan.reads == ()
    (reason,) = [s.reason for s in plan.skips if s.node == "pool:0"]
    assert reason.startswith("'sine', in the body of an If or Loop, would read it")


def test_the_sum_before_a_bias_can_be_quantized_when_its_product_is_not(model) -> None:
    assert keys(model, skip=("mm",), tensors={"bias:0": ALL}) == ["bias:0"]


def test_to_skip_a_node_is_stronger_than_a_pattern_or_an_operator_of_tensors(model) -> None:
    for tensors in (["Add:*"], ["a*:*"], ["add:0", "add:1"]):
        plan = resolve(QuantConfig(skip=("add",), tensors=dict.fromkeys(tensors, ALL)), model)
        assert not [read.key for read in plan.reads if read.node == "add"], tensors
        reasons = {s.node: s.reason for s in plan.skips}
        assert reasons["add:0"] == "the configuration skips it (skip lists 'add')"


def test_a_tensor_by_name_is_stronger_than_a_pattern_of_nodes_to_skip(model) -> None:
    assert keys(model, skip=("Add",), tensors={"add:0": ALL, "Add:*": ALL}) == ["add:0"]


def test_an_operator_that_occurs_as_the_bias_of_a_product_alone_is_passed_over() -> None:
    text = """g (float[4,8] x, float[8,8] m, float[8] v) => (float[4,8] y) {
        [mm] h = MatMul (x, m)
        [bias] y = Add (h, v) }"""
    plan = resolve(QuantConfig(tensors={"Add:*": ALL}), named(parse(text, "m v", OPSET)))
    assert plan.reads == ()
    assert [(s.node, s.reason) for s in plan.skips] == [
        ("bias:0", "it is the bias of 'mm', which is quantized and takes it in")
    ]


def test_the_record_is_checked_by_the_same_rules(model) -> None:
    facts = layer_facts("ascend", model)
    assert facts["add"].reads.inputs == ("", "")
    assert facts["bias"].reads.claimed == {0: "mm"}
    assert facts["pool"].reads.weights == ("c2",)


WRITTEN = {"add:0": Override(), "Add:*": Override(algorithm="minmax", symmetric=True), "b c[1]*:1": Override(skip=True)}


@pytest.mark.parametrize("kind", ["yaml", "toml", "json"])
def test_tensors_survive_writing_and_reading(kind: str, tmp_path) -> None:
    path = tmp_path / f"quant.{kind}"
    path.write_text(format_config(QuantConfig(tensors=WRITTEN), kind), encoding="utf-8")
    assert load_config(path).tensors == WRITTEN


W = np.random.default_rng(1).normal(size=(3, 2, 1, 1)).astype(np.float32)
POOL = "[read] p = MaxPool <kernel_shape = [2, 2]> (a)"
ADD = "[read] p = Add (a, b)"


@pytest.mark.parametrize("text", [POOL, ADD], ids=["pool", "add"])
@pytest.mark.parametrize("reads", [["read:0"], ["read:0", "read:1"]], ids=["one", "both"])
@pytest.mark.parametrize("layer", [False, True], ids=["alone", "before a layer"])
def test_onnx_runtime_computes_the_same_when_it_optimizes(text: str, reads: list[str], layer: bool) -> None:
    """It moves DequantizeLinear behind a MaxPool, and makes a QLinearAdd of an Add with two of them in front of a layer."""
    wanted = reads if text is ADD else reads[:1]
    body = f"{text} [behind] y = Conv (p, w)" if layer else text.replace("p =", "y =")
    inputs = "float[1,2,9,9] a, float[1,2,9,9] b" if text is ADD else "float[1,2,9,9] a"
    model = named(parse(f"g ({inputs}, float[3,2,1,1] w) => (float[1,?,?,?] y) {{ {body} }}", "", OPSET, w=W))
    entries = [LayerRecord(key, QParams.of(0.0231371, 3), None, tensor_quantize=True) for key in wanted]
    entries += [LayerRecord("behind", QParams.of(0.0312773, -5), QParams.of(0.01, 0))] * layer
    fake = qdq.export(model, QuantRecord(tuple(entries)))
    rng = np.random.default_rng(0)
    feeds = {v.name: rng.normal(size=v.shape.numpy()).astype(np.float32) for v in fake.graph.inputs}
    fast, exact = optimized(ir.to_bytes(fake), feeds), run(fake, feeds)[0]
    np.testing.assert_allclose(fast, exact, rtol=0, atol=2e-6)  # the float32 sum of two products, in another order


def optimized(model: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feeds)[0]


def test_what_onnx_runtime_would_do_to_float_weights_is_real() -> None:
    """The reason for the refusal: remove it when this fails."""
    model = onnx.parser.parse_model(f"""{OPSET}
        g (float[1,2,32,32] x, float[3,2,1,1] w, float s, int8 z) => (float[1,3,32,32] y) {{
        q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) p = MaxPool <kernel_shape = [1, 1]> (d) c = Conv (p, w)
        r = QuantizeLinear (c, s, z) y = DequantizeLinear (r, s, z) }}""")
    values = {"w": W, "s": np.float32(0.01), "z": np.int8(3)}
    del model.graph.input[1:]
    model.graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in values.items())
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 2, 32, 32)).astype(np.float32)}
    assert np.mean(optimized(model.SerializeToString(), feeds) != run(model, feeds)[0]) > 0.01


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = saved(net(), tmp_path_factory.mktemp("net"))
    return path, quantize(path, images(), options=ONE_THREAD)


READS = ("relu1:0", "relu2:0", "add:0", "add:1")


@pytest.fixture(scope="module")
def observed(plain) -> Statistics:
    config = QuantConfig(tensors=dict.fromkeys(READS, ALL))
    return quantize(plain[0], images(), config=config, options=ONE_THREAD).statistics


@settings(max_examples=10)
@given(
    chosen=st.dictionaries(
        st.sampled_from(READS),
        st.builds(Override, algorithm=st.sampled_from([None, "minmax", "mse"]), symmetric=st.booleans()),
    )
)
def test_a_single_tensor_never_changes_the_scales_of_a_layer(plain, observed, chosen) -> None:
    """Decided from the same sketches. (Two runs differ in the last digit: ONNX Runtime fuses other nodes.)"""
    model = load_prepared(plain[0]).prepared
    usable, _ = observed.usable()
    without = decide(model, resolve(QuantConfig(), model), usable).record
    record = decide(model, resolve(QuantConfig(tensors=chosen), model), usable).record
    assert tuple(entry for entry in record.layers if not entry.tensor_quantize) == without.layers
    assert [entry.key for entry in record.layers if entry.tensor_quantize] == [key for key in READS if key in chosen]


def test_a_run_reports_its_tensors_and_can_be_exported_again(plain, tmp_path) -> None:
    path, _ = plain
    result = quantize(path, images(), config=QuantConfig(tensors={"add:*": ALL}), options=ONE_THREAD)
    rows = {row.name: row for row in result.report.layers if row.tensor}
    assert list(rows) == ["add:0", "add:1"]
    assert all(row.op_type == "Add" and row.weight == "—" and row.sqnr_db > 35 for row in rows.values())
    equivalence = result.report.equivalence
    assert (equivalence.layers, equivalence.tensors) == (4, 2)
    result.save(str(tmp_path / "net"))
    again = convert(path, tmp_path / "net_record.txt", options=ONE_THREAD)
    assert ir.to_bytes(again.exports.deploy) == ir.to_bytes(result.exports.deploy)
    assert ir.to_bytes(again.exports.fake_quant) == ir.to_bytes(result.exports.fake_quant)


@pytest.mark.parametrize("method", ["none", "analytic", "full"])
def test_every_bias_correction_walks_models_with_single_tensors(plain, method: str) -> None:
    path, _ = plain
    config = QuantConfig(tensors={"add:*": ALL, "relu2:0": ALL}, bias_correction=method)
    result = quantize(path, images(), config=config, options=ONE_THREAD)
    assert result.report.outputs[0].sqnr_db > 35  # 42 dB with all of them


def test_a_dilated_mean_reads_floats() -> None:
    """Between two pairs ONNX Runtime would make an integer kernel of it, which it then refuses."""
    text = """net (float[1,3,16,16] x) => (float[1,8,14,14] y) { [c1] a = Conv <pads=[1,1,1,1]> (x, w1)
      [pool] b = AveragePool <kernel_shape=[2,2], dilations=[2,2]> (a) [c2] y = Conv (b, w3) }"""
    model = ir.load_bytes(net(text, opset=19).SerializeToString())
    with pytest.raises(ConfigError, match=r'tensors\["pool:0"\]: ONNX Runtime has no integer kernel for dilated means'):
        resolve(QuantConfig(target="ort", tensors={"pool:0": Override()}), model)


def test_a_tensor_goes_with_the_layer_that_would_read_it_in_float(tmp_path) -> None:
    text = """net (float[N,3,16,16] x) => (float[N,8,8,8] y) {
        [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1) [pool] p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a)
        [conv2] y = Conv<group = 8, pads = [1,1,1,1]>(p, w2, b2) }"""
    config = QuantConfig(tensors={"pool:0": ALL})
    found = calibrate(saved(net(text), tmp_path), images(), config, options=ONE_THREAD)
    assert [entry.key for entry in found.without({"conv1": "no"}).decision.record.layers] == ["pool:0", "conv2"]
    narrowed = found.without({"conv2": "no"})
    assert [entry.key for entry in narrowed.decision.record.layers] == ["conv1"]
    assert narrowed.plan.reads == ()
    assert [skip.node for skip in narrowed.plan.skips] == ["conv2", "pool:0"]


def test_a_ranking_names_layers_only(plain) -> None:
    path, _ = plain
    result = quantize(path, images(), config=QuantConfig(tensors={"add:*": ALL}), options=ONE_THREAD)
    model = load_prepared(path).prepared
    ranking = rank_layers(model, result.exports.corrected, result.record, images(2))
    assert sorted(name for name, _ in ranking) == ["conv1", "conv2", "conv3", "conv4"]


def test_a_model_without_layers_can_have_tensors_quantized(tmp_path) -> None:
    model = net("net (float[N,3,16,16] x) => (float[N,3,8,8] y) { [pool] y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) }")
    path = saved(model, tmp_path)
    result = quantize(path, images(), config=QuantConfig(tensors={"pool:0": ALL}), options=ONE_THREAD)
    assert result.report.outputs[0].sqnr_db > 35
    assert result.report.equivalence.tensors == 1


def test_a_record_by_hand_is_enough(plain) -> None:
    path, _ = plain
    entries = "".join(
        f'record {{ key: "add:{i}" value {{ scale_d: 0.05 offset_d: {i} is_tensor_quantize: true }} }}\n' for i in range(2)
    )
    config = QuantConfig(input_shapes={"x": (1, 3, 16, 16)})
    result = convert(path, parse_record(entries), config=config, options=ONE_THREAD)
    quant = [(n.op_type, n.name) for n in result.exports.deploy.graph if n.op_type.startswith("Ascend")]
    assert quant == [
        ("AscendQuant", "add.quant"),
        ("AscendAntiQuant", "add.anti_quant"),
        ("AscendQuant", "add.quant1"),
        ("AscendAntiQuant", "add.anti_quant1"),
    ]


def test_what_a_branch_makes_of_data_is_not_made_of_constants() -> None:
    """The condition is constant; what the bodies capture is not."""
    text = """g (float[1,2,8,8] x, bool flag) => (float[1,2,8,8] y) {
        a = If (flag) <then_branch = t () => (float[1,2,8,8] u) { u = Neg (x) },
                       else_branch = e () => (float[1,2,8,8] v) { v = Abs (x) }>
        [pool] y = MaxPool <kernel_shape = [1, 1]> (a) }"""
    model = named(parse(text, "", OPSET, flag=np.array(True)))
    assert keys(model, tensors={"pool:0": ALL}) == ["pool:0"]
