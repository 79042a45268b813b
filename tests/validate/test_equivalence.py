"""The comparison of deploy and fake-quant model passes what is right and stops whatever is not."""

from collections.abc import Callable

import numpy as np
import pytest
from layer_cases import BY_ID, named, record_for
from passes.graphs import feeds_for, parse

from amct_lite import ir, runtime
from amct_lite.errors import VerificationError
from amct_lite.exporters import ascend, qdq
from amct_lite.types import LayerRecord, QParams, QuantRecord
from amct_lite.validate import equivalence
from amct_lite.validate.equivalence import verify_deploy
from amct_lite.validate.lowering import lower
from amct_lite.validate.steps import guide_steps

TWO = """g (float[1,3,8,8] x, float[4,3,3,3] w, float[4] b, float[4,4,3,3] w2, float[4] b2) => (float[1,4,4,4] y)
    { h = Conv (x, w, b) r = Relu (h) y = Conv (r, w2, b2) }"""
_FEEDS = {"x": np.random.default_rng(3).normal(size=(1, 3, 8, 8)).astype(np.float32)}
_RECORD = QuantRecord(
    (
        LayerRecord("Conv_0", QParams.of(0.02, 7), QParams.of([0.02, 0.021, 0.022, 0.023], 0)),
        LayerRecord("Conv_2", QParams.of(0.06, -128), QParams.of([0.02, 0.021, 0.022, 0.023], 0)),
    )
)


def exported() -> tuple[ir.Model, ir.Model]:
    model = named(parse(TWO, "w b w2 b2", '<ir_version: 8, opset_import: ["": 13]>'))
    return ascend.export(model, _RECORD), qdq.export(model, _RECORD)


def node(model: ir.Model, name: str) -> ir.Node:
    return next(node for node in model.graph if node.name == name)


def change(model: ir.Model, name: str, edit: Callable[[np.ndarray], object]) -> None:
    """Edit a copy of the array of an initializer in place."""
    value = model.graph.initializers[name]
    array = value.const_value.numpy().copy()
    edit(array)
    value.const_value = ir.Tensor(array, name=name)


def add_at(*where_and_step: object) -> Callable[[np.ndarray], None]:
    *where, step = where_and_step

    def edit(array: np.ndarray) -> None:
        array[tuple(where)] += np.array(step, array.dtype)

    return edit


def test_weights_of_large_models_are_read_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that stay in float have theirs in both models."""
    opened = []

    def opening(model: ir.Model, options: runtime.RuntimeOptions, **given: bool) -> runtime.Session:
        opened.append(options.session_config)
        return runtime.open_session(model, options, **given)

    monkeypatch.setattr(equivalence, "open_session", opening)
    plain = verify_deploy(*exported(), [_FEEDS])
    monkeypatch.setattr(runtime, "_HEAVY", 0)
    assert verify_deploy(*exported(), [_FEEDS]) == plain
    assert opened == [(), (), *2 * [(("session.disable_prepacking", "1"),)]]


def test_untouched_models_agree() -> None:
    found = verify_deploy(*exported(), [_FEEDS])
    assert (found.samples, found.layers) == (1, 2)
    assert found.accumulator_error < 0.1
    assert found.output_error < 1e-5


@pytest.mark.parametrize("outputs", ["float[1,4,4,4] y, float[1,3,8,8] z", "float[1,3,8,8] z, float[1,4,4,4] y"])
def test_the_output_that_is_furthest_apart_is_told(outputs: str) -> None:
    """In z, which no layer computes, nothing differs."""
    text = TWO.replace("(float[1,4,4,4] y)", f"({outputs})").replace("(r, w2, b2)", "(r, w2, b2) z = Abs (x)")
    model = named(parse(text, "w b w2 b2", '<ir_version: 8, opset_import: ["": 13]>'))
    found = verify_deploy(ascend.export(model, _RECORD), qdq.export(model, _RECORD), [_FEEDS])
    assert 0 < found.output_error < 1e-5


def codes_apart(steps: float, apart: int, dtype: type = np.int8) -> float:
    """The share that is told of one code of four that lies `apart` from the other model's, `steps` away from a tie."""
    theirs = np.array([[3, 40], [5, -7]], dtype)
    ours = theirs + np.array([[0, apart], [0, 0]], dtype)
    source = 0.25 * (theirs + np.array([[0, 0.5 + steps], [0, 0]]))
    return equivalence._compare_codes("layer.quant", ours, theirs, source, 0.25)


@pytest.mark.parametrize(("apart", "dtype"), [(1, np.int8), (-1, np.int8), (1, np.int16), (-5, np.int16), (0, np.int8)])
def test_codes_may_differ_where_rounding_is_a_tie(apart: int, dtype: type) -> None:
    assert codes_apart(equivalence.TIE_DISTANCE / 2, apart, dtype) == (0.25 if apart else 0.0)


@pytest.mark.parametrize(("steps", "apart"), [(0.0, 2), (0.0, -2), (2 * equivalence.TIE_DISTANCE, 1)])
def test_codes_that_no_tie_explains_are_refused(steps: float, apart: int) -> None:
    with pytest.raises(
        VerificationError, match=rf"layer\.quant: .* different codes \(largest difference {abs(apart)}, 25\.000 %"
    ):
        codes_apart(steps, apart)


@pytest.mark.parametrize(("layer", "step"), [("Conv_0", -1.0), ("Conv_0", 1.0), ("Conv_2", 1.0)])
def test_an_offset_off_by_one_is_found(layer: str, step: float) -> None:
    deploy, fake = exported()
    quant = node(deploy, f"{layer}.quant")
    ir.set_attribute(quant, "offset", ir.attribute(quant, "offset", 0.0) + step)
    with pytest.raises(VerificationError, match=rf"{layer}.quant: deploy and fake-quant model compute different codes"):
        verify_deploy(deploy, fake, [_FEEDS])


@pytest.mark.parametrize("offset", [-129.0, 3.5])
def test_an_offset_that_is_no_code_is_named(offset: float) -> None:
    deploy, fake = exported()
    ir.set_attribute(node(deploy, "Conv_2.quant"), "offset", offset)
    with pytest.raises(VerificationError, match=rf"Conv_2.quant has offset {offset}, which is no INT8 code"):
        verify_deploy(deploy, fake, [_FEEDS])


def test_a_scale_that_was_not_inverted_is_found() -> None:
    deploy, fake = exported()
    ir.set_attribute(node(deploy, "Conv_0.quant"), "scale", 0.02)
    with pytest.raises(VerificationError, match=r"Conv_0.quant: .* different codes"):
        verify_deploy(deploy, fake, [_FEEDS])


@pytest.mark.parametrize(
    ("initializer", "edit", "layer"),
    [
        ("Conv_0.weight", add_at(2, 1, 0, 2, 1), "Conv_0"),
        ("Conv_2.weight", add_at(0, 0, 0, 0, -1), "Conv_2"),
        ("Conv_0.bias", add_at(3, 2), "Conv_0"),
        ("Conv_2.bias", add_at(0, -3), "Conv_2"),
    ],
)
def test_a_changed_constant_is_found(initializer: str, edit: Callable, layer: str) -> None:
    deploy, fake = exported()
    change(deploy, initializer, edit)
    with pytest.raises(VerificationError, match=rf"{layer}: the accumulators of deploy and fake-quant model differ"):
        verify_deploy(deploy, fake, [_FEEDS])


def test_a_wrong_dequant_param_is_found() -> None:
    deploy, fake = exported()
    wrong = ascend.dequant_param(
        np.array([1.01], np.float32)
        * ascend.dequant_scale(deploy.graph.initializers["Conv_2.dequant.param"].const_value.numpy())
    )
    change(deploy, "Conv_2.dequant.param", lambda array: np.copyto(array, wrong))
    with pytest.raises(VerificationError, match=r"Conv_2: the accumulators"):
        verify_deploy(deploy, fake, [_FEEDS])


def test_swapped_channels_of_the_dequant_param_are_found() -> None:
    deploy, fake = exported()
    change(deploy, "Conv_0.dequant.param", lambda array: np.copyto(array, array[::-1].copy()))
    with pytest.raises(VerificationError, match=r"Conv_0: the accumulators"):
        verify_deploy(deploy, fake, [_FEEDS])


def test_a_missing_clip_is_found() -> None:
    text = TWO.replace("r = Relu (h)", "r = Clip (h, zero, six)").replace("float[4] b2)", "float[4] b2, float zero, float six)")
    model = named(parse(text, "w b w2 b2", '<ir_version: 8, opset_import: ["": 13]>', zero=np.float32(0), six=np.float32(6)))
    deploy, fake = ascend.export(model, _RECORD), qdq.export(model, _RECORD)
    verify_deploy(deploy, fake, [_FEEDS])
    clip = next(n for n in deploy.graph if n.op_type == "Clip")  # 255 · 0.06 > 6: the Clip is needed, and stayed
    ir.redirect(clip.outputs[0], clip.inputs[0])
    ir.remove_node(clip)
    with pytest.raises(VerificationError, match=r"Conv_2.quant: .* different codes"):
        verify_deploy(deploy, fake, [_FEEDS])


def test_a_changed_pooling_is_found() -> None:
    case = BY_ID["pool_pads_0"]
    model = case.model()
    feeds = feeds_for(model)
    record = record_for(case, model, feeds, per_channel=False)
    deploy, fake = ascend.export(model, record), qdq.export(model, record)
    ir.set_attribute(node(deploy, "AveragePool_0"), "count_include_pad", 1)
    with pytest.raises(VerificationError, match="AveragePool_0: the accumulators"):
        verify_deploy(deploy, fake, [feeds])


def test_a_deploy_layer_without_counterpart_is_named() -> None:
    deploy, fake = exported()
    node(fake, "Conv_2").name = "renamed"
    with pytest.raises(VerificationError, match=r"Conv_2.quant of the deploy model has no counterpart"):
        verify_deploy(deploy, fake, [_FEEDS])


def test_a_deploy_layer_that_reads_floats_is_named() -> None:
    deploy, _ = exported()
    quant = node(deploy, "Conv_2.quant")
    ir.redirect(quant.outputs[0], quant.inputs[0])
    with pytest.raises(VerificationError, match=r"Conv_2 \(Conv\) reads no AscendQuant"):
        lower(deploy)


def test_results_that_are_not_numbers_do_not_pass() -> None:
    deploy, fake = exported()
    scale = fake.graph.initializers[node(fake, "Conv_2.weight.dequantizelinear").inputs[1].name]
    array = np.full(scale.shape.numpy(), np.nan, np.float32)
    scale.const_value = ir.Tensor(array, name=scale.name)
    with pytest.raises(VerificationError, match="Conv_2: the accumulators"):
        verify_deploy(deploy, fake, [_FEEDS])


def test_a_codes_type_that_cannot_be_executed_is_named() -> None:
    deploy, _ = exported()
    ir.set_attribute(node(deploy, "Conv_0.quant"), "dst_type", "INT2")
    with pytest.raises(VerificationError, match=r"Conv_0\.quant has dst_type 'INT2'; there are INT4, INT8, INT16"):
        lower(deploy)


def test_a_product_of_a_tensor_with_itself_runs() -> None:
    model = named(
        parse("g (float[2,4,4] x) => (float[2,4,4] y) { y = MatMul (x, x) }", header='<ir_version: 8, opset_import: ["": 13]>')
    )
    half = QParams.of(0.02, 0)
    record = QuantRecord((LayerRecord("MatMul_0", half, half),))
    deploy, fake = ascend.export(model, record), qdq.export(model, record)
    assert sum(n.op_type == "AscendQuant" for n in deploy.graph) == 1
    verify_deploy(deploy, fake, [feeds_for(model)])


LOG = """g (float[1,3,8,8] x, float[4,3,3,3] w) => (float[1,4,6,6] y) { c = Conv (x, w) r = Relu (c) y = Log (r) }"""


def log_models() -> tuple[ir.Model, ir.Model]:
    """Half of the output is the logarithm of 0."""
    model = named(parse(LOG, "w", '<ir_version: 8, opset_import: ["": 13]>'))
    record = QuantRecord(_RECORD.layers[:1])
    return ascend.export(model, record), qdq.export(model, record)


def test_infinite_outputs_in_the_same_places_agree() -> None:
    assert verify_deploy(*log_models(), [_FEEDS]).output_error < 1e-5


def test_outputs_that_are_infinite_on_one_side_alone_are_found() -> None:
    deploy, fake = log_models()
    relu = node(deploy, "Relu_1")
    ir.redirect(relu.outputs[0], relu.inputs[0])
    ir.remove_node(relu)
    with pytest.raises(VerificationError, match=r"output 'y': \d+ of 144 values are infinite or NaN in the deploy"):
        verify_deploy(deploy, fake, [_FEEDS])


CHOICE = """g (float[1,2000,4] x, float[4,4] w, float[4,1] v, float[4,4] u) => (float[1,300,4] y, float[1,2000,1] sign) {
    f = MatMul (x, w) r = Relu (f) s = MatMul (r, v) sign = Sign (s) half = Constant <value_float = 0.5> () m = Mul (s, half)
    k = Constant <value_ints = [300]> () values, places = TopK <axis = 1> (m, k)
    all = Constant <value_ints = [1,300,4]> () rows = Expand (places, all) q = GatherElements <axis = 1> (r, rows)
    y = MatMul (q, u) }"""


def choosing() -> tuple[ir.Model, ir.Model]:
    """The rows with the largest products. On integers some are equal, or 0; in floats the last bit tells them apart."""
    rng = np.random.default_rng(5)
    weights = {name: rng.normal(size=size).astype(np.float32) for name, size in {"w": (4, 4), "v": (4, 1), "u": (4, 4)}.items()}
    model = named(parse(CHOICE, header='<ir_version: 8, opset_import: ["": 13]>', **weights))
    ir.infer_shapes(model)
    layers = [node for node in model.graph if node.op_type == "MatMul"]
    scales = zip(layers, (QParams.of(0.03, 0), QParams.of(0.05, -128), QParams.of(0.05, -128)), weights, strict=True)
    entries = (LayerRecord(str(n.name), data, QParams.of(np.abs(weights[w]).max() / 127, 0)) for n, data, w in scales)
    record = QuantRecord(tuple(entries))
    return ascend.export(model, record), qdq.export(model, record)


def test_a_choice_among_equals_is_no_difference() -> None:
    feeds = {"x": np.random.default_rng(6).normal(size=(1, 2000, 4)).astype(np.float32)}
    assert verify_deploy(*choosing(), [feeds]).output_error < 1e-5


def test_all_nodes_that_decide_are_guided_right_behind_a_layer_too() -> None:
    deploy, fake = choosing()
    steps = guide_steps(fake, lower(deploy).model)
    assert [step.reads[0][0].partition(" (")[2] for step in steps] == ["Sign) reads", "TopK) reads"]
    assert [len(step.results) for step in steps] == [0, 1], "of the Sign nobody reads the result, of the TopK one the places"


def test_what_a_choice_is_made_of_is_compared() -> None:
    deploy, fake = choosing()
    half = ir.add_initializer(deploy.graph, "other", np.float32(0.51))
    ir.replace_input(next(n for n in deploy.graph if n.op_type == "Mul"), 1, half)
    feeds = {"x": np.random.default_rng(6).normal(size=(1, 2000, 4)).astype(np.float32)}
    with pytest.raises(VerificationError, match=r"what TopK_\d+ \(TopK\) reads: deploy and fake-quant model differ by 0.0"):
        verify_deploy(deploy, fake, [feeds])
