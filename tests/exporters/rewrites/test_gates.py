"""A gate of single values is written out for the pixels of its image where its sizes tell that this is faster."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from small_nets import ONE_THREAD, net, require_equal
from test_channels import exported

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.runtime import optimized

SQUEEZE = """net (float[N,3,HEIGHT,WIDTH] x) => (float[N,C,H,W] y) {
  [stem] a = Conv <pads=[1,1,1,1]> (x, ws) [act] b = Relu (a)
  [mean] p = GlobalAveragePool (b) [less] q = Conv (p, wq) [act2] r = Relu (q) [more] s = Conv (r, we) [gate] g = Sigmoid (s)
  [excite] m = Mul (b, g) [last] z = Conv (m, wl) [end] y = Relu (z) }"""


def written(text: str, size: tuple[int, int], channels: int = 16, **values: object) -> tuple[list[list[int]], ir.Model]:
    """How often codes stand along each axis, for each Expand of the model for ONNX Runtime; and that model, which was run
    beside the fake-quant model, and is equal."""
    weights = {"ws": (channels, 3, 3, 3), "wq": (4, channels, 1, 1), "we": (channels, 4, 1, 1), "wl": (8, channels, 1, 1)}
    _, after = exported(text.replace("HEIGHT", str(size[0])).replace("WIDTH", str(size[1])), weights | values, 3, size)
    times = [ir.constant_of(node.inputs[1]) for node in after.graph if node.op_type == "Expand"]
    return [one.tolist() for one in times if one is not None], after


@pytest.mark.parametrize(
    ("size", "channels", "times"),
    [
        ((20, 20), 16, [[1, 1, 20, 1]]),
        ((10, 40), 16, [[1, 1, 40, 1]]),
        ((40, 40), 99, [[1, 1, 40, 1]]),
        ((40, 40), 100, [[1, 40, 40, 1]]),
        ((19, 21), 16, []),
        ((8, 16), 1248, []),
        ((8, 16), 1250, [[1, 8, 16, 1]]),
    ],
)
def test_sizes_tell_how_often_a_gate_is_written(size: tuple[int, int], channels: int, times: list[list[int]]) -> None:
    """From 400 pixels on for a row; for all pixels from 160,000 codes on, which threads share."""
    assert written(SQUEEZE, size, channels)[0] == times


@pytest.mark.parametrize("size", [(20, 24), (100, 100)], ids=["a row", "all pixels"])
@pytest.mark.parametrize("product", ["Mul (b, g)", "Mul (g, b)"])
def test_the_multiplication_stays_an_integer_kernel_channels_last(size: tuple[int, int], product: str) -> None:
    """Nothing is transposed but the image at the start and the result at the end."""
    times, model = written(SQUEEZE.replace("Mul (b, g)", product), size)
    assert len(times) == 1
    found = Counter(node.op_type for node in optimized(model).graph)
    assert (found["QLinearMul"], found["Expand"], found["Transpose"]) == (1, 1, 2), found


@pytest.mark.parametrize(
    "between",
    [
        "[half] h = Sigmoid (c) [silu] b = Mul (c, h)",
        "[wide] b = MaxPool <kernel_shape=[1,1]> (c)",
        "[ghost] b = Concat <axis=1> (c, c)",
    ],
    ids=["SiLU", "pooling", "Concat"],
)
def test_an_image_that_went_through_other_operators_is_one_of_a_convolution(between: str) -> None:
    channels = 32 if "Concat" in between else 16
    weights = {"ws": (16, 3, 3, 3), "wq": (4, channels, 1, 1), "we": (channels, 4, 1, 1), "wl": (8, channels, 1, 1)}
    assert written(SQUEEZE.replace("b = Relu (a)", f"c = Relu (a) {between}"), (20, 20), **weights)[0]


def test_the_gate_of_matrices_is_written_out_too() -> None:
    text = SQUEEZE.replace("[less] q = Conv (p, wq)", "[flat] f = Flatten (p) [less] q = Gemm (f, wq)").replace(
        "[more] s = Conv (r, we) [gate] g = Sigmoid (s)",
        "[more] s = Gemm (r, we) [gate] t = Sigmoid (s) [pixel] g = Reshape (t, one)",
    )
    one = np.array([0, 16, 1, 1])
    assert written(text, (20, 20), wq=(16, 4), we=(4, 16), one=one)[0] == [[1, 1, 20, 1]]


def test_others_read_the_gate_as_it_is() -> None:
    text = SQUEEZE.replace("(float[N,C,H,W] y)", "(float[N,C,H,W] y, float[N,C,1,1] g)")
    text = text.replace("[last] z = Conv (m, wl)", "[few] k = Conv (g, wl) [both] n = Conv (m, wl) [last] z = Add (n, k)")
    times, model = written(text, (20, 20))
    assert times == [[1, 1, 20, 1]]
    assert [one.name for one in model.graph.outputs] == ["y", "g"]


def test_an_image_of_open_size_is_multiplied_as_it_is() -> None:
    assert not written(SQUEEZE.replace("HEIGHT,WIDTH", "height,width"), (24, 24))[0]


def test_an_image_that_was_reshaped_has_its_channels_first() -> None:
    """ONNX Runtime would have to turn its codes."""
    text = SQUEEZE.replace("b = Relu (a)", "c = Relu (a) [fold] b = Reshape (c, folded)")
    assert not written(text, (24, 24), folded=np.array([0, 16, 12, 48]))[0]


def test_a_gate_of_pixels_stays() -> None:
    """One value for each pixel, as of spatial attention: written out, it takes longer."""
    text = SQUEEZE.replace("[mean] p = GlobalAveragePool (b) [less] q = Conv (p, wq)", "[less] q = Conv (b, wq)")
    assert not written(text, (24, 24), we=(1, 4, 1, 1))[0]


@pytest.mark.parametrize(("declared", "batch"), [("N", 1), ("N", 3), ("3", 3)])
@pytest.mark.parametrize("opset", [13, 24])
def test_each_sample_of_a_batch_has_its_own_gate(declared: str, batch: int, opset: int) -> None:
    text = SQUEEZE.replace("float[N,3,HEIGHT,WIDTH]", f"float[{declared},3,20,24]")
    weights = {"ws": (16, 3, 3, 3), "wq": (4, 16, 1, 1), "we": (16, 4, 1, 1), "wl": (8, 16, 1, 1)}
    samples = [{"x": np.random.default_rng(seed).standard_normal((3, 3, 20, 24)).astype(np.float32)} for seed in range(4)]
    model = ir.load_bytes(net(text, opset=opset, ir_version=10, **weights).SerializeToString())
    exports = quantize(model, samples, QuantConfig(target="ort"), options=ONE_THREAD).exports
    assert exports.deploy is not None
    assert any(node.op_type == "Expand" for node in exports.deploy.graph)
    require_equal(exports, [{"x": samples[0]["x"][:batch]}])
