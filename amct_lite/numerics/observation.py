"""What is seen of one activation tensor in one batch, before it enters a sketch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amct_lite.errors import NumericsError
from amct_lite.types import AnyArray, FloatArray


@dataclass(frozen=True)
class Observation:
    """N samples of one tensor.

    values : (N, m) float32, all or an even choice of each sample's values, 0 < m <= count (m = 0 when count = 0)
    count : the true number of values of a sample, a multiple of the number of channels C
    low, high, mean : (N, C) float32, per sample and channel, of all the values

    The arrays belong to the caller; a sketch copies what it keeps.
    """

    values: FloatArray
    count: int
    low: FloatArray
    high: FloatArray
    mean: FloatArray

    @staticmethod
    def of(array: AnyArray, channel_axis: int | None) -> Observation:
        """All values of `array` (N, …); channel_axis: an axis of `array` after the first, None for one channel."""
        samples = array.shape[0]
        full = np.ascontiguousarray(array, dtype=np.float32)
        count = full.size // samples if samples else 0
        if channel_axis is None or array.ndim < 2:
            by_channel = full.reshape(samples, 1, count)
        else:
            channels = array.shape[channel_axis]
            by_channel = np.moveaxis(full, channel_axis, 1).reshape(samples, channels, count // max(channels, 1))
        values = full.reshape(samples, count)
        if count == 0:
            nothing = np.zeros(by_channel.shape[:2], dtype=np.float32)
            return Observation(values, 0, nothing, nothing, nothing)
        # NaN and infinity go on into the statistics, where the sketch names the sample; no warning is needed here.
        with np.errstate(invalid="ignore"):
            mean = by_channel.mean(axis=2, dtype=np.float64).astype(np.float32)
            return Observation(values, count, by_channel.min(axis=2), by_channel.max(axis=2), mean)

    def check(self, first_sample: int) -> None:
        """Raises NumericsError that names the first sample with a NaN or an infinite value.

        All three statistics are looked at: a maximum computed elsewhere may hide a NaN, a mean of all values may not.
        """
        parts = (self.low, self.high, self.mean)
        if all(np.isfinite(part).all() for part in parts):
            return
        for row in range(self.low.shape[0]):
            rows = [part[row] for part in parts]
            if all(np.isfinite(part).all() for part in rows):
                continue
            # Infinities first: the mean of both is NaN.
            what = "infinite values" if any(np.isinf(part).any() for part in rows) else "NaN"
            raise NumericsError(
                f"sample {first_sample + row} has {what}: no range can be decided from it. "
                "Check this sample and its preprocessing, or leave it out. Where the network makes them of any sample, as with "
                "a mask of minus infinity, keep the nodes that read the tensor in float (--skip, or without --tensor)."
            )
