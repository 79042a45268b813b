"""Calibration data: any source as a stream of checked batches.

Formats live in `calibration.readers`, one file each; here a source is recognised, and every batch is checked before
it is handed on. Batches are counted from 0. Nothing is kept: memory does not grow with the number of batches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, islice

import numpy as np

from amct_lite.calibration.feeds import InputSpec, check_feeds, known_sizes
from amct_lite.calibration.images import ImageOptions
from amct_lite.calibration.readers.binary import ShapeHints
from amct_lite.calibration.readers.recognise import Opening
from amct_lite.calibration.readers.source import LabelledBatch, Source
from amct_lite.calibration.tame import batch_size
from amct_lite.errors import ConfigError, DataError
from amct_lite.types import AnyArray, Feeds

_SEED = 0
DataSource = object
"""A path (or 'd1/;d2/'), an iterable of feeds, a function that returns one, arrays, or CalibrationData."""

__all__ = ["CalibrationData", "DataSource", "ImageOptions", "InputSpec", "check_feeds", "open_data", "random_data"]


class CalibrationData:
    """Checked batches of one source. Iterate as often as you like when `repeatable`, else once.

    description: for people. count: number of batches, None when unknown before reading. passes: how often it was iterated.
    reopen: gives the same data in another process, and can be pickled; None where only this process has them.
    """

    def __init__(
        self,
        source: Source,
        inputs: Sequence[InputSpec],
        *,
        batches: int | None = None,
        reopen: Callable[[], CalibrationData] | None = None,
    ) -> None:
        if batches is not None and batches < 1:
            raise ConfigError(f"the number of batches is {batches}, it must be at least 1.")
        self.inputs = tuple(inputs)
        self.reopen = reopen
        self.description = source.description
        self.repeatable = source.repeatable
        self.count = source.count if batches is None or source.count is None else min(source.count, batches)
        self._source = source
        self._batches = batches
        self._head: list[Feeds] = []
        self._stream: Iterator[Feeds] | None = None
        self._handed_out = False
        self.passes = 0
        if source.count is not None:
            self._check_count(source.count)

    @property
    def samples(self) -> int | None:
        """About how many samples the batches hold, whatever the size of a batch; None when unknown before reading."""
        if self.count is None:
            return None
        full = self.count * batch_size(self.peek())
        return full if self._source.samples is None else min(full, self._source.samples)

    def peek(self) -> Feeds:
        """The first batch, checked; iterating afterwards starts with it again. Raises DataError as iterating does."""
        if self._handed_out:
            raise self._read_twice()
        if not self._head:
            self._head.append(next(self._checked() if self.repeatable else self._once()))
        return self._head[0]

    def __iter__(self) -> Iterator[Feeds]:
        """One batch after the other. Raises DataError for a batch that does not fit, for none, or for too few."""
        self.passes += 1
        if self.repeatable:
            return self._checked()
        if self._handed_out:
            raise self._read_twice()
        self._handed_out = True
        head, self._head = self._head, []
        return chain(head, self._once())

    def since(self, first: int) -> Iterator[Feeds]:
        """Like iterating, from batch `first` on; what lies before it is not read where the source knows its place."""
        if not self.repeatable:
            return islice(iter(self), first, None)
        self.passes += 1
        return self._checked(first)

    def _once(self) -> Iterator[Feeds]:
        if self._stream is None:
            self._stream = self._checked()
        return self._stream

    def _checked(self, first: int = 0) -> Iterator[Feeds]:
        count = first
        left = None if self._batches is None else max(self._batches - first, 0)
        for feeds, label in islice(self._source.batches(first), left):
            yield check_feeds(feeds, self.inputs, f"batch {count} ({label})" if label else f"batch {count}")
            count += 1
        self._check_count(count)

    def _check_count(self, count: int) -> None:
        if count == 0:
            raise DataError(f"{self.description} gives no batch. Check the path, or the loader.")
        if self._batches is not None and count < self._batches:
            raise DataError(
                f"{self.description} gives {count} batch{'es' * (count != 1)}, {self._batches} were asked for. "
                f"Add data, or ask for --batches {count}."
            )

    def _read_twice(self) -> DataError:
        return DataError(
            f"{self.description} can be read only once, and was. Pass a list, or a function that returns a new iterator."
        )


def open_data(
    source: DataSource,
    inputs: Sequence[InputSpec],
    *,
    batches: int | None = None,
    batch_size: int | None = None,
    shapes: ShapeHints | None = None,
    images: ImageOptions | None = None,
) -> CalibrationData:
    """The calibration data that `source` stands for.

    inputs: the model's inputs, with the model's own shapes. batches: take so many, fewer is an error.
    batch_size: rows a batch where the model's batch is dynamic; a single file or array gives 1 at a time unless told,
    a file of a folder is one batch. shapes: `--input-shape`, for files without one (.bin).
    images: how images become arrays.
    Raises DataError when the source is none of these, its files are damaged, or it has fewer than `batches` batches;
    files are not read beyond their headers, batches are checked when they are taken.
    """
    if isinstance(source, CalibrationData):
        return source
    if not inputs:
        raise DataError("the model has no inputs, there is nothing to calibrate it with.")
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"the batch size is {batch_size}, it must be at least 1.")
    opening = Opening(tuple(inputs), batches, batch_size, shapes or {}, images)
    return CalibrationData(opening.open(source), inputs, batches=batches, reopen=_reopening(source, opening))


def _reopening(source: DataSource, opening: Opening) -> Callable[[], CalibrationData] | None:
    """Files can be read by others, too; a script would do all its work in each of them."""
    if not isinstance(source, str | os.PathLike) or os.fspath(source).endswith(".py"):
        return None
    text = os.fspath(source)
    parts = [os.path.abspath(part.strip()) for part in text.split(";") if part.strip()]
    place = f"{';'.join(parts)};" if ";" in text else parts[0]
    return partial(_opened, place, opening)


def _opened(place: str, opening: Opening) -> CalibrationData:
    return CalibrationData(opening.open(place), opening.inputs, batches=opening.batches)


def random_data(inputs: Sequence[InputSpec], count: int, *, shapes: ShapeHints | None = None) -> CalibrationData:
    """`count` batches of noise, the same each time: enough to try a model out, never to quantize it well.

    Floats are standard normal; integers are 0 or 1, valid as ids and as masks; uint8 is 0…255, for images.
    A dynamic batch is 1. Raises DataError for another dynamic dimension that `shapes` (`--input-shape`) does not give.
    """
    dims = _random_shapes(inputs, shapes or {})

    def read() -> Iterator[LabelledBatch]:
        for index in range(count):
            generator = np.random.default_rng([_SEED, index])
            yield {spec.name: _noise(spec, dims[spec.name], generator) for spec in inputs}, "random"

    again = partial(random_data, tuple(inputs), count, shapes=shapes)
    return CalibrationData(Source(f"random numbers (seed {_SEED})", read, count), inputs, reopen=again)


def _random_shapes(inputs: Sequence[InputSpec], hints: ShapeHints) -> dict[str, tuple[int, ...]]:
    """By input. Raises DataError that names all inputs whose shape is not known, with what to pass for them."""
    dims = {spec.name: _random_dims(spec, hints.get(spec.name)) for spec in inputs}
    unknown = [spec for spec in inputs if None in dims[spec.name]]
    if unknown:
        named = ", ".join(f"{spec.name!r} {spec.shape_text}" for spec in unknown)
        wanted = [spec for spec in inputs if spec in unknown or spec.name in hints]
        text = ";".join(f"{s.name}:{','.join('?' if dim is None else str(dim) for dim in dims[s.name])}" for s in wanted)
        subject = f"input {named} has" if len(unknown) == 1 else f"inputs {named} have"
        raise DataError(f'{subject} dynamic dimensions, random data need their sizes. Pass --input-shape "{text}".')
    return {name: tuple(dim for dim in shape if dim is not None) for name, shape in dims.items()}


def _random_dims(spec: InputSpec, hint: Sequence[int | None] | None) -> tuple[int | None, ...]:
    """None for a dimension that is not known; one such where not even their number is."""
    if spec.shape is None and hint is None:
        return (None,)
    declared = spec.shape if spec.shape is not None else tuple(hint or ())
    wanted = hint if hint is not None and len(hint) == len(declared) else (None,) * len(declared)
    dims = [have if isinstance(have, int) else want for have, want in zip(declared, wanted, strict=True)]
    return tuple(1 if axis == 0 and dim is None else dim for axis, dim in enumerate(known_sizes(dims)))


def _noise(spec: InputSpec, shape: tuple[int, ...], generator: np.random.Generator) -> AnyArray:
    dtype = spec.numpy_dtype
    if dtype.kind == "f":
        return np.asarray(generator.standard_normal(shape), dtype=dtype)
    if dtype.kind not in "biu":
        raise DataError(f"input {spec.name!r} is of type {spec.dtype}, for which there are no random data. Pass --data.")
    return np.asarray(generator.integers(0, 256 if dtype == np.uint8 else 2, shape), dtype=dtype)
