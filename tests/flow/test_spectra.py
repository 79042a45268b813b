"""Layers that compute a spectrum are found on the way up from the logarithm, and stay in float."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, net

from amct_lite import ir
from amct_lite.config import Override, QuantConfig
from amct_lite.flow.spectra import spectral_layers
from amct_lite.pipeline import quantize

SPECTRUM = """[filter] f = Conv <pads=[1,1]> (x, wf) [re] r = Conv (f, wr) [im] i = Conv (f, wi)
  [rr] r2 = Mul (r, r) [ii] i2 = Pow (i, two) [sum] p = Add (r2, i2) [turn] t = Transpose <perm=[0,2,1]> (p)"""
MEL = """[mel] m = MatMul (t, wm) [floor] c = Max (m, tiny) [log] l = Log (c)"""
HEAD = """[head] h = MatMul (l, wh) [relu] a = Relu (h) [last] y = MatMul (a, wl)"""


def model(*nodes: str) -> ir.Model:
    rng = np.random.default_rng(3)
    shapes = {"wf": (1, 1, 3), "wr": (8, 1, 16), "wi": (8, 1, 16), "wh": (4, 4), "wl": (4, 2), "wq": (8, 4)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    arrays |= {"wm": np.abs(rng.standard_normal((8, 4))).astype(np.float32)}
    arrays |= {"two": np.float32(2), "tiny": np.float32(1e-6)}
    text = f"net (float[1,1,80] x) => (float[n,t,c] y) {{ {' '.join(nodes)} }}"
    return ir.load_bytes(net(text, **arrays).SerializeToString())


def found(*nodes: str) -> set[str]:
    return {str(node.name) for node in spectral_layers(model(*nodes).graph)}


def test_the_transform_its_filter_and_the_bands_are_found() -> None:
    assert found(SPECTRUM, MEL, HEAD) == {"filter", "re", "im", "mel"}


def test_magnitudes_count_without_bands() -> None:
    root = "[root] m = Sqrt (t) [log] l = Log (m) [head] y = MatMul (l, wq)"
    assert found(SPECTRUM, root) == {"filter", "re", "im"}


@pytest.mark.parametrize(
    ("nodes", "spectral"),
    [
        ("[soft] s = Softmax (t) [log] y = Log (s)", set()),  # what a classifier ends with
        ("[exp] e = Exp (t) [log] y = Log (e)", set()),
        ("[root] y = Sqrt (t)", set()),
        ("[back] u = Transpose <perm=[0,2,1]> (t) [two] m = MatMul (t, u) [log] y = Log (m)", set()),
        ("[relu] a = Relu (t) [head] h = MatMul (a, wq) [abs] b = Abs (h) [log] y = Log (b)", {"head"}),
    ],
    ids=["softmax", "exponential", "no logarithm", "products of two", "behind an activation"],
)
def test_what_is_no_spectrum_is_left_alone(nodes: str, spectral: set[str]) -> None:
    assert found(SPECTRUM, nodes) == spectral


def test_a_logarithm_of_what_no_squares_go_into_is_none_of_a_spectrum() -> None:
    linear = "[filter] f = Conv <pads=[1,1]> (x, wf) [re] r = Conv (f, wr) [turn] t = Transpose <perm=[0,2,1]> (r)"
    assert found(linear, "[mel] m = MatMul (t, wm) [log] y = Log (m)") == set()


def test_it_stays_in_float_with_the_reason_unless_it_is_asked_for() -> None:
    data = [{"x": np.random.default_rng(seed).standard_normal((1, 1, 80)).astype(np.float32)} for seed in range(8)]

    def run(**settings: object) -> tuple[set[str], set[str]]:
        config = QuantConfig(**{"fallback": 1e-6, **settings})  # type: ignore[arg-type] # a mapping of fields
        result = quantize(model(SPECTRUM, MEL, HEAD), data, config, options=ONE_THREAD)
        left = {skip.node for skip in result.report.skips if "logarithm" in skip.reason}
        return left, {entry.key for entry in result.record.layers}

    for target in ("ort", "generic"):
        left, quantized = run(target=target)
        assert left == {"filter", "re", "im", "mel"}
        assert {"head", "last"} <= quantized
        assert "mel" in run(target=target, layers={"mel": Override(skip=False)})[1]
        assert run(target=target, fallback=0)[0] == set(), "AMCT quantizes all"
    assert run(target="ascend")[0] == {"mel"}, "ATC takes none of the others"
