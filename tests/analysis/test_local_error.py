"""The error of each layer by itself equals what running the layer twice says."""

from itertools import pairwise

import numpy as np
import pytest
from layer_cases import BY_ID, CASES, layer_node, named, record_for
from passes.graphs import feeds_for, outputs_of, parse

from amct_lite import ir
from amct_lite.analysis import local_error
from amct_lite.analysis.local_error import measure
from amct_lite.analysis.pieces import cut
from amct_lite.exporters import qdq
from amct_lite.numerics.metrics import cosine, sqnr_db
from amct_lite.runtime import open_session
from amct_lite.types import LayerRecord, QParams, QuantRecord

CHAIN = """g (float[1,3,8,8] x, float[4,3,3,3] w, float[4] b, float[4,4,3,3] w2, float[4] b2, float[64,5] w3, float[5] b3)
    => (float[1,5] y) { h = Conv (x, w, b) r = Relu (h) k = Conv (r, w2, b2) f = Flatten (k)
      m = MatMul (f, w3) y = Add (m, b3) }"""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_single_layer_has_the_error_of_its_output(case) -> None:
    model = case.model()
    feeds = [feeds_for(model, seed=seed) for seed in (1, 2)]
    record = record_for(case, model, feeds[0], per_channel=case.per_channel)
    found = measure(model, model, record, feeds)[str(layer_node(model).name)]
    exact = np.concatenate([outputs_of(model, one)[0].ravel() for one in feeds])
    fake = qdq.export(model, record)
    quantized = np.concatenate([outputs_of(fake, one)[0].ravel() for one in feeds])
    # sums of squares in float32: 1e-4 of them is 0.0005 dB
    assert found.sqnr_db == pytest.approx(sqnr_db(exact, quantized), abs=0.005)
    assert found.cosine == pytest.approx(cosine(exact, quantized), abs=1e-5)


def test_the_cosine_of_a_large_output_agrees_with_its_noise() -> None:
    """A float32 sum over a million values is off by more than 1 - cos of a good layer."""
    text = "g (float[1,8,224,224] x, float[8,1,1,1] w) => (float[1,8,224,224] y) { y = Conv <group = 8> (x, w) }"
    model = named(parse(text, "w", '<ir_version: 8, opset_import: ["": 13]>'))
    record = QuantRecord((LayerRecord("Conv_0", QParams.of(0.025, -128), QParams.of(0.01, 0)),))
    feeds = {"x": np.abs(feeds_for(model)["x"]) + np.float32(1)}
    found = measure(model, model, record, [feeds])["Conv_0"]
    exact, quantized = (outputs_of(one, feeds)[0].ravel() for one in (model, qdq.export(model, record)))
    # The squares' float32 errors cancel all but for their difference; 1 - cos is known to a few per cent.
    assert 1 - found.cosine == pytest.approx(1 - cosine(exact, quantized), rel=0.1)


def chain() -> tuple[ir.Model, QuantRecord, dict[str, np.ndarray]]:
    model = named(parse(CHAIN, "w b w2 b2 w3 b3", '<ir_version: 8, opset_import: ["": 13]>'))
    names = [n.name for n in model.graph if n.op_type in {"Conv", "MatMul"}]
    record = QuantRecord(tuple(LayerRecord(name, QParams.of(0.2, 0), QParams.of(0.1, 0)) for name in names))
    return model, record, feeds_for(model)


def test_a_layer_behind_others_is_measured_on_float_data() -> None:
    model, record, feeds = chain()
    found = measure(model, model, record, [feeds])
    assert list(found) == list(record.by_key)
    for entry in record.layers:
        alone = measure(model, model, QuantRecord((entry,)), [feeds])[entry.key]
        assert found[entry.key].sqnr_db == pytest.approx(alone.sqnr_db, abs=1e-3)  # the same kernels on the same numbers


def test_the_corrected_bias_counts() -> None:
    model, record, feeds = chain()
    corrected = ir.clone(model)
    node = layer_node(corrected)
    moved = ir.constant_of(node.inputs[2]) + np.float32(100)
    ir.replace_input(node, 2, ir.add_initializer(corrected.graph, "moved", moved))
    plain = measure(model, model, record, [feeds])
    found = measure(model, corrected, record, [feeds])
    assert found["Conv_0"].sqnr_db < 0 < plain["Conv_0"].sqnr_db
    assert found["Conv_2"].sqnr_db == pytest.approx(plain["Conv_2"].sqnr_db, abs=1e-3)


def test_a_layer_that_gains_a_bias_is_measured_with_it() -> None:
    model = BY_ID["conv2d_no_bias"].model()
    feeds = feeds_for(model)
    record = record_for(BY_ID["conv2d_no_bias"], model, feeds, per_channel=True)
    corrected = ir.clone(model)
    node = layer_node(corrected)
    ir.replace_input(node, 2, ir.add_initializer(corrected.graph, "added", np.full(4, 50, np.float32)))
    assert measure(model, corrected, record, [feeds])["Conv_0"].sqnr_db < 0


NORMALIZED = """g (float[1,3,8,8] x, float[1,2,4,4] z, float[5] a, float[5] b, float[5] m, float[5] var)
  => (float[1,5,4,4] y{more}) {{ [pool] p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)
     [join] c = Concat <axis = 1> (z, p) [norm] y = BatchNormalization (c, a, b, m, var) {reader} }}"""


@pytest.mark.parametrize(
    ("more", "reader", "seen"),
    [("", "", True), (", float[1,5,4,4] r", "[relu] r = Relu (c)", False), (", float[1,3,4,4] p", "", False)],
    ids=["the norm alone", "a Relu, too", "an output, too"],
)
def test_a_tensor_that_normalizations_alone_read_is_measured_behind_them(more: str, reader: str, seen: bool) -> None:
    """Small channels, of which one scale leaves little, count as much as the others there."""
    gain, shift = np.array([9, 9, 1, 10, 100], np.float32), np.array([3, 2, 1, 0, -1], np.float32)
    constants = {"a": gain, "b": shift, "m": np.zeros(5, np.float32), "var": np.ones(5, np.float32) - np.float32(1e-5)}
    model = parse(NORMALIZED.format(more=more, reader=reader), "", **constants)
    ir.infer_shapes(model)
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((1, 3, 8, 8)) / np.array([1, 10, 100]).reshape(3, 1, 1)).astype(np.float32)
    params = QParams.of(np.abs(x).max() / 127, 0)
    entry = LayerRecord("pool:0", params, None, tensor_quantize=True)
    found = measure(model, model, QuantRecord((entry,)), [{"x": x, "z": np.zeros((1, 2, 4, 4), np.float32)}])["pool:0"]
    rounded = np.float32(params.scale[0]) * np.rint(x / np.float32(params.scale[0]))
    scale, move = (array[2:].reshape(3, 1, 1) if seen else part for array, part in ((gain, 1), (shift, 0)))
    assert found.sqnr_db == pytest.approx(sqnr_db(scale * x + move, scale * rounded + move), abs=0.01)


def test_batches_of_several_sizes_are_summed() -> None:
    text = "g (float[N,3,6,6] x, float[4,3,3,3] w) => (float[N,4,4,4] y) { y = Conv (x, w) }"
    model = named(parse(text, "w", '<ir_version: 8, opset_import: ["": 13]>'))
    record = QuantRecord((LayerRecord("Conv_0", QParams.of(0.03, 2), QParams.of(0.03, 0)),))
    whole = feeds_for(model, size=5)
    parts = [{"x": whole["x"][:1]}, {"x": whole["x"][1:]}]
    together, apart = (measure(model, model, record, feeds)["Conv_0"] for feeds in ([whole], parts))
    assert together.sqnr_db == pytest.approx(apart.sqnr_db, abs=1e-3)


def test_nothing_given_is_modified() -> None:
    model, record, feeds = chain()
    before = ir.to_bytes(model)
    measure(model, model, record, [feeds])
    assert ir.to_bytes(model) == before


def test_what_a_layer_gives_is_summed_before_the_next_one_runs(monkeypatch) -> None:
    """A session that runs nodes in their order then holds the outputs of one layer at a time."""
    model, record, feeds = chain()
    opened: list[ir.Model] = []
    monkeypatch.setattr(local_error, "open_session", lambda m, *given, **kw: opened.append(m) or open_session(m, *given, **kw))
    measure(model, model, record, [feeds])
    order = [str(node.name) for node in opened[0].graph]
    for name, following in pairwise(record.by_key):
        summed = [place for place, other in enumerate(order) if other.startswith(f"{name}.error")]
        assert len(summed) == 4, "a difference and three sums"
        assert max(summed) < min(order.index(following), order.index(f"{following}.quantized_twin"))


def test_a_large_model_measured_in_pieces_has_the_same_errors(monkeypatch) -> None:
    model, record, feeds = chain()
    tensor = LayerRecord("Flatten_3:0", QParams.of(0.3, 0), None, tensor_quantize=True)
    record = QuantRecord((*record.layers, tensor))
    whole = measure(model, model, record, [feeds, feeds])
    pieces: list[int] = []
    monkeypatch.setattr(local_error, "MOST_BYTES", 1000)
    monkeypatch.setattr(local_error, "cut", lambda *given: pieces.extend([0] * len(found := cut(*given))) or found)
    found = measure(model, model, record, [feeds, feeds])
    assert len(pieces) > 1
    assert found.keys() == whole.keys()
    for key, error in found.items():
        assert error.sqnr_db == pytest.approx(whole[key].sqnr_db, abs=1e-3)  # the same kernels on the same numbers
