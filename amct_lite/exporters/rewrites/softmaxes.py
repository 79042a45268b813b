"""A Softmax between two pairs is no integer kernel."""

from __future__ import annotations

from amct_lite import ir
from amct_lite.exporters.pairs import is_rounded
from amct_lite.ir.build import Inserter


def read_floats(softmax: ir.Node) -> None:
    """`softmax` of codes that is rounded again reads them as (code - zero point) · scale, spelled out: of the two pairs around
    it ONNX Runtime makes a QLinearSoftmax, which takes the largest whole number in 1 / scale for that, and so loses a step."""
    dequantize = ir.producer_of(softmax.inputs[0])
    if dequantize is None or dequantize.op_type != "DequantizeLinear" or not is_rounded(softmax.outputs[0]):
        return
    codes, step, zero = dequantize.inputs[0], *map(ir.constant_of, dequantize.inputs[1:3])
    if codes is None or step is None or zero is None:
        return
    b = Inserter(softmax, f"{softmax.name}.data0")
    centred = b.op("Sub", b.cast(codes, ir.DataType.FLOAT), b.constant(zero, "float32"))
    ir.replace_input(softmax, 0, b.op("Mul", centred, b.constant(step)))
