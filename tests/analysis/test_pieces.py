"""Pieces compute together what the network computes, and what has not changed is not computed again."""

from __future__ import annotations

import numpy as np
import pytest
from passes.graphs import parse

from amct_lite import ir
from amct_lite.analysis.batches import regroup
from amct_lite.analysis.pieces import FEWEST_LAYERS, Network, cut, differing, layers_a_piece
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
    pieces = cut(blocks, set("abdegi"), 2)
    assert [piece.layers for piece in pieces] == [("a", "b"), ("d", "e"), ("g", "i")]
    assert [piece.gives for piece in pieces] == [("a", "z"), ("f",), ("y",)]
    assert [set(piece.reads) for piece in pieces] == [{"x"}, {"z"}, {"f", "a"}]


def test_pieces_have_at_least_so_many_layers(blocks: ir.Model) -> None:
    assert [len(cut(blocks, set("abdegi"), fewest)) for fewest in (2, 3, 4)] == [3, 2, 1]


def test_a_piece_holds_as_many_layers_as_its_branches_allow() -> None:
    """54 layers among 122 nodes: 29 of them hold 29 * 29 / 2 * 122 / 54 = 950 copies, up to 57 of them four times as many."""
    assert layers_a_piece(122, 54, 54) == 29
    assert layers_a_piece(122, 54, 6 * 54) == 12
    assert layers_a_piece(100_000, 10, 60) == FEWEST_LAYERS


def test_pieces_give_what_the_network_gives(blocks: ir.Model) -> None:
    feeds = {"x": np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)}
    network, tensors = Network(blocks, cut(blocks, set("abdegi"), 2), QUIET), dict(feeds)
    for piece in network.pieces:
        tensors |= network.run(piece, tensors)
    expected = open_session(blocks, QUIET).run(feeds)
    for name, array in zip("yz", expected, strict=True):
        np.testing.assert_allclose(tensors[name], array, rtol=1e-5)  # the same products, fused or not


def test_a_cut_prefers_a_place_that_only_layers_read(blocks: ir.Model) -> None:
    """Behind a block whose successor adds its input again, that input is converted twice."""
    text = """g (float[N,2] x, float[2,2] w) => (float[N,2] y) { [a] a = MatMul (x, w) [b] b = MatMul (a, w) r = Relu (b)
      [c] c = MatMul (r, w) d = Add (r, c) s = Relu (d) [e] y = MatMul (s, w) }"""
    model = parse(text, header='<ir_version: 8, opset_import: ["": 17]>', w=np.eye(2, dtype=np.float32))
    ir.infer_shapes(model)
    assert [piece.gives for piece in cut(model, set("abce"), 2)] == [("s",), ("y",)]


def test_tensors_are_kept_for_those_who_read_them(blocks: ir.Model) -> None:
    network = Network(blocks, cut(blocks, set("abdegi"), 2), QUIET)
    assert [network.read_behind(number) for number in range(3)] == [{"a", "z", "f", "y"}, {"a", "f", "y", "z"}, {"y", "z"}]


def test_what_differs_is_found_behind_equal_beginnings() -> None:
    exact = np.zeros(5000, np.float32)
    late = exact.copy()
    late[-1] = 1
    assert list(differing({"same": exact.copy(), "late": late}, {"same": exact, "late": exact})) == ["late"]


def sizes(feeds: tuple[Feeds, ...]) -> list[int]:
    return [batch["x"].shape[0] for batch in feeds]


def test_samples_that_do_not_meet_are_put_together(blocks: ir.Model) -> None:
    feeds = [{"x": np.full((rows, 2), rows, np.float32)} for rows in (1, 1, 3)]
    grouped = regroup(blocks, feeds, 2, QUIET)
    assert sizes(grouped) == [2, 2, 1]
    assert np.concatenate([batch["x"] for batch in grouped])[:, 0].tolist() == [1, 1, 3, 3, 3]


MIXING = "g (float[N,2] x) => (float[N,2] y) { m = ReduceMean <axes = [0]> (x) y = Sub (x, m) }"
FIXED = "g (float[1,2] x) => (float[1,2] y) { y = Relu (x) }"
FIXED_INSIDE = "g (float[N,2] x, int64[2] s) => (float[1,2] y) { y = Reshape (x, s) }"


@pytest.mark.parametrize("text", [MIXING, FIXED, FIXED_INSIDE])
def test_samples_that_meet_stay_as_they_are(text: str) -> None:
    model = parse(text, header='<ir_version: 8, opset_import: ["": 17]>', s=np.array([1, 2]))
    feeds = [{"x": np.full((1, 2), number, np.float32)} for number in range(3)]
    assert sizes(regroup(model, feeds, 2, QUIET)) == [1, 1, 1]


def test_neighbours_of_other_shapes_stay_apart() -> None:
    model = parse("g (float[N,M] x) => (float[N,M] y) { y = Relu (x) }")
    feeds = [{"x": np.ones((1, width), np.float32)} for width in (2, 2, 3, 2)]
    assert [batch["x"].shape for batch in regroup(model, feeds, 8, QUIET)] == [(2, 2), (1, 3), (1, 2)]
