"""Rounding learned in a network: layers in their order, on what the quantized layers in front give, kept where it is better."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from layer_cases import named
from passes.graphs import parse

from amct_lite import ir
from amct_lite.calibration.runner import collect
from amct_lite.config import QuantConfig
from amct_lite.decide import decide
from amct_lite.exporters import qdq
from amct_lite.exporters.integers import quantized_layers, quantized_weight
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.plan import resolve
from amct_lite.rounding.apply import apply_roundings
from amct_lite.rounding.learn import Learned, learn_roundings
from amct_lite.rounding.lesson import Lesson
from amct_lite.rounding.sharing import learn_apart
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import QuantRecord
from amct_lite.weights import make_weight_quantizer
from amct_lite.workers import Workers

OPSET = '<ir_version: 8, opset_import: ["": 13]>'
CHAIN = """g (float[N,3,9,9] x, float[8,3,3,3] w, float[8] b, float[8,1,3,3] w2, float[6,8,2,2] w3) => (float[N,6,4,4] y)
    { h = Conv (x, w, b) r = Relu (h) d = Conv <group = 8> (r, w2) s = Sigmoid (d) y = Conv (s, w3) }"""
RESIDUAL = """g (float[N,4,8,8] x, float[4,4,3,3] w, float[4,4,3,3] w2, float[4,4,2,2] w3) => (float[N,4,16,16] y)
    { h = Conv <pads = [1, 1, 1, 1]> (x, w) r = Relu (h) k = Conv <pads = [1, 1, 1, 1]> (r, w2) a = Add (k, h)
      m = Add (a, x) y = ConvTranspose <strides = [2, 2]> (m, w3) }"""
PRODUCTS = """g (float[N,12] x, float[12,8] w, float[8] b, float[8,6] w2) => (float[N,6] y)
    { h = MatMul (x, w) k = Add (h, b) r = Relu (k) y = Gemm (r, w2) }"""
SHARED = """g (float[N,4,8,8] x, float[4,4,3,3] w, float[4,4,1,1] w2) => (float[N,4,4,4] y)
    { h = Conv (x, w) k = Conv (h, w) y = Conv (k, w2) }"""
POOLED = """g (float[N,4,8,8] x, float[4,4,1,1] w) => (float[N,4,4,4] y)
    { p = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x) y = Conv (p, w) }"""
NETS = {"chain": CHAIN, "residual": RESIDUAL, "products": PRODUCTS}
ONE_THREAD = RuntimeOptions(threads=1)


def net(text: str) -> ir.Model:
    return named(parse(text, "w w2 w3 b", OPSET))


def samples(model: ir.Model, count: int = 8, size: int = 8, seed: int = 3) -> list[dict[str, np.ndarray]]:
    """Inputs whose channels and neighbours go together, as in images; never negative."""
    rng = np.random.default_rng(seed)
    shape = [size, *[dim for dim in ir.dims_of(model.graph.inputs[0]) if isinstance(dim, int)]]
    return [
        {
            "x": np.abs(
                rng.standard_normal(shape) + 2 * rng.standard_normal((size, 1))[(...,) + (None,) * (len(shape) - 2)]
            ).astype(np.float32)
        }
        for _ in range(count)
    ]


def record_of(model: ir.Model, data: list[dict[str, np.ndarray]], target: str = "ascend") -> QuantRecord:
    plan = resolve(QuantConfig(algorithm="minmax", per_channel="none", target=target), model)
    return decide(model, plan, collect(model, plan, data).statistics.sketches).record


def learned(model: ir.Model, record: QuantRecord, data: list[dict[str, np.ndarray]], **changed: object) -> Learned:
    rounders = {item.layer.name: make_weight_quantizer("gptq") for item in quantized_layers(model, record) if item.layer.weight}
    lesson = Lesson(record, rounders, data, corrected=bool(changed.pop("corrected", False)), options=ONE_THREAD)
    return learn_roundings(model, lesson, **changed)


@pytest.mark.parametrize("text", NETS.values(), ids=list(NETS))
def test_the_network_comes_nearer_to_the_float_one(text: str) -> None:
    model = net(text)
    data = samples(model)
    record = record_of(model, data)
    found = learned(model, record, data)
    assert found.roundings
    rounded, skips = apply_roundings(model, record, found.roundings)
    assert skips == ()
    fresh = samples(model, count=2, seed=9)
    exact, nearest, better = (
        np.concatenate([open_session(m, ONE_THREAD).run(feeds)[0].ravel() for feeds in fresh])
        for m in (model, qdq.export(model, record), qdq.export(rounded, record))
    )
    assert sqnr_db(exact, better) > sqnr_db(exact, nearest)


def test_exporters_find_the_integers_that_were_decided() -> None:
    model = net(CHAIN)
    data = samples(model)
    record = record_of(model, data)
    roundings = learned(model, record, data).roundings
    rounded, _ = apply_roundings(model, record, roundings)
    before, after = quantized_layers(model, record), quantized_layers(rounded, record)
    assert roundings
    for was, now in zip(before, after, strict=True):
        nearest = was.layer.rows(quantized_weight(was)).astype(np.int32)
        found = roundings.get(was.layer.name)
        expected = nearest if found is None else found.codes(nearest)
        np.testing.assert_array_equal(now.layer.rows(quantized_weight(now)), expected)
        assert found is None or (expected != nearest).any()


def test_a_rounding_is_kept_only_where_it_is_better_on_other_positions() -> None:
    model = net(CHAIN)
    data = samples(model)
    found = learned(model, record_of(model, data), data)
    assert found.roundings
    assert all(rounding.after < rounding.before for rounding in found.roundings.values())
    noise = [{"x": np.random.default_rng(i).standard_normal((1, 12)).astype(np.float32)} for i in range(40)]
    products = net(PRODUCTS)
    skips = learned(products, record_of(products, noise), noise).skips
    assert skips
    assert all("no other rounding is better" in skip.reason for skip in skips)


def test_the_same_data_give_the_same_roundings() -> None:
    model = net(RESIDUAL)
    data = samples(model, count=3)
    record = record_of(model, data)
    first, second = (learned(model, record, data).roundings for _ in range(2))
    assert list(first) == list(second)
    assert all(first[name].moves.tobytes() == second[name].moves.tobytes() for name in first)


def test_too_few_positions_are_not_learned_from() -> None:
    model = net(PRODUCTS)
    data = samples(model, count=1, size=5)
    found = learned(model, record_of(model, data), data)
    assert found.roundings == {}
    assert found.skips[0].reason.startswith("its weight is rounded to nearest: 5 outputs are too few to learn from, 32")


def test_a_weight_that_two_layers_read_is_left_alone() -> None:
    model = net(SHARED)
    data = samples(model)
    found = learned(model, record_of(model, data, "generic"), data)
    assert [(skip.node, skip.reason.partition(": ")[2]) for skip in found.skips][:2] == [
        ("Conv_0", "several layers share it"),
        ("Conv_1", "several layers share it"),
    ]
    assert set(found.roundings) <= {"Conv_2"}


def test_progress_counts_the_layers_that_are_learned() -> None:
    model, seen = net(POOLED), []
    data = samples(model)
    learned(model, record_of(model, data), data, progress=seen.append)
    assert seen == [1]


def test_other_scales_than_it_was_learned_for_leave_the_nearest_codes() -> None:
    model = net(CHAIN)
    data = samples(model)
    record = record_of(model, data)
    roundings = learned(model, record, data).roundings
    other = record_of(model, [{"x": 2 * feeds["x"]} for feeds in data])
    assert apply_roundings(model, other, roundings)[1] == (), "scales of activations do not matter"
    first = next(iter(roundings))
    layers = tuple(
        entry if entry.key != first else type(entry)(first, entry.activation, type(entry.weight)((0.5,), (0,)))
        for entry in record.layers
    )
    rounded, skips = apply_roundings(model, QuantRecord(layers), roundings)
    assert [skip.node for skip in skips] == [first]
    assert "its rounding was learned for other scales" in skips[0].reason
    items = {item.layer.name: item.layer for item in quantized_layers(rounded, QuantRecord(layers))}
    originals = {item.layer.name: item.layer for item in quantized_layers(model, record)}
    np.testing.assert_array_equal(items[first].weight_array, originals[first].weight_array)


def content(found: Learned) -> tuple[object, ...]:
    roundings = [(name, r.moves.tobytes(), r.weight, r.method, r.before, r.after) for name, r in found.roundings.items()]
    return roundings, found.skips


@pytest.mark.parametrize("text", NETS.values(), ids=list(NETS))
@pytest.mark.parametrize("count", [1, 2, 9])
def test_what_workers_learn_is_what_one_process_learns(text: str, count: int) -> None:
    model = net(text)
    data = samples(model)
    record = record_of(model, data)
    rounders = {item.layer.name: make_weight_quantizer("gptq") for item in quantized_layers(model, record) if item.layer.weight}
    done: list[int] = []
    lesson = Lesson(record, rounders, data, corrected=True, options=ONE_THREAD)
    with ThreadPoolExecutor(2) as executor:
        shared = learn_apart(model, lesson, Workers(executor, count=count), done.append)
    alone = learn_roundings(model, lesson, apart=True)
    assert content(shared) == content(alone)
    assert alone.roundings or alone.skips
    assert sum(done) == len(rounders)
    assert len(done) == min(count, len(rounders))
