"""What a mask hides whatever the data are lies no lower than is needed for it to count for nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from small_nets import ONE_THREAD, net, require_equal, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.types import Feeds

TOKENS = 6
LATER = np.triu(np.ones((TOKENS, TOKENS), bool), 1)
LOWEST = float(np.finfo(np.float32).min)
NORMAL = float(np.finfo(np.float32).tiny)
ENDS = """[softmax] p = Softmax <axis=-1> (r) [attended] z = MatMul (p, x) [last] y = MatMul (z, wl) }"""
HEAD = f"net (float[1,4,{TOKENS},8] x) => (float[1,4,{TOKENS},8] y) {{ [scores] s = MatMul (x, w) "
ADDED = f"{HEAD} r = Add (s, mask) {ENDS}"
APART = ENDS.replace("[attended] z = MatMul (p, x)", "q = Reshape (p, back) [attended] z = MatMul (q, x)")
WEIGHTS = {"w": (8, TOKENS), "wl": (8, 8)}


def samples(tokens: int = TOKENS) -> list[Feeds]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((1, 4, tokens, 8)).astype(np.float32)} for _ in range(8)]


def hiding(number: float, hidden: np.ndarray = LATER) -> np.ndarray:
    return np.where(hidden, number, 0).astype(np.float32)


def models(text: str, data: Iterable[Feeds], opset: int = 17, **values: object) -> tuple[ir.Model, ir.Model]:
    """For ONNX Runtime, and fake-quant, with the weights of the Softmax as second output."""
    model = net(text, opset=opset, **WEIGHTS, **values)
    result = quantize(ir.load_bytes(model.SerializeToString()), data, QuantConfig(target="ort"), options=ONE_THREAD)
    assert result.exports.deploy is not None
    for one in (result.exports.deploy, result.exports.fake_quant):
        one.graph.outputs.append(next(node.outputs[0] for node in one.graph if node.name == "softmax"))
    return result.exports.deploy, result.exports.fake_quant


def require_raised(pair: tuple[ir.Model, ir.Model], data: Iterable[Feeds]) -> None:
    """Nothing that is hidden counts, and none of it is a denormal number."""
    for sample in data:
        (ours, weights), (theirs, true) = (run(model, sample) for model in pair)
        np.testing.assert_array_equal(ours, theirs)
        counted = true > 1e-9
        np.testing.assert_array_equal(weights[counted], true[counted])
        assert (weights[~counted] < 2e-11).all()
        assert (weights[~counted] > NORMAL).all()


def is_raised(model: ir.Model) -> bool:
    return "ReduceMin" in {node.op_type for node in model.graph}


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("number", [-100.0, -10000.0, LOWEST, -np.inf])
def test_a_mask_that_is_added_takes_off_no_more_than_is_needed(number: float, opset: int) -> None:
    require_raised(models(ADDED, samples(), opset, mask=hiding(number)), samples())


@pytest.mark.parametrize(
    "seen",
    [
        f"r = Add (mask, s) {ENDS}",
        f"m = Add (s, mask) r = Reshape (m, shape) {ENDS}",
        f"u = Cast <to=1> (later) m = Mul (u, lowest) r = Add (s, m) {ENDS}",
        f"r = Where (later, lowest, s) {ENDS}",
        f"r = Where (earlier, s, least) {ENDS}",
        f"high = Add (s, hundred) r = Where (later, lowest, high) {ENDS}",
    ],
)
def test_however_scores_are_hidden(seen: str) -> None:
    values = {
        "mask": hiding(-10000), "shape": np.array([1, 4, TOKENS, TOKENS]), "later": LATER, "earlier": ~LATER,
        "lowest": np.float32(LOWEST), "least": np.array([-np.inf], np.float32), "hundred": np.float32(100),
    }  # fmt: skip
    require_raised(models(HEAD + seen, samples(), **{name: value for name, value in values.items() if name in seen}), samples())


CAUSAL = """net (float[1,4,T,8] x) => (float[1,4,T,8] y) { k = Transpose <perm=[0,1,3,2]> (x) [scores] s = MatMul (x, k)
  t = Shape <start=2, end=3> (x) HIDDEN """


@pytest.mark.parametrize(
    "hidden",
    [
        "f = Slice (later, zero, t, first) h = Slice (f, zero, t, second) r = Where (h, lowest, s)",
        "q = Concat <axis=0> (t, t) f = ConstantOfShape <value=float[1] {-100.0}> (q) m = Trilu (f, one) r = Add (s, m)",
    ],
)
def test_what_comes_later_is_hidden_in_texts_of_any_length(hidden: str) -> None:
    values = {
        "later": np.triu(np.ones((32, 32), bool), 1), "zero": np.array([0]), "first": np.array([0]), "second": np.array([1]),
        "one": np.array(1), "lowest": np.float32(LOWEST),
    }  # fmt: skip
    named = {name: value for name, value in values.items() if f" {name}" in hidden or f"({name}" in hidden}
    text = CAUSAL.replace("HIDDEN", hidden) + ENDS
    model = net(text, wl=(8, 8), **named)
    result = quantize(ir.load_bytes(model.SerializeToString()), samples(), QuantConfig(target="ort"), options=ONE_THREAD)
    deploy = result.exports.deploy
    assert deploy is not None
    assert is_raised(deploy)
    require_equal(result.exports, (*samples(1)[:1], *samples(9)[:2], *samples(30)[:2]))


def test_a_row_of_which_nothing_counts_stays_as_it_is() -> None:
    hidden = LATER.copy()
    hidden[2] = True
    deploy, fake_quant = models(ADDED, samples(), mask=hiding(LOWEST, hidden))
    assert is_raised(deploy)
    weights, true = (run(model, samples()[0])[1] for model in (deploy, fake_quant))
    np.testing.assert_array_equal(weights[:, :, 2], true[:, :, 2])
    np.testing.assert_array_equal(true[:, :, 2], np.float32(1 / TOKENS))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        pytest.param(ADDED, -20.0, id="a bias"),
        pytest.param(ADDED.replace("axis=-1", "axis=2"), -100.0, id="columns"),
        pytest.param(ADDED.replace("8] y)", f"8] y, float[1,4,{TOKENS},{TOKENS}] r)"), -100.0, id="seen"),
        pytest.param(f"{HEAD} m = Add (s, mask) r = Reshape (m, flat) {APART}", -100.0, id="rows"),
    ],
)
def test_what_is_no_such_mask_stays(text: str, number: float) -> None:
    shapes = {"flat": np.array([1, 4, 1, TOKENS * TOKENS]), "back": np.array([1, 4, TOKENS, TOKENS])}
    values = {name: shape for name, shape in shapes.items() if name in text}
    deploy, fake_quant = models(text, samples(), mask=hiding(number), **values)
    assert not is_raised(deploy)
    np.testing.assert_array_equal(run(deploy, samples()[0])[0], run(fake_quant, samples()[0])[0])


def test_a_mask_that_is_made_of_an_input_stays() -> None:
    text = ADDED.replace("8] x)", f"8] x, float[1,1,1,{TOKENS}] seen)").replace(
        "r = Add (s, mask)", "o = Sub (one, seen) m = Mul (o, lowest) r = Add (s, m)"
    )
    data = [{**sample, "seen": np.array([[[[1, 1, 1, 1, 0, 0]]]], np.float32)} for sample in samples()]
    deploy, fake_quant = models(text, data, one=np.float32(1), lowest=np.float32(-10000))
    assert not is_raised(deploy)
    np.testing.assert_array_equal(run(deploy, data[0])[0], run(fake_quant, data[0])[0])


PADDED = f"net (float[1,4,{TOKENS},8] x, bool[{TOKENS}] pad) => (float[1,4,{TOKENS},8] y) {{ [scores] u = MatMul (x, w) "


@pytest.mark.parametrize("outer", [-100.0, -10000.0, LOWEST, -np.inf])
@pytest.mark.parametrize("inner", [-10000.0, LOWEST, -np.inf])
@pytest.mark.parametrize("added", [False, True])
def test_in_a_row_that_another_mask_hides_too_what_counted_counts(added: bool, inner: float, outer: float) -> None:
    """The first of the tokens that a text is filled up with sees itself alone: all that it may look at is hidden twice."""
    if np.isinf(inner) and np.isinf(outer):
        return  # no numbers
    seen = "r = Add (s, mask)" if added else "r = Where (later, outer, s)"
    values = {"mask": hiding(outer)} if added else {"later": LATER, "outer": np.float32(outer)}
    counted = np.arange(TOKENS) > 1
    data = [{**sample, "pad": counted} for sample in samples()]
    pair = models(f"{PADDED} s = Where (pad, u, inner) {seen} {ENDS}", data, inner=np.float32(inner), **values)
    for sample in data:
        (ours, weights), (theirs, true) = (run(model, sample) for model in pair)
        np.testing.assert_allclose(weights, true, atol=2e-11)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("behind", "outputs"),
    [
        pytest.param("q = Log (p) y = Relu (q)", "y", id="logarithms"),
        pytest.param("q = Transpose (p) y = Greater (q, zero)", "bool y", id="compared"),
        pytest.param("[attended] z = MatMul (p, x) y = Relu (z)", "y, float[1,4,6,6] p", id="an output"),
    ],
)
def test_what_is_hidden_from_those_who_look_at_the_weights_stays_so(behind: str, outputs: str) -> None:
    head = HEAD.replace(f"float[1,4,{TOKENS},8] y", outputs if outputs.startswith("bool") else f"float {outputs}")
    text = f"{head} r = Add (s, mask) [softmax] p = Softmax <axis=-1> (r) {behind} }}"
    values = {"mask": hiding(-np.inf)} | ({"zero": np.float32(0)} if "zero" in behind else {})
    model = net(text, w=WEIGHTS["w"], **values)
    result = quantize(ir.load_bytes(model.SerializeToString()), samples(), QuantConfig(target="ort"), options=ONE_THREAD)
    deploy = result.exports.deploy
    assert deploy is not None
    assert not is_raised(deploy)
    for sample in samples():
        np.testing.assert_array_equal(run(deploy, sample)[0], run(result.exports.fake_quant, sample)[0])
