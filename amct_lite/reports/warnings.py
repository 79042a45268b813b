"""What the user must know before trusting a result, each as one sentence that names the place and the remedy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from amct_lite import ir
from amct_lite.analysis.local_error import LocalError
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers, quantized_weight
from amct_lite.numerics.sketch import Outlier
from amct_lite.types import FloatArray, QuantRecord

POOR_SQNR_DB = 20.0
"""A layer whose own output falls below this keeps about three of its eight bits."""
LOST_CHANNEL_DB = 10.0
"""A channel below this has lost its shape: its weights round to a handful of levels, or to nothing."""
LOST_SHARE = 0.25


def outlier_warnings(outliers: Mapping[str, tuple[Outlier, ...]]) -> list[str]:
    """One sentence a wild sample, however many tensors it stands out in."""
    worst: dict[int, tuple[float, str]] = {}
    tensors: dict[int, int] = {}
    for tensor, found in outliers.items():
        for outlier in found:
            ratio = outlier.magnitude / outlier.typical if outlier.typical else float("inf")
            tensors[outlier.sample] = tensors.get(outlier.sample, 0) + 1
            worst[outlier.sample] = max(worst.get(outlier.sample, (0.0, "")), (ratio, tensor))
    return [
        f"sample {sample} is {ratio:.3g} times larger than the typical one (tensor {tensor!r}, "
        f"{tensors[sample]} tensors in all). It was left out of their ranges; look at it, or take it in with --trust-data."
        for sample, (ratio, tensor) in sorted(worst.items())
    ]


def local_warnings(local: Mapping[str, LocalError]) -> list[str]:
    """Layers whose own output suffers, worst first."""
    poor = sorted((error.sqnr_db, name) for name, error in local.items() if error.sqnr_db < POOR_SQNR_DB)
    return [
        f"{name}: quantization alone leaves its output {sqnr:.1f} dB above the noise. "
        f"Keep it in float (--skip {name}), or try other weights (--weight-algo mse) or ranges (--algo mse)."
        for sqnr, name in poor
    ]


def weight_warnings(model: ir.Model, record: QuantRecord) -> list[str]:
    """Layers of which one weight scale for all channels ruins many: seen in the weights alone."""
    warnings = []
    for item in quantized_layers(model, record):
        if item.layer.weight is None:
            continue
        sqnr, alive = channel_sqnr_db(item)
        lost = int(np.count_nonzero((sqnr < LOST_CHANNEL_DB) & alive))
        if lost and lost >= LOST_SHARE * np.count_nonzero(alive):
            remedy = "use a scale a channel (--channel-wise all)" if item.weight.per_tensor else "skip it"
            warnings.append(
                f"{item.layer.name} ({item.layer.op_type}): {lost} of {int(np.count_nonzero(alive))} output channels lose "
                f"their weights to rounding (below {LOST_CHANNEL_DB:.0f} dB). Accuracy will suffer; {remedy}."
            )
    return warnings


def channel_sqnr_db(item: QuantizedLayer) -> tuple[FloatArray, np.ndarray]:
    """((Cout,) dB of each output channel's weights over their rounding error, (Cout,) whether it has any weight)."""
    rows = item.layer.rows(item.layer.weight_array).astype(np.float64)
    codes = item.layer.rows(quantized_weight(item)).astype(np.float64)
    signal = (rows**2).sum(axis=1)
    noise = ((codes * item.weight.scales.astype(np.float64)[:, None] - rows) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        decibels = 10 * np.log10(signal / noise)
    return np.where(noise == 0, np.inf, decibels).astype(np.float32), signal > 0
