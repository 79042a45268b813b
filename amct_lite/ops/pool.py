"""AveragePool: no weight; the average of integer codes is taken in float32, its weight scale counts as 1."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.ops.base import OPS, Layer, OpSpec, constant_data


def _bind(node: ir.Node) -> Layer | str:
    if constant_data(node):
        return "its data input is a constant"
    return "ONNX Runtime has no integer kernel for dilated means" if dilated(node) else Layer(node)


def dilated(node: ir.Node) -> bool:
    """Whether `node` is an AveragePool whose windows have gaps. ONNX Runtime (1.31) makes an integer kernel of it, which knows
    of none, and then refuses the model."""
    steps: list[int] = ir.attribute(node, "dilations", [])
    return node.op_type == "AveragePool" and any(step != 1 for step in steps)


def _integer_form(b: Inserter, node: ir.Node, codes: ir.Value, zero_point: int, _weight: ir.Value | None) -> ir.Value:
    centred = b.op("Sub", b.cast(codes, ir.DataType.FLOAT), b.constant(zero_point, np.float32))
    return b.op("AveragePool", centred, **{name: ir.attribute(node, name, None) for name in node.attributes})


def _ascend(layer: Layer) -> str | None:
    rank = 2 + len(ir.attribute(layer.node, "kernel_shape", []))
    return None if rank == 4 else f"ATC takes AveragePool with 4-D input only, this one has {rank}-D"


OPS.register("AveragePool")(
    OpSpec("AveragePool", bind=_bind, integer_form=_integer_form, ascend=_ascend, per_channel_on_ascend=False)
)
