"""A raised model computes the same: each adapter is run before and after in ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from corpus import SHARED, needs_shared
from onnx_check import full_check

from amct_lite import ir
from amct_lite.errors import UnsupportedModelError

CORPUS = SHARED / "corpus"


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(ir.to_bytes(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def parse(opset, body, shape="2, 3, 4, 4", result="float"):
    text = f'<ir_version: 4, opset_import: ["" : {opset}]>\nnet (float[{shape}] x) => ({result} y) {{ {body} }}'
    model = ir.from_text(text)
    model.graph.outputs[0].shape = None
    return model


def feeds_for(model, seed=0):
    rng = np.random.default_rng(seed)
    return {
        value.name: rng.normal(size=[d if isinstance(d, int) else 2 for d in ir.dims_of(value)]).astype(value.dtype.numpy())
        for value in model.graph.inputs
    }


def assert_same(before, after, feeds, tolerance=1e-6):
    """1e-6 of the largest: the kernels of two opsets may sum a hundred float32 terms in different orders."""
    for expected, got in zip(run(before, feeds), run(after, feeds), strict=True):
        assert (expected.dtype, expected.shape) == (got.dtype, got.shape)
        wide = expected.astype(np.float64)
        largest = np.abs(wide[np.isfinite(wide)]).max(initial=0)
        np.testing.assert_allclose(got.astype(np.float64), wide, rtol=0, atol=tolerance * largest)


CASES = {
    "clip": (7, "y = Clip <min = -0.5, max = 0.5> (x)"),
    "clip_one_bound": (10, "y = Clip <max = 0.5> (x)"),
    "clip_without_bounds": (7, "y = Clip (x)"),
    "clip_of_half": (9, "h = Cast <to = 10> (x) c = Clip <min = 0.0, max = 3.4028235e38> (h) y = Cast <to = 1> (c)"),
    "batch_norm": (
        7,
        ("s = Constant <value = float[3] {1, 2, 3}> () y = BatchNormalization <spatial = 1, epsilon = 0.01> (x, s, s, s, s)"),
    ),
    "dropout": (7, "y = Dropout <ratio = 0.7> (x)"),
    "dropout_with_mask": (10, "y, mask = Dropout <ratio = 0.7> (x)"),
    "slice": (7, "y = Slice <axes = [2, 3], starts = [1, 0], ends = [-1, 9000]> (x)"),
    "slice_without_axes": (9, "y = Slice <starts = [1, 0], ends = [2, 2]> (x)"),
    "topk": (9, "y, i = TopK <axis = 3, k = 2> (x)"),
    "pad": (9, "y = Pad <pads = [0, 0, 1, 2, 0, 0, 1, 0], value = 1.5> (x)"),
    "pad_reflect": (10, 'y = Pad <mode = "reflect", pads = [0, 0, 1, 2, 0, 0, 1, 0]> (x)'),
    "squeeze": (9, "a = ReduceMean <axes = [2, 3]> (x) y = Squeeze <axes = [2, 3]> (a)"),
    "squeeze_all": (9, "a = ReduceMean (x) y = Squeeze (a)"),
    "unsqueeze": (11, "y = Unsqueeze <axes = [0, 5]> (x)"),
    "reduce_sum": (11, "y = ReduceSum <axes = [-1], keepdims = 0> (x)"),
    "reduce_sum_all": (7, "y = ReduceSum (x)"),
    "reductions": (
        11,
        (
            "a = ReduceMax <axes = [1]> (x) b = ReduceMin <axes = [1]> (x) c = ReduceL2 <axes = [1]> (x) "
            "d = ReduceMean <axes = [1]> (x) e = ReduceLogSumExp <axes = [1]> (x) y = Sum (a, b, c, d, e)"
        ),
    ),
    "split": (7, "a, y = Split <axis = 3, split = [1, 3]> (x)"),
    "split_equally": (11, "a, y = Split <axis = 3> (x)"),
    "softmax_of_several_axes": (11, "y = Softmax (x)"),
    "softmax_of_the_last_axis": (11, "y = Softmax <axis = 3> (x)"),
    "softmax_with_trailing_ones": (7, "a = ReduceMean <axes = [2, 3]> (x) y = Softmax <axis = 1> (a)"),
    "softmax_with_leading_ones": (7, "a = ReduceMean <axes = [1, 2]> (x) y = Softmax <axis = 1> (a)"),
    "softmax_in_the_middle": (11, "a = Softmax <axis = -2> (x) y = Neg (a)"),
    "log_softmax": (12, "y = LogSoftmax <axis = 2> (x)"),
    "hardmax": (7, "y = Hardmax <axis = 2> (x)"),
    "upsample_7": (7, 'y = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 3.0]> (x)'),
    "upsample_7_linear": (7, 'y = Upsample <mode = "linear", scales = [1.0, 1.0, 2.0, 2.0]> (x)'),
    "upsample_9": (9, "s = Constant <value = float[4] {1, 1, 2.5, 2}> () y = Upsample (x, s)"),
    "resize_10_up": (10, "s = Constant <value = float[4] {1, 1, 2.5, 1.6}> () y = Resize (x, s)"),
    "resize_10_down": (10, "s = Constant <value = float[4] {1, 1, 0.6, 0.5}> () y = Resize (x, s)"),
    "resize_10_linear": (10, 's = Constant <value = float[4] {1, 1, 0.6, 2}> () y = Resize <mode = "linear"> (x, s)'),
    "scatter": (
        9,
        (
            "i = Constant <value = int64[1, 1, 1, 2] {1, 0}> () u = Constant <value = float[1, 1, 1, 2] {5, 6}> () "
            "y = Scatter <axis = 3> (x, i, u)"
        ),
    ),
    "arithmetic": (7, "a = Add (x, x) b = Mul (a, x) c = MaxPool <kernel_shape = [2, 2]> (b) y = Flatten (c)"),
    "roi_align": (
        10,
        (
            "r = Constant <value = float[1, 4] {0, 0, 3, 3}> () i = Constant <value = int64[1] {0}> () "
            "y = RoiAlign <output_height = 2, output_width = 2> (x, r, i)"
        ),
    ),
    "grid_sample": (
        16,
        (
            "g = Constant <value = float[2, 1, 2, 2] {0.1, 0.2, -0.5, 0.3, 0.1, 0.9, 0, 0}> () "
            'y = GridSample <mode = "bicubic"> (x, g)'
        ),
    ),
}


@pytest.mark.parametrize("minimum", [13, 21])
@pytest.mark.parametrize("case", CASES)
def test_raised_operator_computes_the_same(case, minimum):
    opset, body = CASES[case]
    before = parse(opset, body)
    unchanged = ir.to_bytes(before)
    after, note = ir.raise_opset(before, minimum)
    assert ir.to_bytes(before) == unchanged
    if opset < minimum:
        full_check(after)
        assert note == f"raised from opset {opset} to {minimum}"
    assert ir.opset(after) == max(opset, minimum)
    assert [v.name for v in after.graph.outputs] == ["y"]
    assert {n.name for n in before.graph} <= {n.name for n in after.graph}
    # ONNX Runtime computes the older Clip of float16 in float32, which differs by half a step of float16.
    assert_same(before, after, feeds_for(before), tolerance=2.0**-11 if "half" in case else 1e-6)


def test_softmax_of_unknown_rank_keeps_its_meaning():
    """Nothing tells the rank behind this Reshape, whose shape is an input."""
    text = """<ir_version: 4, opset_import: ["" : 11]>
    net (float[24] x, int64[n] shape) => (float y) { r = Reshape (x, shape) y = Softmax (r) }"""
    before = ir.from_text(text)
    before.graph.outputs[0].shape = None
    after, _ = ir.raise_opset(before, 13)
    feeds = {"x": np.random.default_rng(0).normal(size=24).astype(np.float32), "shape": np.array([2, 3, 4])}
    assert_same(before, after, feeds)


def test_new_enough_model_is_returned_as_it_is():
    model = parse(17, "y = Relu (x)")
    assert ir.raise_opset(model, 13) == (model, None)


REFUSED = {
    "crop": (7, "y = Crop <border = [0, 0, 1, 1]> (x)", r"Crop_0 \(Crop\): opset 7 has no such operator"),
    "scan": (
        8,
        "y = Scan <num_scan_inputs = 1, body = b (float[4] i) => (float[4] o) { o = Relu (i) }> (, x)",
        "Scan_0",
    ),
    "spatial": (
        7,
        "s = Constant <value = float[3] {1, 2, 3}> () y = BatchNormalization <spatial = 0> (x, s, s, s, s)",
        "spatial=0 .* was removed in opset 9",
    ),
    "mask": (7, "d, y = Dropout (x)", "its mask is read"),
    "resize_both_ways": (
        10,
        "s = Constant <value = float[4] {1, 1, 0.5, 2}> () y = Resize (x, s)",
        "scales one axis up and another down",
    ),
    "resize_computed": (
        10,
        "a = Shape (x) b = Cast <to = 1> (a) y = Resize (x, b)",
        "its scales are computed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_operator_without_counterpart_is_refused(case):
    opset, body, match = REFUSED[case]
    with pytest.raises(UnsupportedModelError, match=match) as caught:
        ir.raise_opset(parse(opset, body), 13)
    assert "Export the model again for opset 13" in str(caught.value)


@pytest.mark.parametrize(
    ("opset", "body", "match"),
    [
        (
            20,
            "s = Constant <value = float[3] {1, 2, 3}> () y = GroupNormalization <num_groups = 3> (x, s, s)",
            "each group",
        ),
        (17, "y = DFT <axis = 1> (x)", "opset 20 has no attribute 'axis'"),
    ],
)
def test_operator_that_changed_later_is_refused(opset, body, match):
    with pytest.raises(UnsupportedModelError, match=match):
        ir.raise_opset(parse(opset, body), 21)


def test_only_the_first_problems_are_listed():
    body = " ".join(f"a{i} = Crop (x)" for i in range(8)) + " y = Relu (x)"
    with pytest.raises(UnsupportedModelError, match=r"Crop_4 .* and 3 more"):
        ir.raise_opset(parse(7, body), 13)


def test_subgraphs_are_raised_too():
    text = """<ir_version: 6, opset_import: ["" : 11]>
    net (bool c, float[2, 3, 4] x) => (float[2, 3, 4] y) {
      h = Relu (x)
      y = If (c) <
        then_branch = t () => (float[2, 3, 4] a) {
          u = Unsqueeze <axes = [0]> (h) v = Squeeze <axes = [0]> (u) a = Softmax (v) },
        else_branch = e () => (float[2, 3, 4] b) { b = Neg (h) }>
    }"""
    before = ir.from_text(text)
    after, _ = ir.raise_opset(before, 13)
    full_check(after)
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    for condition in (True, False):
        assert_same(before, after, {"c": np.array(condition), "x": x})


def test_functions_are_raised_too():
    text = """<ir_version: 8, opset_import: ["" : 12, "acme" : 1]>
    net (float[2, 3] x) => (float[2, 3] y) { y = acme.F (x) }
    <domain: "acme", opset_import: ["" : 12]> F (a) => (b) { s = Softmax <axis = 0> (a) b = Neg (s) }"""
    before = ir.from_text(text)
    after, _ = ir.raise_opset(before, 13)
    assert after.functions["acme", "F", ""].opset_imports[""] == 13
    full_check(after)
    assert_same(before, after, {"x": np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)})


def test_functions_follow_the_model_that_is_new_enough():
    text = """<ir_version: 8, opset_import: ["" : 18, "acme" : 1]>
    net (float[2, 3] x) => (float[2, 1] y) { y = acme.F (x) }
    <domain: "acme", opset_import: ["" : 13]> F (a) => (b) { b = ReduceMax <axes = [1]> (a) }"""
    before = ir.from_text(text)
    after, note = ir.raise_opset(before, 13)
    assert after.functions["acme", "F", ""].opset_imports[""] == 18
    assert note is None
    full_check(after)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    assert run(after, {"x": x})[0].tolist() == x.max(axis=1, keepdims=True).tolist()


def test_custom_operators_metadata_and_weights_survive():
    text = """<ir_version: 6, opset_import: ["" : 10, "com.microsoft" : 1], metadata_props: ["author" : "somebody"]>
    net (float[2, 3] x) => (float[2, 3] y) { g = com.microsoft.Gelu (x) y = Clip <min = 0.0> (g) }"""
    before = ir.from_text(text)
    ir.add_initializer(before.graph, "w", np.arange(4000, dtype=np.float32))
    after, _ = ir.raise_opset(before, 13)
    assert after.metadata_props == {"author": "somebody"}
    assert after.opset_imports["com.microsoft"] == 1
    np.testing.assert_array_equal(ir.constant_of(after.graph.initializers["w"]), np.arange(4000))
    assert_same(before, after, feeds_for(before))


LOW = ["models/squeezenet11_op7", "models/mnist_cntk", "models/cifar10_resnet20_bn_op11", "models/superres_espcn_op10",
       "structure/squeezenet11_fp16_op7", "structure/tract_byte_sb_bidi_lstm", "structure/tract_lgbm_classifier",
       "structure/ultraface_version-RFB-320", "structure/yunet_n_dynamic"]  # fmt: skip


@needs_shared
@pytest.mark.parametrize("name", LOW)
def test_raised_corpus_model_computes_the_same(name):
    before = ir.load(CORPUS / f"{name}.onnx").model
    after, note = ir.raise_opset(before, 13)
    assert note is not None
    assert [v.name for v in after.graph.inputs] == [v.name for v in before.graph.inputs]
    assert {n.name for n in before.graph} <= {n.name for n in after.graph}
    full_check(after)
    rng = np.random.default_rng(0)
    size = {"yunet_n_dynamic": 64}.get(name.split("/")[1], 2)
    feeds = {}
    for value in before.graph.inputs:
        dims = [d if isinstance(d, int) else 1 if axis == 0 else size for axis, d in enumerate(ir.dims_of(value))]
        feeds[value.name] = np.abs(rng.normal(size=dims)).astype(value.dtype.numpy())
    assert_same(before, after, feeds, tolerance=1e-5)


@needs_shared
def test_removed_experimental_operators_are_named():
    model = ir.load(CORPUS / "structure" / "winml_style_candy.onnx").model
    with pytest.raises(UnsupportedModelError, match=r"scalerPreprocessor \(ImageScaler\): opset 7 has no such operator"):
        ir.raise_opset(model, 13)


def test_every_adapter_belongs_to_a_change_that_onnx_knows():
    from amct_lite.ir.adapters import ADAPTERS

    changes = {(schema.name, schema.since_version) for schema in onnx.defs.get_all_schemas_with_history()}
    moved = {("Upsample", 11), ("BatchNormalization", 9), ("Scatter", 11)}
    assert {key for key in ADAPTERS if key not in moved} <= changes


@needs_shared
@pytest.mark.parametrize("name", ["silero_vad_if", "silero_vad_op18_ifless"])
def test_raised_network_inside_of_an_if_computes_the_same(name):
    before = ir.load(CORPUS / "structure" / f"{name}.onnx").model
    after, _ = ir.raise_opset(before, 21)
    rng = np.random.default_rng(0)
    feeds = {
        "input": (rng.normal(size=(1, 576)) * 0.1).astype(np.float32),
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(16000),
    }
    assert_same(before, after, feeds, tolerance=1e-5)
