"""Python values as data: iterables and generators of feeds, functions that make them, whole arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized

from amct_lite.calibration.feeds import InputSpec, as_array, names_of
from amct_lite.calibration.readers.source import LabelledBatch, Source
from amct_lite.calibration.readers.stacks import Stack
from amct_lite.errors import DataError
from amct_lite.types import Feeds


def array_stack(arrays: object, inputs: Sequence[InputSpec]) -> Stack:
    """One array, or a mapping from input names to arrays, with all samples in it."""
    given = named_arrays(arrays, inputs, "the data")
    named: Feeds = {name: as_array(value, name, "in the data") for name, value in given.items()}
    return Stack("", {name: array.shape for name, array in named.items()}, lambda: named)


def iterable_source(data: Iterable[object], inputs: Sequence[InputSpec]) -> Source:
    """Feeds, arrays (models with one input) or tuples in the order of the inputs. An iterator can be read once only."""
    iterator = iter(data)
    once = iterator is data
    return Source(
        f"Python {type(data).__name__}",
        (lambda: _named(iterator, inputs)) if once else (lambda: _named(data, inputs)),
        count=len(data) if isinstance(data, Sized) else None,
        repeatable=not once,
    )


def function_source(function: Callable[[], Iterable[object]], inputs: Sequence[InputSpec]) -> Source:
    """A function without arguments; each call gives a fresh iterable."""
    return Source(f"Python function {getattr(function, '__name__', '')}".rstrip(), lambda: _named(function(), inputs))


def named_arrays(item: object, inputs: Sequence[InputSpec], where: str) -> Mapping[str, object]:
    """`item` by input name. Raises DataError when it is neither feeds nor an array nor a tuple of the right length."""
    if isinstance(item, Mapping):
        return item
    if hasattr(item, "__array__") or isinstance(item, bytes):  # numpy, torch, …; the content of a file
        item = (item,)
    if not isinstance(item, tuple | list):
        raise DataError(
            f"{where} is of type {type(item).__name__}. Give a dict from input names to arrays, an array, "
            f"or a tuple in the order of the inputs: {names_of(inputs)}."
        )
    if len(item) != len(inputs):
        raise DataError(
            f"{where} has {len(item)} arrays for the model's {len(inputs)} ({names_of(inputs)}). "
            "Give a dict from input names to arrays; leave labels out."
        )
    return {spec.name: value for spec, value in zip(inputs, item, strict=True)}


def _named(data: Iterable[object], inputs: Sequence[InputSpec]) -> Iterator[LabelledBatch]:
    for index, item in enumerate(data):
        yield named_arrays(item, inputs, f"batch {index}"), ""
