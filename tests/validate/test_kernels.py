"""What ONNX Runtime's integer kernels compute is compared with the fake-quant model, output by output."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from passes.graphs import parse
from small_nets import ONE_THREAD, images, net, saved

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.errors import VerificationError
from amct_lite.pipeline import quantize
from amct_lite.runtime import RuntimeOptions
from amct_lite.validate.kernels import verify_kernels

X = np.random.default_rng(3).normal(size=(4, 8)).astype(np.float32)
ONE = "float[4,8] y"


def adding(step: float, node: str = "y = Add (x, s)", outputs: str = ONE) -> ir.Model:
    text = f"g (float[4,8] x, float s) => ({outputs}) {{ {node} }}"
    return parse(text, "", '<ir_version: 8, opset_import: ["": 17]>\n', s=np.float32(step))


def verify(ours: ir.Model, theirs: ir.Model, *exact: np.ndarray) -> float:
    return verify_kernels(ours, theirs, [], [{"x": X}], [exact], RuntimeOptions(threads=1)).sqnr_db


@pytest.mark.parametrize(
    ("nodes", "output", "told"),
    [
        (
            "z = Add (x, s) y = ReduceSum <keepdims = 0> (z)",
            "float y",
            r"output 'y' .* is float32 of shape \(\), that of the fake-quant model float32 of shape \(4, 8\)",
        ),
        (
            "z = Add (x, s) a = ReduceSum <keepdims = 1> (z) y = Add (a, s)",
            "float[n,m] y",
            r"is float32 of shape \(1, 1\), that of the fake-quant model float32 of shape \(4, 8\)",
        ),
        (
            "z = Add (x, s) y = Cast <to = 11> (z)",
            "double[4,8] y",
            r"output 'y' .* is float64 of shape \(4, 8\), that of the fake-quant model float32",
        ),
    ],
    ids=["another number of dimensions", "other sizes than the model tells", "another type"],
)
def test_an_output_of_another_kind_is_no_agreement(nodes: str, output: str, told: str) -> None:
    with pytest.raises(VerificationError, match=told):
        verify(adding(0, nodes, output), adding(0), X)


def test_sizes_that_depend_on_the_data_may_differ() -> None:
    """Of what lies above a threshold there may be one value more or less."""
    above = "z = Add (x, s) q = Relu (z) n = NonZero (q) t = Transpose (n) p = GatherND (z, t) y = Relu (p)"
    chosen = [adding(step, above, "float[m] y") for step in (0.0, 0.3)]
    assert verify(*chosen, np.zeros(0, np.float32)) == np.inf


def test_more_noise_than_the_model_says_is_an_error_in_any_output() -> None:
    """Also of an output that another one, with more noise in both models, would hide."""
    nodes = "a = Add (x, s) b = Mul (a, s) y = Add (b, x) z = Add (x, t)"
    pair = [
        parse(
            f"g (float[4,8] x, float s, float t) => (float[4,8] y, float[4,8] z) {{ {nodes} }}",
            "",
            '<ir_version: 8, opset_import: ["": 17]>\n',
            s=np.float32(0.5),
            t=np.float32(step),
        )
        for step in (0.01, 0.001)
    ]
    with pytest.raises(VerificationError, match=r"output 'z': ONNX Runtime's integer kernels compute something else"):
        verify(*pair, X, X)


@pytest.mark.parametrize(("count", "told"), [(4, False), (400, True)])
def test_one_code_on_a_tie_is_no_error_where_few_values_are_compared(count: int, told: bool) -> None:
    """Twice the noise, 6 dB: chance where a network has a value or two for a sample."""
    x = np.random.default_rng(1).normal(size=(2, count)).astype(np.float32)
    ours, theirs = (
        parse(
            "g (float[2,n] x, float s) => (float[2,n] y) { y = Add (x, s) }",
            "",
            '<ir_version: 8, opset_import: ["": 17]>\n',
            s=s,
        )
        for s in (np.float32(0.02), np.float32(0.01))
    )
    with pytest.raises(VerificationError, match="compute something else") if told else nullcontext():
        verify_kernels(ours, theirs, [], [{"x": x}], [[x]], RuntimeOptions(threads=1))


def test_what_the_last_bits_of_the_data_change_as_much_is_no_error() -> None:
    """As in a deep network, where a code that turns on a tie turns a hundred behind it: by luck this one is exact here."""
    x = np.round(X * 8) / 8
    chaos = "m = Mul (x, k) f = Floor (m) r = Sub (m, f) t = Mul (r, s) y = Add (x, t)"
    lucky = parse(
        f"g (float[4,8] x, float k, float s) => ({ONE}) {{ {chaos} }}",
        "",
        '<ir_version: 8, opset_import: ["": 17]>\n',
        k=np.float32(2**20),
        s=np.float32(0.05),
    )
    for step, told in ((0.03, False), (0.3, True)):
        with pytest.raises(VerificationError, match="compute something else") if told else nullcontext():
            verify_kernels(adding(step), lucky, [], [{"x": x}], [[x]], RuntimeOptions(threads=1))


def test_a_mask_beside_the_data_excuses_nothing() -> None:
    """Noise as large as its largest values would drown all else."""
    mask = np.where(X > 0, 0, -1e9).astype(np.float32)
    models = [
        parse(
            "g (float[4,8] x, float[4,8] mask, float s) => (float[4,8] y) { z = Exp (mask) a = Add (x, s) y = Mul (a, z) }",
            "",
            '<ir_version: 8, opset_import: ["": 17]>\n',
            s=np.float32(step),
        )
        for step in (0.3, 0.01)
    ]
    with pytest.raises(VerificationError, match="compute something else"):
        verify_kernels(*models, [], [{"x": X, "mask": mask}], [[X * (X > 0)]], RuntimeOptions(threads=1))


@pytest.mark.parametrize("step", [0.0, 1e-7])
def test_the_last_bits_of_floats_are_no_difference(step: float) -> None:
    """A bias of a million hides every integer: both are exact but for float32's rounding, one a little more."""
    assert verify(adding(1e-6), adding(step), X) > 100


def test_where_the_float_model_says_nan_both_may() -> None:
    nodes = "z = Add (x, s) y = Log (z)"
    with np.errstate(invalid="ignore"):
        exact = np.log(X)
    assert np.isnan(exact).any()
    assert verify(adding(0, nodes), adding(0, nodes), exact) == np.inf


@pytest.mark.parametrize("target", ["ascend", "ort"])
def test_a_model_with_nan_among_its_outputs_is_quantized(target: str, tmp_path: Path) -> None:
    text = """net (float[1,3,16,16] x) => (float[1,8,16,16] y, float[1,8,16,16] z) {
      y = Conv<pads = [1,1,1,1]>(x, w1, b1)
      z = Log(y)
    }"""
    result = quantize(saved(net(text), tmp_path), images(), QuantConfig(target=target), options=ONE_THREAD)
    assert result.exports.deploy is not None
