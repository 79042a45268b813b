"""How a run is carried out, as opposed to what it decides: its options, and the data it reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from amct_lite.calibration.checkpoint import Checkpoint
from amct_lite.calibration.data import CalibrationData, DataSource, open_data, random_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.calibration.images import ImageOptions
from amct_lite.config import QuantConfig
from amct_lite.loading import SourceModel
from amct_lite.runtime import RuntimeOptions
from amct_lite.workers import GivenWorkers

Progress = Callable[[str, int, int | None], None]
"""(stage, how many more are done, how many there are; None when unknown)."""


@dataclass(frozen=True)
class RunOptions:
    """How a run is carried out, as opposed to what it decides.

    images: how images become arrays. batch_size: rows of a batch where one file holds many samples. random: calibrate with
    so many batches of noise instead of data. progress: called as the stages go on. workers: who shares the passes over the
    data; an executor alone will do. checkpoint: where these passes save themselves, and whether they go on from there.
    strip_qdq: calibrate the float model that a model with QuantizeLinear and DequantizeLinear was made from.
    """

    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    images: ImageOptions | None = None
    batch_size: int | None = None
    random: int | None = None
    progress: Progress = lambda _stage, _done, _total: None
    workers: GivenWorkers = GivenWorkers()  # noqa: RUF009 - a descriptor, made for the class
    checkpoint: Checkpoint | None = None
    strip_qdq: bool = False


def open_stream(
    source: SourceModel, data: DataSource | None, settings: QuantConfig, options: RunOptions
) -> CalibrationData | None:
    """The data, its first batch already checked against the model; None when there is none."""
    specs = input_specs(source.prepared)
    if data is None:
        return random_data(specs, options.random, shapes=settings.input_shapes) if options.random else None
    stream = open_data(
        data,
        specs,
        batches=settings.batches,
        batch_size=options.batch_size,
        shapes=settings.input_shapes,
        images=options.images,
    )
    stream.peek()
    return stream


def without_effect(stream: CalibrationData | None, options: RunOptions) -> tuple[str, ...]:
    """What is asked for that changes nothing because no data are read, as sentences for the user."""
    if stream is not None and not options.random:
        return ()
    asked = {"--batch-size": options.batch_size, "how images become arrays (--image-mean and the like)": options.images}
    return tuple(f"{name} changes nothing here: no data are read." for name, value in asked.items() if value is not None)
