"""Pieces compute together what the network computes, and what has not changed is not computed again."""

from __future__ import annotations

import numpy as np
import pytest
from passes.graphs import parse

from amct_lite import ir
from amct_lite.analysis.batches import regroup
from amct_lite.analysis.pieces import Network, cut
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import Feeds

QUIET = RuntimeOptions(threads=1)
BLOCKS = """g (float[N,2] x, float[2,2] w) => (float[N,2] y, float[N,2] z) {
  [a] a = MatMul (x, w) [b] b = MatMul (a, w) c = Add (a, b) z = Relu (c)
  [d] d = MatMul (z, w) [e] e = MatMul (d, w) f = Add (z, e)
  [g] g = MatMul (f, w) h = Relu (g) [i] i = MatMul (h, w) y = Sub (i, a) }"""


@pytest.fixture
def blocks() -> ir.Model:
    model = parse(BLOCKS, "w", '<ir_version: 8, opset_import: ["": 17]>')
    ir.infer_shapes(model)
    return model


def test_cuts_stand_behind_residual_blocks(blocks: ir.Model) -> None:
    """`a` is read at the end, too, and crosses every cut; inside a block a second or third tensor would."""
    pieces = cut(blocks, set("abdegi"))
    assert [piece.layers for piece in pieces] == [("a", "b"), ("d", "e"), ("g", "i")]
    assert [piece.gives for piece in pieces] == [("a", "z"), ("f",), ("y",)]
    assert [set(piece.reads) for piece in pieces] == [{"x"}, {"z"}, {"f", "a"}]


def test_pieces_are_bounded_in_number(blocks: ir.Model) -> None:
    assert len(cut(blocks, set("abdegi"), most=1)) == 1
    assert len(cut(blocks, set("abdegi"), most=2)) == 2


def test_pieces_give_what_the_network_gives(blocks: ir.Model) -> None:
    feeds = {"x": np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)}
    network = Network(blocks, cut(blocks, set("abdegi")), QUIET)
    expected = open_session(blocks, QUIET).run(feeds)
    for name, array in zip("yz", expected, strict=True):
        np.testing.assert_allclose(network.answer(feeds)[name], array, rtol=1e-5)  # the same products, fused or not


def test_only_what_reads_a_change_is_run(blocks: ir.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(blocks, cut(blocks, set("abdegi")), QUIET)
    exact = network.run({"x": np.ones((1, 2), np.float32)})
    ran: list[tuple[str, ...]] = []
    original = network._piece
    monkeypatch.setattr(network, "_piece", lambda piece, *rest: ran.append(piece.gives) or original(piece, *rest))
    assert network.follow(exact, {"z": exact["z"].copy()}, 1)["y"] is exact["y"]
    assert ran == []
    changed = network.follow(exact, {"a": exact["a"] + 1}, 1)
    assert ran == [("y",)]
    assert changed["z"] is exact["z"]
    assert changed["y"] == pytest.approx(exact["y"] - 1, rel=1e-5)


def test_many_pieces_are_run_in_strides() -> None:
    """A chain of 24 products in 12 pieces; the sixth gives the second output, which nothing behind it can change."""
    chain = "".join(f"[n{i}] v{i} = MatMul (v{i - 1}, w) " for i in range(1, 24))
    text = (
        f"g (float[N,2] x, float[2,2] w) => (float[N,2] y, float[N,2] v12) {{ [n0] v0 = MatMul (x, w) {chain} y = Neg (v23) }}"
    )
    model = parse(text, header='<ir_version: 8, opset_import: ["": 17]>', w=np.eye(2, dtype=np.float32))
    ir.infer_shapes(model)
    network = Network(model, cut(model, {f"n{i}" for i in range(24)}), QUIET)
    assert len(network.pieces) == 12
    exact = network.run({"x": np.ones((1, 2), np.float32)})
    for first in range(1, 12):
        name = next(name for name in network.pieces[first].reads if name != "v12")
        found = network.follow(exact, {name: exact[name] + first}, first)
        assert found["y"].tolist() == [[-1 - first] * 2]
        assert found["v12"].tolist() == [[1 + first * (int(name[1:]) < 12)] * 2]


def answer(model: ir.Model) -> object:
    session = open_session(model, QUIET)
    return lambda feeds: dict(zip(session.output_names, session.run(feeds), strict=True))


def sizes(feeds: tuple[Feeds, ...]) -> list[int]:
    return [batch["x"].shape[0] for batch in feeds]


def test_samples_that_do_not_meet_are_put_together(blocks: ir.Model) -> None:
    feeds = [{"x": np.full((rows, 2), rows, np.float32)} for rows in (1, 1, 3)]
    grouped = regroup(blocks, feeds, 2, answer(blocks))
    assert sizes(grouped) == [2, 2, 1]
    assert np.concatenate([batch["x"] for batch in grouped])[:, 0].tolist() == [1, 1, 3, 3, 3]


MIXING = "g (float[N,2] x) => (float[N,2] y) { m = ReduceMean <axes = [0]> (x) y = Sub (x, m) }"
FIXED = "g (float[1,2] x) => (float[1,2] y) { y = Relu (x) }"
FIXED_INSIDE = "g (float[N,2] x, int64[2] s) => (float[1,2] y) { y = Reshape (x, s) }"


@pytest.mark.parametrize("text", [MIXING, FIXED, FIXED_INSIDE])
def test_samples_that_meet_stay_as_they_are(text: str) -> None:
    model = parse(text, header='<ir_version: 8, opset_import: ["": 17]>', s=np.array([1, 2]))
    feeds = [{"x": np.full((1, 2), number, np.float32)} for number in range(3)]
    assert sizes(regroup(model, feeds, 2, answer(model))) == [1, 1, 1]


def test_neighbours_of_other_shapes_stay_apart() -> None:
    model = parse("g (float[N,M] x) => (float[N,M] y) { y = Relu (x) }")
    feeds = [{"x": np.ones((1, width), np.float32)} for width in (2, 2, 3, 2)]
    assert [batch["x"].shape for batch in regroup(model, feeds, 8, answer(model))] == [(2, 2), (1, 3), (1, 2)]
