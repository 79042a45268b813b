"""The arithmetic of quantized layers in plain numpy integers, written from the ONNX operator texts alone.

Data come as centred codes (code minus zero point), int64; padding is therefore 0. Nothing of the product is used.
"""

from itertools import product

import numpy as np


def codes_of(x, scale, zero_point, bits=8):
    """As QuantizeLinear: float32 division, half to even, then the zero point."""
    half = 2 ** (bits - 1)
    return np.clip(np.rint(x / np.float32(scale)) + zero_point, -half, half - 1).astype(np.int64)


def device_codes_of(x, scale, zero_point, bits=8):
    """As the NPU: float32 multiplication by the float32 reciprocal."""
    half = 2 ** (bits - 1)
    reciprocal = np.float32(1) / np.float32(scale)
    return np.clip(np.rint(x * reciprocal) + np.float32(zero_point), -half, half - 1).astype(np.int64)


def weight_codes(weight, scales, axis, group=1, bits=8):
    """Codes of so many bits in the weight's layout; `scales` (1,) or one an output channel (axis 1 holds one group's only)."""
    scales, half = np.asarray(scales, np.float32), 2 ** (bits - 1)
    if scales.size == 1:
        return np.clip(np.rint(weight / scales), -half, half - 1).astype(np.int64)
    codes = np.empty(weight.shape, np.int64)
    each = weight.shape[0] // group if axis == 1 and group > 1 else weight.shape[0]
    for index in np.ndindex(weight.shape):
        channel = index[axis]
        if axis == 1 and group > 1:
            channel += index[0] // each * weight.shape[1]
        codes[index] = np.clip(np.rint(weight[index] / scales[channel]), -half, half - 1)
    return codes


def conv(x, w, *, strides=None, pads=None, dilations=None, group=1, same_upper=False):
    rank = w.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    pads = pads or [0] * 2 * rank
    if same_upper:
        totals = [
            max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            for n, s, d, k in zip(x.shape[2:], strides, dilations, w.shape[2:], strict=True)
        ]
        pads = [t // 2 for t in totals] + [t - t // 2 for t in totals]
    x = np.pad(x, [(0, 0), (0, 0), *((pads[i], pads[i + rank]) for i in range(rank))])
    out = [(n - d * (k - 1) - 1) // s + 1 for n, d, k, s in zip(x.shape[2:], dilations, w.shape[2:], strides, strict=True)]
    result = np.zeros((x.shape[0], w.shape[0], *out), np.result_type(x, w))
    cin, cout = w.shape[1], w.shape[0] // group
    for g, at in product(range(group), np.ndindex(w.shape[2:])):
        window = tuple(slice(a * d, a * d + s * o, s) for a, d, s, o in zip(at, dilations, strides, out, strict=True))
        part = x[(slice(None), slice(g * cin, (g + 1) * cin), *window)]
        rows = slice(g * cout, (g + 1) * cout)
        result[:, rows] += np.einsum("ni...,oi->no...", part, w[(rows, slice(None), *at)])
    return result


def conv_transpose(x, w, *, strides=None, pads=None, dilations=None, group=1, output_padding=None):
    rank = w.ndim - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    pads, extra = pads or [0] * 2 * rank, output_padding or [0] * rank
    full = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(x.shape[2:], strides, dilations, w.shape[2:], extra, strict=True)
    ]
    result = np.zeros((x.shape[0], w.shape[1] * group, *full), np.result_type(x, w))
    cin, cout = w.shape[0] // group, w.shape[1]
    for g, at in product(range(group), np.ndindex(w.shape[2:])):
        window = tuple(
            slice(a * d, a * d + s * (n - 1) + 1, s) for a, d, s, n in zip(at, dilations, strides, x.shape[2:], strict=True)
        )
        rows = slice(g * cin, (g + 1) * cin)
        part = np.einsum("ni...,io->no...", x[:, rows], w[(rows, slice(None), *at)])
        result[(slice(None), slice(g * cout, (g + 1) * cout), *window)] += part
    cropped = tuple(slice(pads[i], full[i] - pads[i + rank]) for i in range(rank))
    return result[(slice(None), slice(None), *cropped)]


def average_pool(x, kernel, *, strides=None, pads=None, count_include_pad=0):
    """float64: sums are integers, the quotient is not."""
    rank = len(kernel)
    strides, pads = strides or [1] * rank, pads or [0] * 2 * rank
    widths = [(0, 0), (0, 0), *((pads[i], pads[i + rank]) for i in range(rank))]
    inside = np.pad(np.ones_like(x), widths, constant_values=count_include_pad)
    x = np.pad(x, widths)
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, strides, strict=True)]
    total, count = np.zeros((*x.shape[:2], *out)), np.zeros((*x.shape[:2], *out))
    for at in np.ndindex(*kernel):
        window = (slice(None), slice(None), *(slice(a, a + s * o, s) for a, s, o in zip(at, strides, out, strict=True)))
        total += x[window]
        count += inside[window]
    return total / count
