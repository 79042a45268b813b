"""A Resize or Pad that names some axes, told for all of them.

Where ONNX Runtime (1.31) puts channels behind pixels for the sake of integer kernels, it takes what is told of some axes for
what is told of all, and then refuses its own node.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter

_SCALES = 2
"""Their place among the inputs of a Resize; sizes come behind them."""


def name_all_axes(model: ir.Model) -> None:
    """In place."""
    for node in tuple(model.graph):
        if node.op_type == "Resize" and not node.domain:
            _resize(node)
        elif node.op_type == "Pad" and not node.domain:
            _pad(node)


def _resize(resize: ir.Node) -> None:
    """Let `resize` keep the size of the axes that it does not name."""
    source, place = resize.inputs[0], len(resize.inputs) - 1
    axes, dims, sizes = ir.attribute(resize, "axes", None), ir.dims_of(source), ir.sizes_of(source)
    told = ir.constant_of(resize.inputs[place])
    proportional = ir.attribute(resize, "keep_aspect_ratio_policy", "stretch") != "stretch"
    cropped = ir.attribute(resize, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if axes is None or dims is None or told is None or proportional or cropped:
        return
    named = [axis % len(dims) for axis in axes]
    b = Inserter(resize, f"{resize.name}.axes")
    if place == _SCALES or sizes is not None:
        each = np.ones(len(dims), told.dtype) if place == _SCALES else np.array(sizes, told.dtype)
        each[named] = told
        all_told = b.constant(each)
    else:
        all_told = b.op("ScatterElements", b.op("Shape", source), b.constant(named, np.int64), b.constant(told))
    ir.replace_input(resize, place, all_told)
    resize.attributes.pop("axes")


def _pad(pad: ir.Node) -> None:
    """Let `pad` add nothing along the axes that it does not name."""
    widths, axes = (ir.constant_of(pad.inputs[index]) if index < len(pad.inputs) else None for index in (1, 3))
    dims = ir.dims_of(pad.outputs[0])
    if widths is None or axes is None or dims is None:
        return
    whole = np.zeros((2, len(dims)), np.int64)
    whole[:, axes] = widths.reshape(2, -1)
    ir.replace_input(pad, 1, Inserter(pad, f"{pad.name}.axes").constant(whole.reshape(-1)))
    pad.resize_inputs(3)
