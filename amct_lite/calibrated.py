"""A model that has seen its data, with all that was decided from them: from here on the data are not read again.

What is quantized of it can still be narrowed, and each narrowing is exported from the same statistics. Nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from amct_lite.biases import settle_biases
from amct_lite.build import Exports, build_exports
from amct_lite.calibration.data import CalibrationData
from amct_lite.calibration.runner import Calibration
from amct_lite.calibration.store import Sketches
from amct_lite.config import Override, QuantConfig
from amct_lite.decide import Decision, decide
from amct_lite.flow.reads import narrowed_flow
from amct_lite.loading import SourceModel
from amct_lite.plan import ORT, resolve
from amct_lite.prebalance import rebalanced, with_factors
from amct_lite.rounding.lesson import Lesson
from amct_lite.roundings import rounders_of, settle_roundings
from amct_lite.runtime import RuntimeOptions
from amct_lite.settled import Settled
from amct_lite.sparing import spare
from amct_lite.tensors import without_obstacles
from amct_lite.types import QuantPlan, QuantRecord, Skip
from amct_lite.workers import Workers


@dataclass(frozen=True)
class Calibrated:
    """usable: the sketches that were decided from. data: what was read, None where there was none. warnings: what is doubtful
    about the data. nearest: weights that stay rounded to nearest although more was asked for. settled: the models of this very
    decision, where they were made to settle its biases."""

    source: SourceModel
    settings: QuantConfig
    plan: QuantPlan
    calibration: Calibration
    usable: Sketches
    decision: Decision
    data: CalibrationData | None = None
    warnings: tuple[str, ...] = ()
    nearest: tuple[Skip, ...] = ()
    settled: Settled | None = None

    def without(
        self, layers: Mapping[str, str], *, half: bool = False, tensors: Mapping[str, str] = MappingProxyType({})
    ) -> Calibrated:
        """The same with these layers left in float (`half`: in float16), each for its reason; the scales of the others stay as
        they are. A single tensor that their weights would then read is left alone, too. tensors: keys of tensors between the
        layers that are not passed on as integers any more, with the reasons."""
        kept = tuple(layer for layer in self.plan.layers if layer.name not in layers)
        plan = replace(self.plan, layers=kept)
        lost = [read for read in plan.reads if read.key in tensors]
        if plan.target == ORT:  # what the layers that are gone no longer hand on
            plan = narrowed_flow(plan, self.source.prepared, {read.tensor.name for read in lost})
        left = tuple(Skip(layer.name, layer.op_type, layers[layer.name]) for layer in self.plan.layers if layer.name in layers)
        passed_on = {read.key for read in plan.reads}
        dropped = tuple(Skip(read.key, read.op_type, tensors[read.key]) for read in lost if read.key not in passed_on)
        reads, blocked = without_obstacles(plan.reads, self.source.prepared, {layer.name for layer in kept})
        stays = {*(layer.name for layer in kept), *(read.key for read in reads)}
        record = QuantRecord(tuple(entry for entry in self.decision.record.layers if entry.key in stays))
        source, statistics = rebalanced(self.source, self.calibration.statistics, layers)
        halves = (*self.plan.halves, *(skip.node for skip in left)) if half else self.plan.halves
        settings = _skipping(self.settings, left)
        return replace(
            self,
            source=source,
            calibration=replace(self.calibration, statistics=replace(statistics, halves=halves)),
            settings=replace(settings, float16=(*settings.float16, *halves[len(self.plan.halves) :])),
            plan=replace(plan, reads=reads, skips=(*self.plan.skips, *left, *dropped, *blocked), halves=halves),
            decision=Decision(record, {name: text for name, text in self.decision.repairs.items() if name not in layers}),
            settled=None,
        )

    def decided_for(self, settings: QuantConfig) -> Calibrated:
        """The same model and statistics with everything decided anew, as `settings` say; roundings are not learned again.
        What is quantized must have been before: others have no statistics, and `without` leaves layers out."""
        plan = spare(resolve(settings, self.source.prepared), self.source.prepared, self.usable)
        decision = decide(self.source.prepared, plan, self.usable, self.source.unfused, self.source.half_nodes)
        record = with_factors(decision.record, self.calibration.statistics.balance)
        statistics = replace(self.calibration.statistics, halves=plan.halves)
        calibration = replace(self.calibration, statistics=statistics)
        decision = replace(decision, record=record)
        return replace(self, settings=settings, plan=plan, calibration=calibration, decision=decision, nearest=(), settled=None)

    def with_roundings(
        self,
        runtime: RuntimeOptions,
        progress: Callable[[int], None],
        *,
        apart: bool = False,
        workers: Workers | None = None,
    ) -> Calibrated:
        """The same with the roundings that its weight methods learn, behind one another or each alone (`apart`, where `workers`
        may share them). progress: as for `with_biases`."""
        corrected = self.settings.bias_correction != "none"
        lesson = Lesson(self.decision.record, rounders_of(self.plan), self.calibration.feeds, corrected, runtime)
        learned, nearest = settle_roundings(
            *(self.calibration, self.source.prepared, lesson), apart=apart, workers=workers, progress=progress
        )
        return replace(self, calibration=learned, nearest=nearest, settled=None)

    def with_biases(self, runtime: RuntimeOptions, progress: Callable[[int], None] = lambda _layers: None) -> Calibrated:
        """The same with the bias correction that its settings ask for, settled and measured.

        progress: called with the number of layers that are done.
        """
        calibration, settled = settle_biases(
            self.calibration,
            self.source.prepared,
            self.decision.record,
            self.settings.bias_correction,
            halves=self.plan.halves,
            options=runtime,
            progress=progress,
        )
        return replace(self, calibration=calibration, settled=settled)

    def exports(self, target: str | None = None) -> Exports:
        """The models, for `target` (None: the one of the settings); its biases must have been settled."""
        statistics = self.calibration.statistics
        return build_exports(
            self.source.prepared,
            self.decision.record,
            target=target or self.settings.target,
            statistics=statistics,
            bias_correction=statistics.bias_correction,
            input_shapes=self.settings.input_shapes,
            halves=self.plan.halves,
            settled=self.settled,
        )


def _skipping(settings: QuantConfig, left: tuple[Skip, ...]) -> QuantConfig:
    """`settings` that also skip these layers, whatever they say of them elsewhere."""
    skipping = replace(settings, skip=(*settings.skip, *(skip.node for skip in left)))
    insisting = [skip.node for skip in left if not skipping.for_layer(skip.node, skip.op_type).skip]
    overrides = {name: replace(settings.layers.get(name, Override()), skip=True) for name in insisting}
    return replace(skipping, layers={**settings.layers, **overrides})
