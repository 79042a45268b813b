"""Arrays that hold one batch or many: how they are cut into batches of the model.

The rule, from shapes alone, before any value is read:
- one axis more than the input: each row is a batch;
- the model fixes its batch at b, and the array has a multiple of b rows: b rows are a batch;
- a dynamic batch: `batch_size` rows are a batch; without a batch size the array is one batch as it is;
- anything else is one batch as it is (and the check of the batch tells what does not fit).
All inputs of one stack are cut into the same number of batches, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from amct_lite.calibration.feeds import InputSpec
from amct_lite.calibration.readers.source import LabelledBatch, Source
from amct_lite.calibration.tame import shared_rows
from amct_lite.types import AnyArray, Feeds

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Stack:
    """One file, or one file for each input, not read yet. shapes: by input name; load: reads or maps the arrays; remark: what
    is to be told of how they are read."""

    label: str
    shapes: Mapping[str, Shape]
    load: Callable[[], Feeds]
    remark: str = ""


@dataclass(frozen=True)
class Cut:
    """rows: how many rows of each input make a batch; 0: a single row, whose axis goes; None: the array is not cut."""

    count: int
    rows: Mapping[str, int] | None = None

    def batch(self, arrays: Feeds, index: int) -> dict[str, AnyArray]:
        """Batch `index` as views of `arrays`."""
        if self.rows is None:
            return dict(arrays)
        return {
            name: arrays[name][index] if n == 0 else arrays[name][index * n : (index + 1) * n] for name, n in self.rows.items()
        }

    def label(self, label: str, index: int) -> str:
        return label if self.count == 1 else f"{label}, part {index} of {self.count}"


WHOLE = Cut(1)


def cut(shapes: Mapping[str, Shape], inputs: Sequence[InputSpec], batch_size: int | None) -> Cut:
    """How a stack of these shapes is cut; see the rule above."""
    if set(shapes) != {spec.name for spec in inputs} or any(0 in shape for shape in shapes.values()):
        return WHOLE
    forced = {spec.name: _forced(shapes[spec.name], spec) for spec in inputs}
    free = {spec.name: shapes[spec.name] for spec in inputs if forced[spec.name] is None}
    if any(not _has_batch_axis(shapes[spec.name], spec) for spec in inputs if spec.name in free):
        return WHOLE
    counts = {count for count, _ in filter(None, forced.values())}
    rows = {name: found[1] for name, found in forced.items() if found}
    if not counts:
        return _cut_by_size({shape[0] for shape in free.values()}, free, batch_size)
    count = counts.pop()
    if counts or any(shape[0] % count for shape in free.values()):
        return WHOLE
    return Cut(count, rows | {name: shape[0] // count for name, shape in free.items()})


def _forced(shape: Shape, spec: InputSpec) -> tuple[int, int] | None:
    """(number of batches, rows a batch) when the model's shape leaves no choice."""
    if spec.rank is not None and len(shape) == spec.rank + 1:
        return shape[0], 0
    if len(shape) == spec.rank and spec.fixed_batch and shape[0] % spec.fixed_batch == 0:
        return shape[0] // spec.fixed_batch, spec.fixed_batch
    return None


def _has_batch_axis(shape: Shape, spec: InputSpec) -> bool:
    return bool(shape) and (spec.rank is None or (len(shape) == spec.rank and spec.fixed_batch is None))


def _cut_by_size(lengths: set[int], names: Iterable[str], batch_size: int | None) -> Cut:
    if len(lengths) != 1 or batch_size is None:
        return WHOLE
    return Cut(-(-lengths.pop() // batch_size), dict.fromkeys(names, batch_size))


def source_of(
    stacks: Iterable[Stack],
    inputs: Sequence[InputSpec],
    *,
    description: str,
    batch_size: int | None,
    batches: int | None,
) -> Source:
    """The batches of all stacks in their order; only the headers of the stacks that `batches` needs are looked at."""
    planned: list[tuple[Stack, Cut]] = []
    count = 0
    for stack in stacks:
        planned.append((stack, cut(stack.shapes, inputs, batch_size)))
        count += planned[-1][1].count
        if batches is not None and count >= batches:
            break

    def read(first: int = 0) -> Iterator[LabelledBatch]:
        before = 0
        for stack, how in planned:
            start = max(first - before, 0)
            before += how.count
            if start >= how.count:
                continue
            arrays = stack.load()
            for index in range(start, how.count):
                yield how.batch(arrays, index), how.label(stack.label, index)

    samples = sum(shared_rows(stack.shapes.values()) for stack, _ in planned)
    described = _with_remarks(description, [stack.remark for stack, _ in planned if stack.remark])
    return Source(described, read, count if batches is None else min(count, batches), read_from=read, samples=samples)


def _with_remarks(description: str, remarks: Sequence[str]) -> str:
    """Each remark once, and of many the first."""
    told = list(dict.fromkeys(remarks))
    more = f" (the first of {len(told)} names)" if len(told) > 1 else ""
    return f"{description}, {told[0]}{more}" if told else description
