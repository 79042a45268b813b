"""Batches of a measurement shared among workers, each with sessions of its own; what comes back is that of one process."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from amct_lite import ir
from amct_lite.analysis.figures import MetricFunction
from amct_lite.analysis.network_error import Measured, NetworkError
from amct_lite.analysis.variants import Variant
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds
from amct_lite.workers import Task, Workers, map_shards, require_picklable


@dataclass(frozen=True)
class Measuring:
    """What a `NetworkError` is made of, as it travels."""

    model: ir.Sent
    variants: tuple[Variant, ...]
    metric: MetricFunction | None
    options: RuntimeOptions

    @staticmethod
    @contextmanager
    def of(
        model: ir.Model,
        variants: Sequence[Variant],
        metric: MetricFunction | None,
        options: RuntimeOptions,
        workers: Workers,
    ) -> Iterator[Measuring]:
        """Inside of the context, a worker finds the model. Raises ConfigError for a metric that cannot travel."""
        require_picklable(metric, "the metric")
        with ir.packed(model, same_files=workers.same_files) as sent:
            yield Measuring(sent, tuple(variants), metric, options)

    def opened(self) -> NetworkError:
        """Raises CalibrationError where the path is not seen."""
        return NetworkError(ir.unpacked(self.model), self.variants, self.metric, self.options)


def measure_shared(
    measuring: Measuring, batches: Iterable[tuple[int, Feeds]], workers: Workers
) -> Iterator[tuple[int, tuple[Measured, ...]]]:
    """The number of each batch with what it gives for each variant, in their order."""
    options = replace(measuring.options, threads=measuring.options.threads or workers.threads)
    task: Task[NetworkError, tuple[int, Feeds], tuple[Measured, ...]] = Task(
        pickle.dumps(replace(measuring, options=options)), _enter, _measure
    )
    for (number, _), found in map_shards(workers, task, batches):
        yield number, found


def _enter(payload: bytes) -> NetworkError:
    measuring: Measuring = pickle.loads(payload)
    return measuring.opened()


def _measure(network: NetworkError, batch: tuple[int, Feeds]) -> tuple[Measured, ...]:
    return tuple(network.measure(batch[1]).values())
