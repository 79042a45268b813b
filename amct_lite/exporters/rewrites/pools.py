"""A MaxPool of codes, with the channels last.

So ONNX Runtime computes it by itself behind an integer convolution. Elsewhere, as behind a first layer that stays in float, it
has them first, which takes 2 to 30 times as long as with the turns in front and behind (`tools/bench/kernels.py pools`).
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.exporters.pairs import grid_of, is_dequantized, is_wide, quantizer_behind, replace_codes
from amct_lite.exporters.rewrites.contrib import DOMAIN, import_domain
from amct_lite.exporters.rewrites.layout import channels_first, channels_last, is_computed_last
from amct_lite.flow.kernels import KERNELS
from amct_lite.ir.build import Inserter

_WINDOW = ("auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "strides")


def pool_last(pool: ir.Node) -> None:
    """Where no integer convolution writes what `pool` reads."""
    made, behind = ir.producer_of(pool.inputs[0]), quantizer_behind(pool)
    if made is None or behind is None or not is_dequantized(pool.inputs[0]) or not KERNELS["MaxPool"].taken(pool):
        return
    if grid_of(made) is None or grid_of(made) != grid_of(behind) or is_wide(behind) or is_computed_last(pool.inputs[0]):
        return
    rank = len(ir.attribute(pool, "kernel_shape", [])) + 2
    import_domain(ir.graph_of(pool))
    b = Inserter(pool, f"{pool.name}.codes")
    window = {name: ir.attribute(pool, name, None) for name in _WINDOW}
    pooled = b.op("NhwcMaxPool", channels_last(b, made.inputs[0], rank), domain=DOMAIN, **window)
    replace_codes(behind, channels_first(b, pooled, rank))
