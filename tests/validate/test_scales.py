"""A scale that is no number above 0 is refused in every exported model, whether an output shows it or not."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net

from amct_lite import ir
from amct_lite.config import Override, QuantConfig
from amct_lite.errors import VerificationError
from amct_lite.exporters.ascend import dequant_param
from amct_lite.finishing import check
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult

NET = """net (float[1,3,16,16] x) => (float[1,8,16,16] y) {
  [conv] a = Conv <pads=[1,1,1,1]> (x, w1, b1) [act] b = Sigmoid (a) [last] y = Conv <pads=[1,1,1,1]> (b, w) }"""
CALLED = {"ort": "model for ONNX Runtime", "ascend": "deploy model", "generic": "fake-quant model"}


@cache
def quantized(target: str) -> QuantizeResult:
    """With a single tensor between float nodes, and weights with a scale for each channel."""
    config = QuantConfig(target=target, bias_correction="none", tensors={"act:0": Override()})
    model = ir.load_bytes(net(NET, w=(8, 8, 3, 3)).SerializeToString())
    return quantize(model, images(2), config, options=ONE_THREAD)


def with_scale(model: ir.Model, name: str, scale: float) -> tuple[ir.Model, ir.Node]:
    """`model` with another scale (of the second channel, where it has several) at the node `name`, and that node."""
    changed = ir.clone(model)
    node = next(node for node in changed.graph if node.name == name)
    if node.op_type in {"AscendQuant", "AscendAntiQuant"}:
        ir.set_attribute(node, "scale", scale)
        return changed, node
    value = node.inputs[1]
    array = np.array(ir.constant_of(value))
    array.flat[min(1, array.size - 1)] = dequant_param(np.array([scale]))[0] if node.op_type == "AscendDequant" else scale
    ir.replace_constant(value, array)
    return changed, node


@pytest.mark.parametrize("scale", [np.inf, np.nan, 0.0, -0.01])
@pytest.mark.parametrize("samples", [0, 2])
@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("ort", "conv.data0.quantizelinear"),
        ("ort", "conv.weight.dequantizelinear"),
        ("ascend", "conv.quant"),
        ("ascend", "act.anti_quant"),
        ("ascend", "conv.dequant"),
        ("generic", "conv.data0.quantizelinear"),
        ("generic", "conv.weight.dequantizelinear"),
    ],
)
def test_it_is_told_with_its_tensor(target: str, name: str, samples: int, scale: float) -> None:
    """Without samples nothing else would see it in the model for ONNX Runtime."""
    good = quantized(target)
    field = "fake_quant" if target == "generic" else "deploy"
    changed, node = with_scale(getattr(good.exports, field), name, scale)
    exports = replace(good.exports, **{field: changed})
    where = rf"{name} \({node.op_type} of tensor '{node.inputs[0].name}'\) in the {CALLED[target]}"
    with pytest.raises(VerificationError, match=rf"{where} has (the scale|scales\[1\]) {scale:g}"):
        check(replace(good, exports=exports), tuple(images(samples)), (), ONE_THREAD)
