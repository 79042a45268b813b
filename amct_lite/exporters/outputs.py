"""Outputs of a model that are integer codes: the QuantizeLinear that makes them becomes an AscendQuant of the deploy model."""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.errors import ExportError

_CODE_TYPES = frozenset({ir.DataType.INT8, ir.DataType.INT16})


def quantize_outputs(model: ir.Model) -> None:
    """Replace, in place, each QuantizeLinear whose codes are an output of `model` by `<its name>.quant`.

    Raises ExportError for codes that an AscendQuant does not make: not int8 or int16, or of a scale for each channel.
    """
    for node in tuple(model.graph):
        if node.op_type == "QuantizeLinear" and not node.domain and node.outputs[0].is_graph_output():
            _replace(node)


def _replace(node: ir.Node) -> None:
    codes = node.outputs[0]
    scale = ir.constant_of(node.inputs[1])
    zero_point = ir.constant_of(node.inputs[2] if len(node.inputs) > 2 else None)
    dtype = None if zero_point is None else ir.DataType.from_numpy(zero_point.dtype)
    if scale is None or scale.size != 1 or zero_point is None or dtype not in _CODE_TYPES:
        kind = (
            "a scale that is computed" if scale is None else "no int8 or int16 zero point" if scale.size == 1 else "many scales"
        )
        raise ExportError(
            f"output {codes.name!r} holds codes that {node.name} makes with {kind}; the NPU makes int8 or int16 codes of one "
            f"scale. End the model with float values there."
        )
    quant = ir.new_node(
        "AscendQuant",
        [node.inputs[0]],
        name=f"{node.name}.quant",
        attributes={
            "scale": float(np.float32(1.0) / scale.reshape(-1)[0]),
            "offset": float(zero_point.reshape(-1)[0]),
            "dst_type": dtype.name,
        },
    )
    ir.insert_before(node, quant)
    quant.outputs[0].type = ir.TensorType(dtype)
    ir.replace_node(node, quant.outputs[0])
