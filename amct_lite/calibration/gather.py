"""From the outputs of the bypass nodes to sketches, beside the run: a thread observes one group of batches while ONNX
Runtime computes the next.

A few batches are observed together, because a sketch has a fixed cost per call; what waits is bounded by its size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from types import TracebackType

import numpy as np

from amct_lite.calibration.nodes import OUTPUTS, Tap
from amct_lite.calibration.store import Sketches
from amct_lite.errors import CalibrationError, NumericsError
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.types import AnyArray

_WAITING_VALUES = 8 << 20
"""32 MB of float32 wait at most, and as much again is being observed."""
_WAITING_BATCHES = 16


class Gatherer:
    """Collects the sketches of `taps`; used as a context, at whose end all that was added has been observed.

    onto: sketches of so many earlier `samples`, which are changed in place.
    Raises CalibrationError that names tensor and sample when a value is NaN or infinite, at a later `add` or at the end.
    """

    def __init__(self, taps: Sequence[Tap], *, onto: Sketches | None = None, samples: int = 0) -> None:
        self._taps = tuple(taps)
        self.sketches: Sketches = onto or {(tap.tensor, tap.channel_axis): Sketch(tap.channels) for tap in taps}
        self.samples = samples
        self._waiting: list[tuple[int, list[Observation]]] = []
        self._size = 0
        self._joining = np.empty(0, dtype=np.float32)
        self._worker = ThreadPoolExecutor(max_workers=1)
        self._running: Future[None] | None = None

    def __enter__(self) -> Gatherer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            self._worker.shutdown(cancel_futures=True)

    def add(self, results: Sequence[AnyArray], samples: int) -> None:
        """The outputs of all bypass nodes for one batch of `samples`; the arrays must not change afterwards."""
        width = len(OUTPUTS)
        seen = [_per_sample(results[i * width : (i + 1) * width], samples) for i in range(len(self._taps))]
        self._waiting.append((self.samples, seen))
        self.samples += samples
        self._size += sum(observation.values.size for observation in seen)
        if self._size >= _WAITING_VALUES or len(self._waiting) >= _WAITING_BATCHES:
            self._hand_over()

    def settle(self) -> Sketches:
        """The sketches once all that was added has been observed; `add` goes on changing them."""
        self._hand_over()
        self._join()
        return self.sketches

    def _hand_over(self) -> None:
        self._join()
        waiting, self._waiting, self._size = self._waiting, [], 0
        self._running = self._worker.submit(self._observe, waiting)

    def _join(self) -> None:
        if self._running is not None:
            self._running.result()

    def _observe(self, batches: list[tuple[int, list[Observation]]]) -> None:
        for number, tap in enumerate(self._taps):
            sketch = self.sketches[tap.tensor, tap.channel_axis]
            for first, observation in self._together([(start, seen[number]) for start, seen in batches]):
                try:
                    sketch.observe(observation, first)
                except NumericsError as error:
                    raise CalibrationError(f"tensor {tap.tensor!r}: {error}") from error

    def _together(self, observations: list[tuple[int, Observation]]) -> Iterator[tuple[int, Observation]]:
        """Consecutive observations of one shape joined along the samples, each with the number of its first sample; good
        until the next one."""
        for _, group in groupby(observations, key=lambda item: (item[1].count, item[1].values.shape[1])):
            members = list(group)
            parts = [observation for _, observation in members]
            yield members[0][0], parts[0] if len(parts) == 1 else self._joined(parts)

    def _joined(self, parts: list[Observation]) -> Observation:
        """One observation of all samples; its values lie in a buffer that is used again, for fresh memory costs more than the
        copy."""
        samples, seen = sum(len(part.values) for part in parts), parts[0].values.shape[1]
        if self._joining.size < samples * seen:
            self._joining = np.empty(samples * seen, dtype=np.float32)
        values = self._joining[: samples * seen].reshape(samples, seen)
        return Observation(
            np.concatenate([part.values for part in parts], out=values),
            parts[0].count,
            np.concatenate([part.low for part in parts]),
            np.concatenate([part.high for part in parts]),
            np.concatenate([part.mean for part in parts]),
        )


def _per_sample(results: Sequence[AnyArray], samples: int) -> Observation:
    """Rows of the leading axis grouped into samples: row-major tensors keep a sample's rows together."""
    values, low, high, mean, count = results
    rows = low.shape[0]
    samples = samples if rows % samples == 0 else 1
    each = rows // samples
    if each == 1:
        return Observation(values, int(count) // rows, low, high, mean)
    channels = low.shape[1]
    return Observation(
        values.reshape(samples, -1),
        int(count) // samples,
        low.reshape(samples, each, channels).min(axis=1),
        high.reshape(samples, each, channels).max(axis=1),
        mean.reshape(samples, each, channels).mean(axis=1, dtype=np.float32),
    )
