"""A gate, one value for each channel of an image (squeeze and excitation), written out for its pixels where that is faster.

Channels last, as it stands between convolutions, ONNX Runtime multiplies the image by it pixel by pixel: a call of the kernel
for each, and all in one thread. Codes that stand once for every pixel of a row make a call of each row; codes for all pixels,
one that threads share. They are copied, so no value changes. Only sizes that are known tell what pays.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.exporters.pairs import grid_of, is_dequantized, is_rounded
from amct_lite.exporters.rewrites.layout import channels_first, channels_last, is_computed_last
from amct_lite.ir.build import Inserter

_PIXELS = 20 * 20
"""An image of so many pixels takes less time row by row. (`tools/bench/kernels.py gates`, ONNX Runtime 1.31 on x86, 1 and 2
threads, shares of the time pixel by pixel: 7x7 1.05, 14x14 0.97 to 1, 20x20 0.75 to 0.97, 28x28 0.5 to 0.95, 56x56 0.25 to
0.92; least where pixels have few channels, or no multiple of 16.)"""
_CODES = 160_000
"""One of so many codes takes less in one piece, if there are threads: with two 0.65 to 0.85 of the time row by row, 0.35 to
0.82 of that pixel by pixel. ONNX Runtime takes no second thread for fewer. (On a single one, pixels of 32 channels gain as
much by either, and those of a hundred and more lose up to 11 %, since copying costs more than the calls.)"""


def spread_gate(product: ir.Node) -> None:
    """`product`: a Mul, in a model all of whose pairs are written."""
    if not is_rounded(product.outputs[0]) or not all(is_dequantized(value) for value in product.inputs):
        return
    for index, (gate, image) in enumerate((product.inputs, product.inputs[::-1])):
        assert gate is not None
        assert image is not None
        dequantize, times = gate.producer(), _times(gate, image)
        if times is not None and grid_of(dequantize) is not None and is_computed_last(image):
            assert dequantize is not None
            b = Inserter(product, f"{product.name}.gate")
            pixel = channels_last(b, dequantize.inputs[0])
            pixels = channels_first(b, b.op("Expand", pixel, b.constant(times, np.int64)))
            ir.replace_input(product, index, b.op("DequantizeLinear", pixels, *dequantize.inputs[1:]))


def _times(gate: ir.Value, image: ir.Value) -> list[int] | None:
    """How many times the codes of `gate` are to stand along each axis, channels last; None where once is best."""
    sizes = ir.sizes_of(image, 1)
    if sizes is None or len(sizes) != 3 or ir.sizes_of(gate, 1) != (sizes[0], 1, 1):
        return None
    channels, height, width = sizes
    if channels * height * width >= _CODES:
        return [1, height, width, 1]
    return [1, 1, width, 1] if height * width >= _PIXELS else None
