"""Which layers a run warns of, from weights and local errors alone."""

from __future__ import annotations

import numpy as np
import pytest

from amct_lite import ir
from amct_lite.analysis.local_error import LocalError
from amct_lite.record import UNIT_DATA
from amct_lite.reports.report import OutputError
from amct_lite.reports.warnings import (
    POOR_SQNR_DB,
    SEARCH,
    local_warnings,
    output_warnings,
    picked_notes,
    storage_notes,
    unbounded_warnings,
    weight_warnings,
)
from amct_lite.types import LayerRecord, QParams, QuantRecord


def _model(weights: dict[str, np.ndarray]) -> ir.Model:
    """A chain of 1×1 convolutions with the given (C, C) weights."""
    channels = next(iter(weights.values())).shape[0]
    lines, source = [], "x"
    for index, name in enumerate(weights):
        target = "y" if index == len(weights) - 1 else f"t{index}"
        lines.append(f"{target} = Conv ({source}, {name}_w)")
        source = target
    names = ", ".join(f"float[{channels},{channels},1,1] {name}_w" for name in weights)
    model = ir.from_text(
        f'<ir_version: 8, opset_import: ["" : 13]>\n'
        f"g (float[1,{channels},4,4] x, {names}) => (float[1,{channels},4,4] y) {{\n" + "\n".join(lines) + "\n}"
    )
    for node, (name, array) in zip(tuple(model.graph), weights.items(), strict=True):
        node.name = name
        ir.replace_input(node, 1, ir.add_initializer(model.graph, f"{name}.weight", array.astype(np.float32)[:, :, None, None]))
    return model


def _record(weights: dict[str, np.ndarray], *, per_channel: bool = False) -> QuantRecord:
    layers = []
    for name, array in weights.items():
        largest = np.abs(array).max(axis=1) if per_channel else np.abs(array).max(keepdims=True).reshape(-1)
        scale = np.where(largest > 0, largest / 127, 1)
        layers.append(LayerRecord(name, QParams.of(0.1, 0), QParams.of(scale.astype(np.float32), 0)))
    return QuantRecord(tuple(layers))


def _uneven(channels: int = 4, factor: float = 1e-3) -> np.ndarray:
    """Half of the channels are `factor` of the others: below half a step of a scale for all, which rounds to zero."""
    rng = np.random.default_rng(0)
    weight = rng.uniform(-1, 1, (channels, channels))
    weight[channels // 2 :] *= factor
    return weight


def test_one_scale_that_ruins_channels_is_named_with_the_remedy():
    weights = {"a": _uneven()}
    (warning,) = weight_warnings(_model(weights), _record(weights), {})
    assert warning.startswith("a (Conv): 2 of 4 output channels lose their weights to rounding (below 10 dB).")
    assert "--channel-wise all" in warning


def test_where_all_channels_are_lost_a_scale_for_each_is_no_remedy():
    """Below the smallest scale there is, which becomes 1."""
    weights = {"a": np.full((2, 3), 1e-9)}
    record = QuantRecord((LayerRecord("a", QParams.of(0.1, 0), QParams.of(1.0, 0)),))
    (warning,) = weight_warnings(_model(weights), record, {})
    assert "2 of 2 output channels" in warning
    assert warning.endswith("keep it in float (--skip).")


def test_channels_below_the_smallest_scale_are_not_lost_where_the_layer_is_measured_and_good():
    """One that tells faces from photographs of them has 119 of 128 such channels in a layer, and 49 dB all the same."""
    weights = {"a": np.array([[1.0, 2.0], [1e-5, 2e-5]])}
    record = QuantRecord((LayerRecord("a", QParams.of(0.1, 0), QParams.of([2 / 127, 1.0], 0)),))
    found = [weight_warnings(_model(weights), record, {"a": LocalError(db, 1.0)} if db else {}) for db in (None, 20, 40)]
    assert [len(warnings) for warnings in found] == [1, 1, 0]


def test_a_scale_a_channel_saves_them():
    weights = {"a": _uneven()}
    assert weight_warnings(_model(weights), _record(weights, per_channel=True), {}) == []


def test_channels_that_do_nothing_are_not_lost():
    """Networks trained with BatchNormalization and weight decay hold channels of 1e-12; rounding them away costs nothing."""
    weights = {"a": _uneven(factor=1e-12)}
    assert weight_warnings(_model(weights), _record(weights), {}) == []


def test_of_many_ruined_layers_five_are_named_and_the_rest_counted():
    weights = {f"layer{i}": _uneven() for i in range(7)}
    warnings = weight_warnings(_model(weights), _record(weights), {})
    assert len(warnings) == 6
    assert warnings[-1].startswith("… and 2 more: 7 layers in all lose")


def test_a_poor_layer_is_named_with_its_decibels_and_the_option_to_skip_it():
    weights = {"good": np.eye(4), "bad": np.eye(4)}
    local = {"good": LocalError(POOR_SQNR_DB, 1.0), "bad": LocalError(POOR_SQNR_DB - 0.9, 0.9)}
    (warning,) = local_warnings(local, _model(weights), _record(weights, per_channel=True))
    assert warning.startswith("bad: quantization alone leaves its output 28.1 dB above the noise.")
    assert "--skip bad" in warning
    assert "--channel-wise" not in warning, "it has a scale a channel already"


def test_a_poor_layer_with_one_scale_is_offered_a_scale_a_channel():
    weights = {"bad": np.eye(4)}
    (warning,) = local_warnings({"bad": LocalError(10.0, 0.9)}, _model(weights), _record(weights))
    assert "--channel-wise all" in warning


def test_the_worst_five_are_named_in_their_order():
    weights = {f"layer{i}": np.eye(4) for i in range(8)}
    local = {name: LocalError(20.0 - i, 0.9) for i, name in enumerate(weights)}
    warnings = local_warnings(local, _model(weights), _record(weights))
    assert [text.partition(":")[0] for text in warnings[:5]] == [f"layer{i}" for i in (7, 6, 5, 4, 3)]
    assert warnings[5] == "… and 3 more: 8 layers in all have outputs less than 29 dB above the noise; the table has them all."
    assert len(warnings) == 6


@pytest.mark.parametrize(("name", "quoted"), [("a;b", "'a;b'"), ("/m/a", "/m/a")])
def test_a_name_is_quoted_for_the_shell(name, quoted):
    weights = {"c": np.eye(4)}
    (warning,) = local_warnings({name: LocalError(1.0, 0.1)}, _model(weights), _record(weights))
    assert f"(--skip {quoted})" in warning


def test_a_poor_layer_with_learned_rounding_is_not_told_to_learn_it():
    weights = {"bad": np.eye(4)}
    local = {"bad": LocalError(POOR_SQNR_DB - 1, 0.9)}
    record = _record(weights, per_channel=True)
    (plain,) = local_warnings(local, _model(weights), record)
    (learned,) = local_warnings(local, _model(weights), record, learned={"bad"})
    assert plain.endswith("or try learned rounding (--weight-algo gptq) or other ranges (--algo mse).")
    assert "gptq" not in learned
    assert learned.endswith("or try other ranges (--algo mse).")


def test_a_product_of_two_activations_has_no_rounding_to_learn():
    model = ir.from_text(
        '<ir_version: 8, opset_import: ["" : 13]>\ng (float[2,3] a, float[3,2] b) => (float[2,2] y) {\n  y = MatMul (a, b)\n}'
    )
    next(iter(model.graph)).name = "product"
    record = QuantRecord((LayerRecord("product", QParams.of(0.1, 0), QParams.of(0.1, 0)),))
    (warning,) = local_warnings({"product": LocalError(1.0, 0.1)}, model, record)
    assert warning.endswith("Keep it in float (--skip product), or try other ranges (--algo mse).")


def test_a_table_has_neither_data_nor_products_to_learn_from():
    model = ir.from_text(
        '<ir_version: 8, opset_import: ["" : 13]>\ng (int64[3] ids) => (float[3,2] y)\n'
        "  <float[2,2] table = {1, 2, 3, 4}> { y = Gather (table, ids) }"
    )
    next(iter(model.graph)).name = "embed"
    record = QuantRecord((LayerRecord("embed", UNIT_DATA, QParams.of([0.1, 0.1], 0), has_data=False),))
    (warning,) = local_warnings({"embed": LocalError(1.0, 0.1)}, model, record, target="ort")
    assert warning.endswith("Keep it in float (--skip embed), or try other ranges (--weight-algo mse).")


def test_a_command_offers_the_options_that_it_has():
    weights = {"bad": np.eye(4)}
    local = {"bad": LocalError(POOR_SQNR_DB - 1, 0.9)}
    narrow = QuantRecord((LayerRecord("bad", QParams.of(0.1, 0), QParams.of(np.full(4, 1 / 7, np.float32), 0, 4)),))
    (plain,) = local_warnings(local, _model(weights), narrow, learned={"bad"})
    (searched,) = local_warnings(local, _model(weights), narrow, learned={"bad"}, levers=SEARCH)
    assert plain.endswith("(--skip bad), or try more bits (--bits, --weight-bits), other ranges (--algo mse).")
    assert searched.endswith("(--only bad=float), or try more bits (--only bad=W8A8,float), other ranges (--algo mse).")


def test_a_poor_tensor_is_taken_out_of_tensors_or_its_node_is_skipped():
    weights = {"a": np.eye(4)}
    read = LayerRecord("a:0", QParams.of(0.1, 0), None, tensor_quantize=True)
    record = QuantRecord((read,))
    local = {"a:0": LocalError(POOR_SQNR_DB - 1, 0.9)}
    assert "Take it out of `tensors`" in local_warnings(local, _model(weights), record)[0]
    assert "(--skip a)" in local_warnings(local, _model(weights), record, target="ort")[0]


def test_narrow_weights_save_nothing_in_onnx_runtime():
    record = QuantRecord((LayerRecord("a", QParams.of(0.1, 0), QParams.of(0.1, 0, bits=4)),))
    assert storage_notes(record, "ascend") == []
    (note,) = storage_notes(record, "ort")
    assert note.startswith("weights of 4 bits are stored as int8")


def test_an_output_without_a_distance_is_named() -> None:
    fine, unbounded = OutputError("y", 0.1, 0.9, 20.0), OutputError("log", np.inf, 0.9, -np.inf)
    (warning,) = unbounded_warnings([fine, unbounded])
    assert warning.startswith("output 'log' has infinite values or NaN in the float model or in the quantized one alone")


def test_an_output_of_which_little_is_left_is_named() -> None:
    model = ir.from_text(
        '<ir_version: 8, opset_import: ["" : 13]>\n'
        "g (float[8] x) => (float[8] a, float[8] b, int64[1] c) { a = Neg (x) b = Relu (x) c = ArgMax <axis = 0> (x) }"
    )
    outputs = [OutputError("a", 1.0, 0.9, 9.9), OutputError("b", 0.1, 0.9, 10.0), OutputError("c", 1.0, 0.9, 2.0)]
    (warning,) = output_warnings(outputs, model)
    assert warning.startswith("output a: the error is 32 % of the signal (9.9 dB)")
    many = output_warnings([OutputError(f"o{number}", 1.0, 0.5, number / 10) for number in range(7)], model)
    assert [line.split(":")[0] for line in many] == [*(f"output o{number}" for number in range(5)), "… and 2 more"]
    assert many[-1].endswith("7 outputs in all are less than 10 dB above the noise.")


def test_an_output_that_is_picked_says_that_its_sqnr_tells_little():
    model = ir.from_text(
        '<ir_version: 8, opset_import: ["" : 13]>\n'
        "g (float[8] x, int64[1] k) => (float[k] best, int64[k] which, float[8] y) {\n"
        "  y = Relu (x)\n"
        "  best, which = TopK (y, k)\n"
        "}"
    )
    for node, name in zip(model.graph, ("relu", "top"), strict=True):
        node.name = name
    poor, fine = 3.6, POOR_SQNR_DB
    (note,) = picked_notes([OutputError("best", 0.1, 0.9, poor), OutputError("y", 0.1, 0.9, poor)], model)
    assert note.startswith("output best is picked or sorted by top (TopK): another pick or order lowers its SQNR")
    assert not picked_notes([OutputError("best", 0.1, 0.9, fine)], model)
