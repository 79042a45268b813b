"""Points of a search made by workers, several at a time: exported, run and evaluated there as this process would have done it.

What was made and is not asked for in the end is not told of; what goes wrong with a point is raised when it is asked for.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from amct_lite import ir, scratch
from amct_lite.accuracy.evaluation import Evaluator, Metric, Referee
from amct_lite.calibrated import Calibrated
from amct_lite.calibration.store import Statistics
from amct_lite.errors import AmctError
from amct_lite.precision.forecast import Picks
from amct_lite.precision.losses import outputs_of
from amct_lite.precision.widths import Giver, Widths
from amct_lite.reports.report import OutputError
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Skip
from amct_lite.workers import Task, Workers, map_shards

Key = tuple[tuple[str, str], ...]
"""Layers with their widths, sorted."""
FLOAT_MODEL: Key = ()


def key_of(picks: Picks) -> Key:
    """What tells points from one another."""
    return tuple(sorted(picks.items()))


@dataclass(frozen=True)
class Made:
    """What was learned for a point: statistics, without sketches, and the weights that stay rounded to nearest. errors: of
    its outputs. metric: None where it was not to be evaluated."""

    statistics: Statistics
    nearest: tuple[Skip, ...]
    errors: tuple[OutputError, ...]
    metric: Metric | AmctError | None

    def onto(self, decided: Calibrated) -> Calibrated:
        """The point, from what was decided for it here."""
        known = replace(self.statistics, sketches=decided.calibration.statistics.sketches)
        return replace(decided, calibration=replace(decided.calibration, statistics=known), nearest=self.nearest)


@dataclass(frozen=True)
class _Bench:
    """What a worker makes points with. base: without its data. float_model: the user's file."""

    base: Calibrated
    rounding: str | None
    runtime: RuntimeOptions
    widths: Mapping[str, Widths]
    evaluator: Evaluator | None
    float_model: Path | None


@dataclass(frozen=True)
class _Wanted:
    key: Key
    evaluate: bool


class PointsAhead:
    """stay: what is sent is good until it ends."""

    def __init__(
        self,
        giver: Giver,
        widths: Mapping[str, Widths],
        referee: Referee | None,
        float_model: Path | None,
        stay: ExitStack,
        workers: Workers,
    ) -> None:
        source = giver.base.source
        lean = replace(source, original=source.prepared, stated_types=source.float_types)
        runtime = replace(giver.runtime, threads=giver.runtime.threads or workers.threads)
        evaluator = referee.evaluator if referee else None
        bench = _Bench(replace(giver.base, source=lean, data=None), giver.rounding, runtime, widths, evaluator, float_model)
        self._task: Task[_Bench, _Wanted, Made | Metric | AmctError] = Task(_packed(bench, stay, workers), pickle.loads, _make)
        self._workers = workers
        self._found: dict[Key, Made | Metric | AmctError] = {}

    @property
    def count(self) -> int:
        """How many points are made at a time."""
        return self._workers.count

    def __contains__(self, key: Key) -> bool:
        return key in self._found

    def make(self, wanted: Iterable[tuple[Key, bool]]) -> None:
        """Points, or FLOAT_MODEL, and whether to evaluate them; what is known is left out. It ends when all are made."""
        new = {key: _Wanted(key, evaluate) for key, evaluate in wanted if key not in self._found}
        if new:
            for item, answer in map_shards(self._workers, self._task, new.values()):
                self._found[item.key] = answer

    def made(self, key: Key) -> Made | None:
        """A point, None where it was not made. Raises what went wrong with it."""
        found = self._found.get(key)
        if isinstance(found, AmctError):
            raise found
        return found if isinstance(found, Made) else None

    def metric(self, key: Key) -> Metric | None:
        """Of a point, or FLOAT_MODEL; None where it was not evaluated. Raises what is wrong with the evaluator on it."""
        found = self._found.get(key)
        metric = found.metric if isinstance(found, Made) else found
        if isinstance(metric, AmctError):
            raise metric
        return metric


def make(giver: Giver, picks: Mapping[str, Widths]) -> tuple[Calibrated, ir.Model, tuple[OutputError, ...]]:
    """The point with these widths, its fake-quant model, and the errors of the outputs."""
    given = giver.give(picks).with_biases(giver.runtime)
    model = given.exports("generic").fake_quant
    return given, model, outputs_of(model, given, giver.runtime)


def evaluated(model: ir.Model, referee: Referee) -> Metric:
    """The metric of a point's model, which is written to a temporary folder."""
    with scratch.folder() as folder:
        path = folder / "candidate_fake_quant_model.onnx"
        ir.save(model, path)
        return referee.measure(path, "a model of mixed precision")


def evaluated_float(path: Path, referee: Referee) -> Metric:
    """The metric of the user's own file."""
    return referee.measure(path, "the float model")


def _make(bench: _Bench, wanted: _Wanted) -> Made | Metric | AmctError:
    referee = Referee(bench.evaluator) if bench.evaluator is not None else None
    try:
        if wanted.key == FLOAT_MODEL:
            assert referee is not None
            assert bench.float_model is not None
            ir.require_seen(bench.float_model)
            return evaluated_float(bench.float_model, referee)
        picks = {layer: bench.widths[name] for layer, name in wanted.key}
        given, model, errors = make(Giver(bench.base, bench.rounding, bench.runtime), picks)
    except AmctError as error:
        return error
    metric: Metric | AmctError | None = None
    if wanted.evaluate and referee is not None:
        try:
            metric = evaluated(model, referee)
        except AmctError as error:
            metric = error
    return Made(replace(given.calibration.statistics, sketches={}), given.nearest, errors, metric)


class _Packer(pickle.Pickler):
    """Models travel as `ir.packed` has them, until `stay` ends."""

    def __init__(self, buffer: io.BytesIO, stay: ExitStack, *, same_files: bool) -> None:
        super().__init__(buffer)
        self._stay = stay
        self._same_files = same_files

    def reducer_override(self, thing: object) -> Any:
        if not isinstance(thing, ir.Model):
            return NotImplemented
        return ir.unpacked, (self._stay.enter_context(ir.packed(thing, same_files=self._same_files)),)


def _packed(bench: _Bench, stay: ExitStack, workers: Workers) -> bytes:
    buffer = io.BytesIO()
    _Packer(buffer, stay, same_files=workers.same_files).dump(bench)
    return buffer.getvalue()
