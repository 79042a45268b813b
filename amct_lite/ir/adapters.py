"""Operators whose meaning or form changed between opsets, and how a node of the older form is rewritten.

ADAPTERS[op_type, opset] is called for a node older than that opset; it edits the node in place, which keeps its name
and the names of its results. What another opset merely adds needs no entry.
Source: the ONNX operator changelog; where it left the older meaning open, what ONNX Runtime computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from amct_lite.ir.adapting import NotAdaptable, Site
from amct_lite.ir.attributes import attribute, set_attribute
from amct_lite.ir.rewire import replace_input
from amct_lite.ir.shapes import dims_of

Adapter = Callable[[Site], None]
ADAPTERS: dict[tuple[str, int], Adapter] = {}


def _adapts(change: int, *op_types: str) -> Callable[[Adapter], Adapter]:
    def add(adapter: Adapter) -> Adapter:
        for op_type in op_types:
            ADAPTERS[op_type, change] = adapter
        return adapter

    return add


@_adapts(9, "BatchNormalization")
def _drop_spatial(site: Site) -> None:
    if site.take("spatial", 1) != 1:
        raise NotAdaptable("spatial=0 (statistics for each position) was removed in opset 9")


@_adapts(14, "BatchNormalization")
def _drop_training_outputs(site: Site) -> None:
    """The results beside the first changed their meaning; inference has no use for them."""
    if not all(site.unused(index) for index in range(1, len(site.node.outputs))):
        raise NotAdaptable("its statistics are read, which only training does")
    site.node.resize_outputs(1)


@_adapts(9, "Upsample")
def _scales_to_input(site: Site) -> None:
    site.add_input(1, "scales", np.asarray(site.take("scales"), dtype=np.float32))


@_adapts(11, "Upsample")
def _upsample_to_resize(site: Site) -> None:
    """Upsample scales up by integers or fractions, its nearest neighbour is the one below."""
    site.node.op_type = "Resize"
    _to_resize_11(site, nearest_mode="floor")


@_adapts(11, "Resize")
def _add_roi(site: Site) -> None:
    nearest_mode = "floor"
    if attribute(site.node, "mode", "nearest") == "nearest":
        scales = site.known(1)
        if scales is None:
            raise NotAdaptable("its scales are computed, and nearest neighbours are rounded by what they are")
        if (scales < 1).any():  # ONNX Runtime rounds up where it shrinks, which opset 10 left open
            nearest_mode = "ceil"
            if (scales > 1).any():
                raise NotAdaptable("it scales one axis up and another down, which opset 10 rounds differently")
    _to_resize_11(site, nearest_mode)


def _to_resize_11(site: Site, nearest_mode: str) -> None:
    scales = site.node.inputs[1]
    replace_input(site.node, 1, None)
    replace_input(site.node, 2, scales)
    set_attribute(site.node, "coordinate_transformation_mode", "asymmetric")
    if attribute(site.node, "mode", "nearest") == "nearest":
        set_attribute(site.node, "nearest_mode", nearest_mode)


@_adapts(10, "Slice")
def _slice_by_inputs(site: Site) -> None:
    for index, name in enumerate(("starts", "ends", "axes"), start=1):
        if (value := site.take(name)) is not None:
            site.add_input(index, name, np.asarray(value, dtype=np.int64))


@_adapts(10, "TopK")
def _k_to_input(site: Site) -> None:
    site.add_input(1, "k", np.array([site.take("k")], dtype=np.int64))


@_adapts(10, "Dropout")
def _refuse_mask(site: Site) -> None:
    if not site.unused(1):
        raise NotAdaptable("its mask is read, which has another type in opset 10")
    site.node.resize_outputs(1)


@_adapts(12, "Dropout")
def _drop_ratio(site: Site) -> None:
    """Only training drops anything; the ratio, an input now, may be left out."""
    site.take("ratio")


@_adapts(11, "Clip")
def _bounds_to_inputs(site: Site) -> None:
    for index, name in enumerate(("min", "max"), start=1):
        if (bound := site.take(name)) is not None:
            site.add_input(index, name, np.array(_within(bound, site), dtype=site.dtype()))


def _within(bound: float, site: Site) -> float:
    """Exporters write the largest float32 for "no bound"; in float16 that would be infinite, which is as good."""
    return bound if abs(bound) <= float(np.finfo(site.dtype()).max) else math.copysign(math.inf, bound)


@_adapts(11, "Pad")
def _pads_to_input(site: Site) -> None:
    site.add_input(1, "pads", np.asarray(site.take("pads"), dtype=np.int64))
    if (value := site.take("value")) is not None:
        site.add_input(2, "value", np.array(value, dtype=site.dtype()))


@_adapts(11, "Scatter")
def _scatter_elements(site: Site) -> None:
    site.node.op_type = "ScatterElements"


@_adapts(13, "Squeeze", "Unsqueeze", "ReduceSum")
@_adapts(
    18,
    "ReduceMax",
    "ReduceMin",
    "ReduceMean",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceSumSquare",
)
def _axes_to_input(site: Site) -> None:
    if (axes := site.take("axes")) is not None:
        site.add_input(1, "axes", np.asarray(axes, dtype=np.int64))


@_adapts(13, "Split")
def _split_to_input(site: Site) -> None:
    if (split := site.take("split")) is not None:
        site.add_input(1, "split", np.asarray(split, dtype=np.int64))


@_adapts(18, "Split")
def _count_outputs(site: Site) -> None:
    if len(site.node.inputs) < 2 or site.node.inputs[1] is None:
        set_attribute(site.node, "num_outputs", len(site.node.outputs))


@_adapts(13, "Softmax", "LogSoftmax", "Hardmax")
def _softmax_of_one_axis(site: Site) -> None:
    """Up to opset 12 all axes from `axis` on are normalised together; from 13 on, `axis` alone."""
    node = site.node
    axis = int(site.take("axis", 1))
    dims = None if node.inputs[0] is None else dims_of(node.inputs[0])
    if dims is not None:
        first = axis + len(dims) if axis < 0 else axis
        longer = [index for index in range(first, len(dims)) if dims[index] != 1]
        if len(longer) <= 1:
            set_attribute(node, "axis", longer[0] if longer else first)
            return
    source = node.inputs[0]
    shape = site.before("Shape", [source])
    replace_input(node, 0, site.before("Flatten", [source], axis=axis))
    set_attribute(node, "axis", -1)
    site.finish_with("Reshape", shape)


@_adapts(16, "RoiAlign")
def _keep_output_half_pixel(site: Site) -> None:
    set_attribute(site.node, "coordinate_transformation_mode", "output_half_pixel")


@_adapts(20, "GridSample")
def _rename_modes(site: Site) -> None:
    mode = site.take("mode", "bilinear")
    set_attribute(site.node, "mode", {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode))


@_adapts(21, "GroupNormalization")
def _refuse_group_scale(site: Site) -> None:
    raise NotAdaptable("its scale and bias are given for each group, opset 21 wants them for each channel")
