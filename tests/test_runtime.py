"""Sessions run models of any size, and what ONNX Runtime refuses becomes an error that says what and where."""

import gc
import platform
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from amct_lite import ir, runtime
from amct_lite.errors import CalibrationError, ConfigError, DataError, UnsupportedModelError
from amct_lite.ir import stored, writing
from amct_lite.runtime import RuntimeOptions, open_session

HEADER = '<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1, "acme" : 1]>\n'
ONE = RuntimeOptions(threads=1)


def session_of(body, head="(float[N, 3] x, int64[2] k) => (float[N, 3] y, float[N, 3] z)", **options):
    return open_session(ir.from_text(f"{HEADER}net {head} {{ {body} }}"), ONE, **options)


@pytest.fixture
def session():
    return session_of("y = Relu (x) z = Neg (x)")


def feeds(rows=2):
    return {"x": np.arange(rows * 3, dtype=np.float32).reshape(rows, 3) - 1, "k": np.zeros(2, np.int64)}


def test_results_do_not_depend_on_where_an_input_lies_in_memory():
    session = session_of("y = ReduceMean <axes = [1], keepdims = 0> (x)", "(float[N, 999] x) => (float[N] y)")
    values = np.random.default_rng(0).standard_normal((40, 999)).astype(np.float32)
    found = set()
    for offset in range(0, 64, 4):
        memory = np.zeros(values.nbytes + 128, np.uint8)
        start = -memory.ctypes.data % 64 + offset
        moved = memory[start : start + values.nbytes].view(np.float32).reshape(values.shape)
        moved[...] = values
        found.add(session.run({"x": moved})[0].tobytes())
    assert len(found) == 1


def test_session_tells_its_inputs_and_outputs(session):
    assert session.input_names == ("x", "k")
    assert session.output_names == ("y", "z")
    assert [(spec.name, spec.dtype, spec.shape) for spec in session.inputs] == [
        ("x", np.float32, (None, 3)),
        ("k", np.int64, (2,)),
    ]


def test_outputs_come_in_the_order_asked_for(session):
    y, z = session.run(feeds())
    np.testing.assert_array_equal(y, [[0, 0, 1], [2, 3, 4]])
    np.testing.assert_array_equal(z, [[1, 0, -1], [-2, -3, -4]])
    np.testing.assert_array_equal(session.run(feeds(), ("z",))[0], z)


@pytest.mark.parametrize("optimize", [True, False])
def test_unoptimized_session_computes_the_same(optimize):
    session = session_of("a = Identity (x) y = Relu (a) z = Neg (y)", optimize=optimize)
    np.testing.assert_array_equal(session.run(feeds())[1], [[0, 0, -1], [-2, -3, -4]])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"X": np.zeros(3)},
            r"have an input 'X', which the model does not have .did you mean 'x'..; its inputs are x, k",
        ),
        ({"x": None}, "nothing for input 'x' of the model; they have k"),
        (
            {"x": np.zeros((2, 3))},
            r"'x' has type float64, the model expects float32. Convert .*astype\('float32'\)",
        ),
        ({"x": np.zeros((2, 4), np.float32)}, r"input 'x' has shape \(2, 4\), the model expects \(\?, 3\)"),
        ({"x": np.zeros(3, np.float32)}, r"input 'x' has shape \(3,\)"),
        ({"x": [[1.0, 2.0, 3.0]]}, r"input 'x' is a list. Give a numpy array"),
    ],
)
def test_feeds_that_do_not_fit_are_refused(session, change, match):
    given = {name: array for name, array in (feeds() | change).items() if array is not None}
    with pytest.raises(DataError, match=match):
        session.run(given)


def test_numpy_scalars_are_taken_for_scalars():
    session = session_of("y = Add (x, k)", head="(float[3] x, float k) => (float[3] y)")
    given = {"x": np.zeros(3, np.float32), "k": np.float32(2)}
    assert session.run(given)[0].tolist() == [2, 2, 2]


def test_strings_and_half_precision_are_understood():
    head = "(string[N] s, float16[2] h, bool[1] b) => (string[N] y, float16[2] z, bool[1] c)"
    session = session_of("y = Identity (s) z = Add (h, h) c = Not (b)", head=head)
    assert [spec.dtype for spec in session.inputs] == [np.dtype(object), np.dtype(np.float16), np.dtype(bool)]
    given = {"s": np.array(["a", "b"]), "h": np.ones(2, np.float16), "b": np.array([True])}
    y, z, c = session.run(given)
    assert (y.tolist(), z.tolist(), c.tolist()) == (["a", "b"], [2, 2], [False])


def test_bfloat16_input_is_described():
    session = session_of("y = Cast <to = 1> (x)", head="(bfloat16[2] x) => (float[2] y)")
    assert str(session.inputs[0].dtype) == "bfloat16"


def test_sequence_input_is_passed_on():
    session = session_of("y = ConcatFromSequence <axis = 0> (s)", head="(seq(float[N]) s) => (float[M] y)")
    assert session.inputs[0].shape is None
    assert session.run({"s": [np.zeros(2, np.float32), np.ones(1, np.float32)]})[0].tolist() == [0, 0, 1]


def test_node_that_fails_on_the_data_is_named():
    session = session_of("y = Reshape (x, k)", head="(float[N, 3] x, int64[2] k) => (float[A, B] y)")
    with pytest.raises(CalibrationError, match=r"cannot be run on this data \(x \(2, 3\), k \(2,\)\): .*Reshape_0"):
        session.run(feeds() | {"k": np.array([4, 4])})


def test_contrib_operators_run():
    session = session_of("y = com.microsoft.Gelu (x)", head="(float[3] x) => (float[3] y)")
    assert session.run({"x": np.zeros(3, np.float32)})[0].tolist() == [0, 0, 0]


def test_custom_operator_without_its_library_is_refused_with_a_hint():
    with pytest.raises(UnsupportedModelError, match=r"acme:F.* is not a registered function/op.*pass the library"):
        session_of("y = acme.F (x)", head="(float[3] x) => (float[3] y)")


def test_model_that_onnx_runtime_refuses_is_refused_with_its_words():
    with pytest.raises(UnsupportedModelError, match=r"does not take the model: .*MatMul_0.* Check that the original"):
        session_of("y = MatMul (x, x)", head="(float[2, 3] x) => (float[2, 3] y)")


def test_path_is_opened_in_place(tmp_path):
    path = tmp_path / "model.onnx"
    ir.save(ir.from_text(HEADER + "net (float[3] x) => (float[3] y) { y = Relu (x) }"), path)
    assert open_session(path, ONE).run({"x": -np.ones(3, np.float32)})[0].tolist() == [0, 0, 0]
    with pytest.raises(UnsupportedModelError, match=r"absent\.onnx does not exist"):
        open_session(tmp_path / "absent.onnx")


def big_model():
    model = ir.from_text(HEADER + "net (float[1000] x) => (float[1000] y) { y = Add (x, x) }")
    ir.replace_input(model.graph[0], 1, ir.add_initializer(model.graph, "w", np.ones(1000, np.float32)))
    return model


def test_weights_in_files_are_read_from_there(monkeypatch):
    """They are no part of what ONNX Runtime gets as bytes, and must not go away while it opens the model."""
    monkeypatch.setattr(stored, "LARGE", 1000)
    monkeypatch.setattr(writing, "LARGE", 1000)
    model = big_model()
    attached = ir.attached(model)
    assert len(attached.graph) < 1000 < len(ir.to_bytes(model))
    assert not attached.weights
    assert open_session(model, ONE).run({"x": np.zeros(1000, np.float32)})[0].sum() == 1000


def test_weights_in_memory_are_neither_copied_nor_dropped():
    """A session reads them where they are, for as long as it lives."""
    model = big_model()
    attached = ir.attached(model)
    assert len(attached.graph) < 1000 < len(ir.to_bytes(model))
    assert attached.weights["w"] is model.graph.initializers["w"].const_value, "the model stays as it is"
    session = open_session(model, ONE)
    del model, attached
    gc.collect()
    noise = [np.full(1000, np.nan, np.float32) for _ in range(100)]  # takes the memory that was given back
    assert session.run({"x": np.zeros(1000, np.float32)})[0].sum() == len(noise) * 10


def test_a_weight_that_nobody_reads_does_not_matter():
    """ONNX Runtime drops it before it looks for what was passed along, and would miss it then."""
    model = big_model()
    ir.replace_input(model.graph[0], 1, model.graph.inputs[0])
    assert open_session(model, ONE).run({"x": np.ones(1000, np.float32)})[0].sum() == 2000


@pytest.mark.parametrize("dtype", [ir.DataType.BFLOAT16, ir.DataType.FLOAT16, ir.DataType.INT64, ir.DataType.BOOL])
def test_weights_of_every_type_are_taken(dtype):
    text = f"{HEADER}net ({dtype.name.lower()}[64, 32] x) => (float[64, 32] y) {{ y = Cast <to = 1> (x) }}"
    model = ir.from_text(text)
    weight = (np.arange(2048).reshape(32, 64).T % 2).astype(dtype.numpy())  # transposed: not in the order of its memory
    ir.replace_input(model.graph[0], 0, ir.add_initializer(model.graph, "w", weight))
    assert set(ir.attached(model).weights) == {"w"}
    model.graph.inputs.clear()
    np.testing.assert_array_equal(open_session(model, ONE).run({})[0], weight.astype(np.float32))


def test_external_weights_of_a_loaded_model_are_found(tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(writing, "EXTERNAL_FROM", 1000)
        ir.save(big_model(), tmp_path / "model.onnx")
    session = open_session(ir.load(tmp_path / "model.onnx").model, ONE)
    assert session.run({"x": np.zeros(1000, np.float32)})[0].sum() == 1000


def test_large_weights_of_several_sessions_are_read_in_place(monkeypatch):
    model = big_model()
    asked = RuntimeOptions(session_config=(("session.intra_op.allow_spinning", "1"),))
    assert runtime.beside_others(asked, model) is asked
    monkeypatch.setattr(runtime, "_HEAVY", 1000)
    heavy = runtime.beside_others(asked, model)
    assert heavy.session_config == (("session.disable_prepacking", "1"), *asked.session_config)
    assert open_session(model, heavy).run({"x": np.zeros(1000, np.float32)})[0].sum() == 1000


def depthwise(lowest: int) -> ir.Model:
    """With so many weights of -128 in each channel."""
    weight = np.full((16, 1, 3, 3), 127, np.int8)
    weight.reshape(16, -1)[:, :lowest] = -128
    model = ir.from_text(
        f"""{HEADER}net (uint8[1, 16, 8, 8] x, int8[16, 1, 3, 3] w) => (uint8[1, 16, 6, 6] y) {{
          s = Constant <value = float {{1.0}}> () wide = Constant <value = float {{1000.0}}> ()
          z = Constant <value = uint8 {{0}}> () a = DequantizeLinear (x, s, z) b = DequantizeLinear (w, s)
          c = Conv <group = 16> (a, b) y = QuantizeLinear (c, wide, z) }}"""
    )
    value = model.graph.inputs.pop()
    value.const_value = ir.tensor_of(weight)
    model.graph.register_initializer(value)
    return model


@pytest.mark.parametrize(
    ("lowest", "machine", "turned_off"), [(2, "aarch64", True), (1, "aarch64", False), (2, "x86_64", False)]
)
def test_on_arm_no_kernel_sums_up_weights_that_overflow_it(lowest, machine, turned_off, monkeypatch):
    given = []
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(runtime, "_settings", lambda options, _optimize: given.append(options) or onnxruntime.SessionOptions())
    model = depthwise(lowest)
    open_session(model, ONE)
    asked = RuntimeOptions(session_config=(("session.disable_quant_qdq", "0"),))
    open_session(model, asked)
    off = {"session.disable_quant_qdq": "1"} if turned_off else {}
    assert [dict(options.session_config) for options in given] == [off, dict(asked.session_config)]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps what is freed")
def test_memory_that_was_freed_is_returned_before_a_large_model_is_opened(monkeypatch):
    def own() -> int:
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    # What stays lies between what is freed. It is as large, or it would go into holes that others left behind, and what is
    # freed would lie together, at the end, from where it returns by itself.
    blocks = [bytearray(100_000) for _ in range(1200)]
    del blocks[::2]
    before = own()
    open_session(big_model(), ONE)
    assert own() > before - 10_000_000, "a small model is not worth it"
    monkeypatch.setattr(runtime, "_HEAVY", 1000)
    open_session(big_model(), ONE)
    assert own() < before - 50_000_000


def test_integers_are_as_large_as_the_floats_that_they_become(monkeypatch):
    """Which ONNX Runtime may make of all weights before the first layer runs."""
    weights = "<float s = {0.1}, int8 z = {0}, int8[2, 2] w = {1, 2, 3, 4}>"
    layer = "v = DequantizeLinear (w, s, z) y = MatMul (x, v)"
    model = ir.from_text(f"{HEADER}net (float[2, 2] x) => (float[2, 2] y) {weights} {{ {layer} }}")
    monkeypatch.setattr(runtime, "_HEAVY", 6)  # four weights, a scale, a zero point: 9 bytes, 24 as floats
    assert runtime.is_heavy(model)
    monkeypatch.setattr(runtime, "_HEAVY", 7)
    assert not runtime.is_heavy(model)


def test_unknown_provider_is_refused_with_the_available_ones():
    options = RuntimeOptions(providers=("CPUExecutionProvidr",))
    with pytest.raises(ConfigError, match=r"not available \(did you mean 'CPUExecutionProvider'\?\); this"):
        open_session(big_model(), options)


def test_custom_op_library_must_exist_and_load(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.so does not exist"):
        open_session(big_model(), RuntimeOptions(custom_op_libraries=(str(tmp_path / "absent.so"),)))
    (tmp_path / "broken.so").write_bytes(b"no library")
    with pytest.raises(ConfigError, match=r"broken\.so cannot be loaded: "):
        open_session(big_model(), RuntimeOptions(custom_op_libraries=(str(tmp_path / "broken.so"),)))


def test_options_reach_onnx_runtime(monkeypatch):
    seen = {}
    original = onnxruntime.InferenceSession

    def record(source, settings, **keywords):
        seen.update(keywords, settings=settings)
        return original(source, settings, **keywords)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    spinning = "session.intra_op.allow_spinning"
    options = RuntimeOptions(threads=2, disabled_optimizers=("WeightBiasQuantization",), session_config=((spinning, "1"),))
    open_session(big_model(), options)
    assert seen["providers"] == [("CPUExecutionProvider", {})]
    assert seen["disabled_optimizers"] == ["WeightBiasQuantization"]
    settings = seen["settings"]
    assert (settings.intra_op_num_threads, settings.log_severity_level) == (2, 4)
    assert settings.get_session_config_entry(spinning) == "1"
    open_session(big_model())
    assert seen["settings"].get_session_config_entry(spinning) == "0"


def test_misspelled_input_is_recognised():
    session = session_of("y = Relu (images)", head="(float[3] images) => (float[3] y)")
    with pytest.raises(DataError, match=r"\(did you mean 'images'\?\)"):
        session.run({"image": np.zeros(3, np.float32)})


def test_invalid_session_config_is_a_config_error():
    with pytest.raises(ConfigError, match="session config"):
        open_session(big_model(), RuntimeOptions(session_config=(("", "1"),)))


def test_outputs_apart_do_not_hold_the_memory_of_their_session():
    session = session_of("y = Relu (x)", head="(float[N] x) => (float[N] y)")
    feeds = {"x": np.arange(4, dtype=np.float32)}
    (held,), (apart,) = session.run(feeds), session.run_apart(feeds)
    assert not held.flags.owndata, "or run_apart would be of no use"
    assert apart.flags.owndata
    np.testing.assert_array_equal(apart, held)
