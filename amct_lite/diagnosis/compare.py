"""Where the error of a second model arises: both models run on samples, tensor by tensor along the graph.

The accumulated error is what a tensor differs by when both models run freely; the isolated one when the second model is given
the float model's tensors in front of each piece between two matched tensors. Errors are summed sample by sample.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, prod
from pathlib import Path

import numpy as np

from amct_lite import ir
from amct_lite.calibration.data import CalibrationData, DataSource, open_data, random_data
from amct_lite.calibration.feeds import convert, input_specs
from amct_lite.calibration.images import ImageOptions
from amct_lite.diagnosis.matching import Match, Matched, match
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.numerics.metrics import cosine_from_error, sqnr_db_from_sums, sums
from amct_lite.runtime import RuntimeOptions, beside_others, open_session
from amct_lite.types import AnyArray, Feeds, Subject

JUMP_DB = 6.0
"""A tensor whose error is so much worse than that of what it is computed from is marked: the error has doubled."""
QUIET_DB = 40.0
"""Better than this counts as this: what 8 bits add to an exact tensor is no jump."""
GROUP = 16
BUDGET = 256 << 20
"""Bytes of tensors of one model that are held together; more are fetched in several runs."""


@dataclass(frozen=True)
class TensorError:
    """A tensor, and the node that computes it in the float model. sqnr_db, cosine, max_error: accumulated; max_value: largest
    magnitude in the float model. isolated_db: SQNR of this step alone. jump: whether the error arises here."""

    name: str
    node: str
    op_type: str
    sqnr_db: float
    cosine: float
    max_error: float
    max_value: float
    isolated_db: float
    jump: bool


@dataclass(frozen=True)
class Comparison:
    """unmatched: float tensors that the second model does not have. skipped: matched tensors of other shapes, or not finite."""

    exact: str
    other: str
    samples: int
    tensors: tuple[TensorError, ...]
    outputs: tuple[str, ...]
    unmatched: tuple[str, ...]
    skipped: tuple[str, ...]
    subject: Subject | None = None

    def to_json(self) -> str:
        """Indented JSON with the fields above; a number that is not finite is written as a string."""
        content = asdict(self)
        for row in content["tensors"]:
            row.update({key: str(v) for key, v in row.items() if isinstance(v, float) and not isfinite(v)})
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def compare(
    exact: str | Path | ir.Model,
    other: str | Path | ir.Model,
    data: DataSource | None = None,
    *,
    batches: int | None = None,
    batch_size: int | None = None,
    random: int | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    images: ImageOptions | None = None,
    runtime: RuntimeOptions | None = None,
) -> Comparison:
    """Run float model `exact` and `other` on `data` and compare what they compute, tensor by tensor.

    other: quantized by QuantizeLinear/DequantizeLinear, a deploy model, or any model with the same inputs and outputs. data: as
    for `quantize`; random: so many batches of noise instead.
    Raises ConfigError for models with other inputs or outputs, DataError for samples that do not fit.
    """
    loaded = [ir.clone(m) if isinstance(m, ir.Model) else ir.load(m).model for m in (exact, other)]
    names = ["model" if isinstance(model, ir.Model) else Path(model).name for model in (exact, other)]
    subject = Subject(exported=ir.checksum(loaded[1]))
    matched = match(loaded[0], loaded[1], (names[0], names[1]))
    if not matched.matches:
        raise ConfigError(f"{names[0]} and {names[1]} have no tensor in common, not even an output of floats.")
    specs = input_specs(matched.other)
    if data is None and not random:
        raise CalibrationError("there is nothing to compare on. Pass samples (--data), or --random N for noise.")
    stream = (
        random_data(specs, random or 1, shapes=input_shapes)
        if data is None
        else open_data(data, specs, batches=batches, batch_size=batch_size, shapes=input_shapes, images=images)
    )
    pair = _Pair(matched, stream.peek(), runtime or RuntimeOptions())
    found, samples = _summed(pair, stream)
    order = [m for m in matched.matches if found[m.name].usable]
    rows = _with_jumps(matched.exact, [found[m.name].row(m) for m in order])
    outputs = tuple(str(value.name) for value in matched.exact.graph.outputs)
    skipped = tuple(m.name for m in matched.matches if not found[m.name].usable)
    return Comparison(names[0], names[1], samples, rows, outputs, matched.unmatched, skipped, subject)


class _Sums:
    """Of one tensor, over all samples."""

    def __init__(self) -> None:
        self._free, self._alone = np.zeros(4), np.zeros(4)
        self._max_error = self._max_value = 0.0
        self.usable = True

    def add(self, exact: AnyArray, free: AnyArray, alone: AnyArray) -> None:
        finite = all(np.isfinite(array).all() for array in (exact, free, alone))
        if exact.shape != free.shape or exact.shape != alone.shape or not finite:
            self.usable = False
            return
        self._free += sums(exact, free)
        self._alone += sums(exact, alone)
        self._max_error = max(self._max_error, float(np.abs(exact - free).max(initial=0.0)))
        self._max_value = max(self._max_value, float(np.abs(exact).max(initial=0.0)))

    def row(self, found: Match) -> TensorError:
        square, _, other, error = self._free.tolist()
        return TensorError(
            *(found.name, found.node, found.op_type),
            sqnr_db=sqnr_db_from_sums(square, error),
            cosine=cosine_from_error(square, other, error),
            max_error=self._max_error,
            max_value=self._max_value,
            isolated_db=sqnr_db_from_sums(self._alone[0], self._alone[3]),
            jump=False,
        )


class _Runner:
    """A model that takes floats of any width: the two that are compared need not agree on it (float16 in a deploy model)."""

    def __init__(self, model: ir.Model, options: RuntimeOptions) -> None:
        self._session = open_session(model, options, optimize=False)
        self.input_names = self._session.input_names

    def run(self, feeds: Feeds, outputs: Sequence[str]) -> Sequence[AnyArray]:
        """Takes those of `feeds` that the model has. An array that does not convert is left to the session to refuse."""
        fitting = {spec.name: convert(feeds[spec.name], spec.dtype) for spec in self._session.inputs}
        return self._session.run({name: feeds[name] if new is None else new for name, new in fitting.items()}, outputs)


class _Pair:
    """Both models, and the second one once more, fed with the float model's tensors in front of every piece."""

    def __init__(self, matched: Matched, first: Feeds, options: RuntimeOptions) -> None:
        self._matches = {m.name: m for m in matched.matches}
        self._options = beside_others(options, matched.exact)
        self._exact = self._open(_watching(matched.exact, list(self._matches)))
        self._free = self._open(_watching(matched.other, [m.other for m in matched.matches]))
        shapes = dict(self._shapes(first))
        self.groups = _grouped({name: 4 * prod(shape) for name, shape in shapes.items()})
        names = {m.other: m.name for m in matched.matches}
        self._cut, fed = _cut(matched.other, {m.other: len(shapes[m.name]) for m in matched.matches})
        self._fed = {given: names[value] for value, given in fed.items()}
        self._alone: dict[tuple[str, ...], _Runner] = {}

    def _shapes(self, feeds: Feeds) -> Iterator[tuple[str, tuple[int, ...]]]:
        names = list(self._matches)
        for start in range(0, len(names), GROUP):
            group = names[start : start + GROUP]
            for name, array in zip(group, self._exact.run(feeds, group), strict=True):
                yield name, array.shape

    def _open(self, model: ir.Model) -> _Runner:
        """Each node computes what it says; nothing is fused, so every tensor is there."""
        return _Runner(model, self._options)

    def run(self, feeds: Feeds, names: Sequence[str]) -> Iterator[tuple[str, AnyArray, AnyArray, AnyArray]]:
        """(name, in the float model, in the other, in the other alone) for each of `names`."""
        others = [self._matches[name].other for name in names]
        alone = self._isolated(tuple(others))
        wanted = [self._fed[name] for name in alone.input_names if name in self._fed]
        fetched = list(dict.fromkeys((*names, *wanted)))
        exact = dict(zip(fetched, self._exact.run(feeds, fetched), strict=True))
        given = {name: self._as_read(name, exact) if name in self._fed else feeds[name] for name in alone.input_names}
        free = self._free.run(feeds, others)
        for name, a, b in zip(names, free, alone.run(given, others), strict=True):
            kept = slice(-self._matches[name].more or None)
            yield name, exact[name], *((a[:, kept], b[:, kept]) if kept.stop else (a, b))

    def _as_read(self, entry: str, exact: Mapping[str, AnyArray]) -> AnyArray:
        """The float model's tensor for the input `entry`, with zeros in the channels that only the other model has: nobody
        reads them for a value of the float model."""
        name = self._fed[entry]
        more = self._matches[name].more
        array = exact[name]
        return np.pad(array, [(0, more if axis == 1 else 0) for axis in range(array.ndim)]) if more else array

    def _isolated(self, outputs: tuple[str, ...]) -> _Runner:
        if outputs not in self._alone:
            self._alone[outputs] = self._open(ir.extract(self._cut, outputs))
        return self._alone[outputs]


def _summed(pair: _Pair, stream: CalibrationData) -> tuple[Mapping[str, _Sums], int]:
    found = {name: _Sums() for group in pair.groups for name in group}
    samples = 0
    for feeds in stream:
        for group in pair.groups:
            for name, *arrays in pair.run(feeds, group):
                found[name].add(*arrays)
        samples += 1
    return found, samples


def _grouped(sizes: Mapping[str, int]) -> list[list[str]]:
    """As few groups as the budget allows, in order."""
    groups: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if groups[-1] and held + size > BUDGET:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    return groups


def _watching(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """`model` with these tensors as its outputs."""
    result = ir.clone(model)
    values = {str(value.name): value for node in result.graph for value in node.outputs}
    result.graph.outputs.clear()
    result.graph.outputs.extend(values[name] for name in names)
    return result


def _cut(model: ir.Model, ranks: Mapping[str, int]) -> tuple[ir.Model, Mapping[str, str]]:
    """`model` with each of these tensors computed, but read by nobody: who read it reads an input of the graph instead. With
    tensor → that input. ranks: of each of them."""
    result = _watching(model, list(ranks))
    values = {str(value.name): value for node in result.graph for value in node.outputs}
    fed: dict[str, str] = {}
    for name, rank in ranks.items():
        if readers := ir.uses(values[name]):
            entry = ir.new_input(result, f"{name}.exact", values[name].dtype or ir.DataType.FLOAT, (None,) * rank)
            for use in readers:
                ir.replace_input(use.node, use.idx, entry)
            fed[name] = str(entry.name)
    return result, fed


def _with_jumps(model: ir.Model, rows: Sequence[TensorError]) -> tuple[TensorError, ...]:
    """The rows, marked where the SQNR falls by more than `JUMP_DB` below that of everything the tensor is computed from."""
    known = {row.name: row.sqnr_db for row in rows}
    before: dict[str, float] = {}
    reached: dict[ir.Value | None, float] = {}  # where a tensor was not compared: in front of it
    for node in model.graph:
        lowest = min([QUIET_DB, *(reached[value] for value in node.inputs if value in reached)])
        for value in node.outputs:
            name = str(value.name)
            before[name], reached[value] = lowest, known.get(name, lowest)
    return tuple(replace(row, jump=row.sqnr_db < before[row.name] - JUMP_DB) for row in rows)
