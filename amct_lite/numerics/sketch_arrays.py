"""Strata as a handful of plain numeric arrays, for a file, and back. The layout is this module's own business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amct_lite.errors import CalibrationError
from amct_lite.numerics.stratum import BINS, EXACT_VALUES, Stratum
from amct_lite.types import AnyArray


def strata_to_arrays(strata: Sequence[Stratum], channels: int) -> dict[str, AnyArray]:
    """S strata of C channels: `(S,)` numbers, `(S, C)` channel statistics, `(folded, BINS)` histograms, exact values
    in a row.
    """
    exact = [stratum.exact() for stratum in strata]
    histograms = [stratum.histogram for stratum in strata if stratum.histogram is not None]
    per_channel = (len(strata), channels)
    return {
        "channels": np.array(channels, dtype=np.int64),
        "exponent": np.array([s.exponent for s in strata], dtype=np.int64),
        "samples": np.array([s.samples for s in strata], dtype=np.int64),
        "count": np.array([s.count for s in strata], dtype=np.int64),
        "observed": np.array([s.observed for s in strata], dtype=np.int64),
        "folded": np.array([s.histogram is not None for s in strata], dtype=np.bool_),
        "channel_low": _positive_zero(np.array([s.channel_low for s in strata], dtype=np.float32)).reshape(per_channel),
        "channel_high": _positive_zero(np.array([s.channel_high for s in strata], dtype=np.float32)).reshape(per_channel),
        "channel_sum": np.array([s.channel_sum for s in strata], dtype=np.int64).reshape(per_channel),
        "channel_carry": np.array([s.channel_carry for s in strata], dtype=np.int64).reshape(per_channel),
        "histogram": np.array(histograms, dtype=np.int64).reshape(len(histograms), BINS),
        "values": np.concatenate([np.zeros(0, dtype=np.float32), *(values for values, _ in exact)]),
        "weights": np.concatenate([np.zeros(0, dtype=np.int64), *(weights for _, weights in exact)]),
    }


def _positive_zero(array: AnyArray) -> AnyArray:
    """-0.0 as 0.0: which of the two an extreme is depends on the order of the samples."""
    return array + np.float32(0)


def strata_from_arrays(arrays: Mapping[str, AnyArray]) -> list[Stratum]:
    """The inverse; every array is copied. Raises CalibrationError if the arrays do not fit each other."""
    try:
        return _read(arrays)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise CalibrationError(f"the saved statistics are damaged: {error}. Calibrate again.") from error


def _read(arrays: Mapping[str, AnyArray]) -> list[Stratum]:
    _check_shapes(arrays)
    folded = arrays["folded"].astype(np.bool_)
    observed = arrays["observed"].astype(np.int64)
    stops = np.cumsum(np.where(folded, 0, observed))
    histograms = iter(arrays["histogram"].astype(np.int64))
    strata = []
    for row in range(folded.size):
        kept = slice(int(stops[row] - observed[row]), int(stops[row]))
        strata.append(
            Stratum(
                exponent=int(arrays["exponent"][row]),
                channel_low=arrays["channel_low"][row].astype(np.float32),
                channel_high=arrays["channel_high"][row].astype(np.float32),
                channel_sum=arrays["channel_sum"][row].astype(np.int64),
                channel_carry=arrays["channel_carry"][row].astype(np.int64),
                samples=int(arrays["samples"][row]),
                count=int(arrays["count"][row]),
                observed=int(observed[row]),
                values=[] if folded[row] else [arrays["values"][kept].astype(np.float32)],
                weights=[] if folded[row] else [arrays["weights"][kept].astype(np.int64)],
                histogram=next(histograms).copy() if folded[row] else None,
                in_order=bool(folded[row]),
            )
        )
    return strata


def _check_shapes(arrays: Mapping[str, AnyArray]) -> None:
    folded, observed = arrays["folded"], arrays["observed"]
    strata, channels = folded.size, int(arrays["channels"])
    exact = int(np.where(folded, 0, observed).sum())
    expected: dict[str, tuple[int, ...]] = {
        **dict.fromkeys(("exponent", "samples", "count", "observed"), (strata,)),
        **dict.fromkeys(("channel_low", "channel_high", "channel_sum", "channel_carry"), (strata, channels)),
        "histogram": (int(folded.sum()), BINS),
        "values": (exact,),
        "weights": (exact,),
    }
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, not {shape}")
    if (observed < 0).any() or (observed[~folded.astype(np.bool_)] > EXACT_VALUES).any():
        raise ValueError("observed is out of range")
