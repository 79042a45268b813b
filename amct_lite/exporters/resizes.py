"""A Resize that sees channels in front of pixels, where ONNX Runtime (1.31) gets it wrong otherwise.

Where it puts channels behind pixels for the sake of integer kernels, it takes a Resize between them along. But its cubic kernel
makes no image smaller there, and what is told of some axes is taken for what is told of all: the model fails when it is loaded
or runs. Past a SpaceToDepth it takes nothing, and of blocks of one pixel it does not know that they change nothing, as it does
of a Reshape or Tile.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.ir.build import Inserter


def keep_channels_first(model: ir.Model) -> None:
    """Of each such Resize of images, in place. `model`: its pairs are written, which must stand right behind who computes."""
    for node in tuple(model.graph):
        if node.op_type == "Resize" and not node.domain and _goes_wrong(node):
            _keep(node)


def _goes_wrong(resize: ir.Node) -> bool:
    return ir.attribute(resize, "mode", "nearest") == "cubic" or "axes" in resize.attributes


def _keep(resize: ir.Node) -> None:
    dims = ir.dims_of(resize.outputs[0])
    if dims is not None and len(dims) == 4:
        b = Inserter(resize, f"{resize.name}.kept")
        ir.replace_input(resize, 0, b.op("SpaceToDepth", resize.inputs[0], blocksize=1))
