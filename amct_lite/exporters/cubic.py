"""A cubic Resize that sees channels in front of pixels.

Where ONNX Runtime (1.31) puts channels behind pixels for the sake of integer kernels, it takes a Resize between them along; but
its cubic kernel makes no image smaller there, and the model fails when it runs. Past a SpaceToDepth it takes nothing, and of
blocks of one pixel it does not know that they change nothing, as it does of a Reshape or Tile.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.ir.build import Inserter


def keep_channels_first(model: ir.Model) -> None:
    """Of each cubic Resize of images, in place. `model`: its pairs are written, which must stand right behind who computes."""
    for node in tuple(model.graph):
        if node.op_type == "Resize" and not node.domain and ir.attribute(node, "mode", "nearest") == "cubic":
            _keep(node)


def _keep(resize: ir.Node) -> None:
    dims = ir.dims_of(resize.outputs[0])
    if dims is not None and len(dims) == len(("N", "C", "H", "W")):
        b = Inserter(resize, f"{resize.name}.kept")
        ir.replace_input(resize, 0, b.op("SpaceToDepth", resize.inputs[0], blocksize=1))
