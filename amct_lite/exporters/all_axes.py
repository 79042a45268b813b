"""A Resize or Pad that names some axes, told for all of them.

Where ONNX Runtime (1.31) puts channels behind pixels for the sake of integer kernels, it takes what is told of some axes for
what is told of all, and then refuses its own node.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amct_lite import ir
from amct_lite.ir.build import Inserter
from amct_lite.types import AnyArray

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
    told = resize.inputs[place]
    proportional = ir.attribute(resize, "keep_aspect_ratio_policy", "stretch") != "stretch"
    cropped = ir.attribute(resize, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if axes is None or dims is None or told is None or proportional or cropped:
        return
    b = Inserter(resize, f"{resize.name}.axes")
    if place == _SCALES:
        kept: AnyArray | ir.Value = np.ones(len(dims), np.float32)
    elif sizes is not None:
        kept = np.array(sizes, np.int64)
    else:
        kept = b.op("Shape", source)
    ir.replace_input(resize, place, _replaced(b, kept, [axis % len(dims) for axis in axes], told))
    resize.attributes.pop("axes")


def _pad(pad: ir.Node) -> None:
    """Let `pad` add nothing along the axes that it does not name."""
    axes, dims = ir.constant_of(pad.inputs[3]) if len(pad.inputs) > 3 else None, ir.dims_of(pad.outputs[0])
    if axes is None or dims is None or pad.inputs[1] is None:
        return
    rank = len(dims)
    named = axes % rank
    b = Inserter(pad, f"{pad.name}.axes")
    none = np.zeros(2 * rank, np.int64)
    ir.replace_input(pad, 1, _replaced(b, none, [*named.tolist(), *(named + rank).tolist()], pad.inputs[1]))
    pad.resize_inputs(3)


def _replaced(b: Inserter, kept: AnyArray | ir.Value, places: Sequence[int], told: ir.Value) -> ir.Value:
    """`kept`, but in `places`, where the numbers of `told` stand."""
    numbers = ir.constant_of(told)
    if numbers is None or isinstance(kept, ir.Value):
        before = kept if isinstance(kept, ir.Value) else b.constant(kept)
        return b.op("ScatterElements", before, b.constant(places, np.int64), told)
    all_told = kept.copy()
    all_told[places] = numbers
    return b.constant(all_told)
