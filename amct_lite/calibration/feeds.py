"""What the model's inputs are, and whether one batch of arrays fits them.

A batch is checked before the model sees it: names, types, shapes, emptiness, NaN and infinity. Nothing is guessed
that could change a value; the three liberties taken are named in `check_feeds`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from amct_lite import ir
from amct_lite.errors import DataError
from amct_lite.registry import did_you_mean
from amct_lite.types import AnyArray, Feeds

Dim = int | str | None
_MOST_NAMED = 8
_MOST_AXES = 5


@dataclass(frozen=True)
class InputSpec:
    """One input of the model. dtype: numpy's name. shape: int = fixed, str or None = dynamic; None: rank unknown."""

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def fixed_batch(self) -> int | None:
        """The leading dimension when the model fixes it."""
        first = self.shape[0] if self.shape else None
        return first if isinstance(first, int) else None

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """Raises DataError for a type that numpy does not have."""
        try:
            return np.dtype(self.dtype)
        except TypeError as error:
            raise DataError(
                f"input {self.name!r} is of type {self.dtype}, which numpy cannot hold. Give the model an input of "
                "another type (a Cast in front)."
            ) from error

    @property
    def shape_text(self) -> str:
        """`(N, 3, 224, 224)`; an unnamed dynamic dimension is `?`."""
        if self.shape is None:
            return "any shape"
        inner = ", ".join("?" if dim is None else str(dim) for dim in self.shape)
        return f"({inner},)" if len(self.shape) == 1 else f"({inner})"


def known_sizes(dims: Sequence[int | None]) -> list[int | None]:
    """`dims`, with None for those that say nothing: below 0, and an empty batch."""
    return [None if dim is None or dim < bool(axis == 0) else dim for axis, dim in enumerate(dims)]


def input_specs(model: ir.Model) -> tuple[InputSpec, ...]:
    """The inputs of `model` as the readers want them."""
    return tuple(
        InputSpec(str(value.name), str(value.dtype.numpy()) if value.dtype else "float32", ir.dims_of(value))
        for value in model.graph.inputs
    )


def names_of(inputs: Iterable[InputSpec]) -> str:
    """`'a', 'b'` for messages."""
    return ", ".join(repr(spec.name) for spec in inputs)


def check_feeds(feeds: Mapping[str, object], inputs: Sequence[InputSpec], where: str) -> Feeds:
    """The batch as the model takes it: one C-contiguous array an input, of the input's dtype.

    Converted: numbers whose value the model's type holds exactly, and wider floats to narrower ones. A single sample
    without batch axis gets one, bytes are an array of uint8. The arrays passed in are never modified; unconverted ones are
    returned as they are. Beside inputs that hold something one may be empty along an axis behind the first that the model
    leaves open: what a decoder has seen before its first step.
    where: `batch 5 (data/00005.npz)`; it ends up in every message.
    Raises DataError that lists all problems of the batch, one a line.
    """
    problems = _name_problems(feeds, inputs, where)
    checked: Feeds = {}
    for spec in inputs:
        if spec.name in feeds:
            try:
                checked[spec.name] = _check_input(feeds[spec.name], spec, where)
            except DataError as error:
                problems.append(str(error))
    if checked and not any(array.size for array in checked.values()):
        problems += [_emptiness(array, name, where) for name, array in checked.items()]
    if problems:
        raise DataError("\n".join(problems))
    return checked


def _name_problems(feeds: Mapping[str, object], inputs: Sequence[InputSpec], where: str) -> list[str]:
    expected = [spec.name for spec in inputs]
    problems = []
    extra = [name for name in feeds if name not in expected]
    missing = [name for name in expected if name not in feeds]
    if missing:
        held = _listed(feeds) or "nothing"
        problems.append(
            f"{where} has no array for input {', '.join(map(repr, missing))}"
            f"{did_you_mean(missing[0], map(str, extra))}; it has {held}. "
            f"Name the arrays as the model's inputs are named: {names_of(inputs)}."
        )
    elif extra:
        problems.append(
            f"{where} has {_listed(extra)}, not an input of the model"
            f"{did_you_mean(str(extra[0]), expected)}; the inputs are {names_of(inputs)}. Leave it out."
        )
    return problems


def _listed(names: Iterable[str]) -> str:
    first, more = list(names)[:_MOST_NAMED], max(0, len(list(names)) - _MOST_NAMED)
    return ", ".join(map(repr, first)) + (f" and {more} more" if more else "")


def _check_input(value: object, spec: InputSpec, where: str) -> AnyArray:
    place = f"in {where}"
    if isinstance(value, bytes) and spec.dtype == "uint8":
        value = np.frombuffer(value, np.uint8)
    array = as_array(value, spec.name, place)
    if array.size == 0 and not _may_be_empty(array, spec):
        raise DataError(_emptiness(array, spec.name, where))
    array = _with_batch_axis(array, spec)
    if not ir.shape_fits(array.shape, spec.shape):
        raise DataError(
            f"input {spec.name!r} has shape {array.shape} {place}, the model expects {spec.shape_text}. "
            + _shape_remedy(array.shape, spec)
        )
    _check_finite(array, spec, where)
    converted = convert(array, spec.numpy_dtype)
    if converted is None:
        raise DataError(
            f"input {spec.name!r} is {_dtype_text(array)} {place}, the model expects {spec.dtype}, which does not hold "
            f"these values. Convert it in the loader: array.astype({spec.dtype!r})."
        )
    if converted is not array and array.dtype.kind == "f" and not np.isfinite(converted).all():
        raise DataError(
            f"input {spec.name!r} overflows {spec.dtype} {place}: its largest magnitude is {np.abs(array).max():g}. "
            "Check the loader."
        )
    return np.asarray(converted, order="C")


def _may_be_empty(array: AnyArray, spec: InputSpec) -> bool:
    dims = spec.shape or ()
    empty = [axis for axis, size in enumerate(array.shape) if size == 0]
    return len(dims) == array.ndim and 0 not in empty and not any(isinstance(dims[axis], int) for axis in empty)


def _emptiness(array: AnyArray, name: str, where: str) -> str:
    return f"input {name!r} is empty in {where}: shape {array.shape}. Check the loader."


def as_array(value: object, name: str, place: str) -> AnyArray:
    """What numpy makes of it. Raises DataError for ragged lists, and for tensors that refuse to become arrays."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"input {name!r} is no array {place}: {str(error).rstrip('.')}. Check the loader.") from error


def _with_batch_axis(array: AnyArray, spec: InputSpec) -> AnyArray:
    single = spec.shape and spec.fixed_batch in {None, 1} and ir.shape_fits(array.shape, spec.shape[1:])
    return array[np.newaxis] if single else array


def _shape_remedy(shape: tuple[int, ...], spec: InputSpec) -> str:
    """The transpose that makes it fit, such as the one from NHWC; else where to look."""
    wanted = [spec.shape, spec.shape[1:]] if spec.shape else []
    for expected in wanted:
        for axes in permutations(range(len(shape))) if 2 < len(shape) == len(expected) <= _MOST_AXES else ():
            if ir.shape_fits(tuple(shape[axis] for axis in axes), expected):
                return f"With its axes in another order it fits: array.transpose{axes}."
    return "Check the samples, and the image size or input shape if one was given."


def _check_finite(array: AnyArray, spec: InputSpec, where: str) -> None:
    if array.dtype.kind != "f":
        return
    finite = np.isfinite(array)
    if finite.all():
        return
    kind = "NaN" if np.isnan(array).any() else "infinite values"
    bad_samples = np.flatnonzero(~finite.reshape(len(array), -1).all(axis=1)) if array.ndim else [0]
    raise DataError(
        f"input {spec.name!r} has {kind} in sample {int(bad_samples[0])} of {where}: "
        f"{int(array.size - np.count_nonzero(finite))} of {array.size} values. "
        "Remove this sample, or correct the loader."
    )


def convert(array: AnyArray, dtype: np.dtype[Any]) -> AnyArray | None:
    """`array` as `dtype` when each value survives or only float digits are lost; None when it must not be done."""
    if array.dtype == dtype:
        return array
    if dtype.kind == "O":  # numpy's type for ONNX strings
        return array.astype(object) if array.dtype.kind == "U" else None
    if array.dtype.kind not in "biuf" or dtype.kind not in "biuf":
        return None
    if array.size and array.dtype.kind != "f" and not np.can_cast(array.dtype, dtype, "safe"):
        low, high = _exact_range(dtype)
        if int(array.min()) < low or int(array.max()) > high:
            return None
    elif array.dtype.kind == "f" and dtype.kind != "f":
        return None
    with np.errstate(over="ignore"):  # the caller names what overflowed
        return array.astype(dtype)


def _exact_range(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The integers that `dtype` holds without a gap."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":
        limit = 1 << (np.finfo(dtype).nmant + 1)
        return -limit, limit
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def content_of(array: AnyArray) -> bytes | memoryview:
    """Bytes for a digest: those of equal arrays are equal in every process. An array of text holds addresses, not words."""
    if array.dtype.hasobject:
        return repr(array.tolist()).encode()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _dtype_text(array: AnyArray) -> str:
    return "not numeric" if array.dtype.kind == "O" else str(array.dtype)
