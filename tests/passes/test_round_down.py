"""Pools that round their size up are told otherwise where onnx would infer a window that ONNX Runtime does not compute."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from graphs import apply, ops
from small_nets import run as execute

from amct_lite import ir
from amct_lite.passes import round_down

FORMS = {
    "single pixels": ("kernel_shape = [1, 1], strides = [2, 3]", 13),
    "gaps between windows": ("kernel_shape = [2, 2], strides = [3, 3]", 13),
    "pads on both sides": ("kernel_shape = [2, 3], strides = [2, 3], pads = [1, 1, 1, 1]", 13),
    "pads in front": ("kernel_shape = [5, 2], strides = [4, 3], pads = [2, 1, 1, 0]", 13),
    "one axis": ("kernel_shape = [3, 3], strides = [2, 3], pads = [0, 2, 0, 1]", 13),
    "valid": ('kernel_shape = [2, 3], strides = [3, 2], auto_pad = "VALID"', 13),
    "holes": ("kernel_shape = [3, 2], dilations = [2, 1], strides = [2, 3], pads = [1, 0, 0, 1]", 19),
}
KINDS = {"MaxPool": "", "AveragePool": "", "counting": ", count_include_pad = 1", "LpPool": ""}
"""The operators, and an AveragePool that counts its pads."""


def pooled(kind: str, form: str, size: tuple[int, int], opset: int) -> ir.Model:
    op_type, more = kind if kind.endswith("Pool") else "AveragePool", KINDS[kind]
    header, shape = f'<ir_version: 8, opset_import: ["": {opset}]>', f"1,1,{size[0]},{size[1]}"
    return ir.from_text(f"""{header} net (float[{shape}] x) => (float[A,B,C,D] y) {{
      [pool] p = {op_type} <ceil_mode = 1, {form}{more}> (x) [act] r = Relu (p) [end] y = Neg (r) }}""")


@pytest.mark.parametrize("opset", [13, 18, 21, 22])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_sizes_are_those_that_onnxruntime_gives(form: str, kind: str, opset: int) -> None:
    """For the pool and who reads it, whatever was said of them; and not a number is another but for
    the last bit of a sum."""
    text, since = FORMS[form]
    if opset < (18 if kind == "LpPool" else since if kind != "MaxPool" else 13):
        pytest.skip("the operator has no such attribute yet")
    for size in product(range(7, 13), range(7, 11)):
        model = pooled(kind, text, size, opset)
        ir.infer_shapes(model)  # as who wrote the file may have
        x = np.random.default_rng(0).standard_normal((1, 1, *size), np.float32)
        exact = execute(model, {"x": x})[0]
        model, report = apply(round_down.run, model)
        ir.infer_shapes(model)
        assert report.changed == 1
        assert {n.op_type: ir.dims_of(n.outputs[0]) for n in model.graph}["Relu"] == exact.shape
        np.testing.assert_allclose(execute(model, {"x": x})[0], exact, rtol=1e-6)


def test_pads_that_count_are_pixels_then() -> None:
    model, _ = apply(round_down.run, pooled("counting", FORMS["pads on both sides"][0], (7, 7), 17))
    assert ops(model) == ["Pad", "AveragePool", "Relu", "Neg"]
    assert {name: ir.attribute(model.graph[1], name) for name in ("pads", "ceil_mode", "count_include_pad")} == {
        "pads": [0, 0, 0, 1],
        "ceil_mode": None,
        "count_include_pad": None,
    }


@pytest.mark.parametrize(
    "form",
    [
        "kernel_shape = [2, 2], strides = [2, 2]",
        "kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]",
        'kernel_shape = [2, 2], strides = [3, 3], auto_pad = "SAME_UPPER"',
        "kernel_shape = [2, 2], strides = [3, 3, 3]",
    ],
    ids=["no gap", "as wide as the last window reaches", "same", "contradicts itself"],
)
def test_others_are_left_alone(form: str) -> None:
    model = pooled("MaxPool", form, (7, 7), 17)
    report = round_down.run(model)
    assert (report.changed, report.skips) == (0, ())
    assert ir.attribute(model.graph[0], "ceil_mode") == 1


@pytest.mark.parametrize("kind", ["MaxPool", "counting"])
def test_pads_as_wide_as_a_window_are_never_asked_for(kind: str) -> None:
    form = "kernel_shape = [2, 2], dilations = [4, 4], strides = [5, 5], pads = [0, 0, 1, 1]"
    model, report = apply(round_down.run, pooled(kind, form, (9, 9), 21))
    assert (report.changed, ops(model)) == (0, [model.graph[0].op_type, "Relu", "Neg"])
    assert report.skips[0].reason == "it rounds its size up, and ONNX Runtime takes no pads as wide as a window instead"
