"""The search for mixed precision from end to end: statistics once, losses and costs of all choices, the optimum, measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from amct_lite import ir, scratch
from amct_lite.accuracy.evaluation import Referee
from amct_lite.accuracy.journal import MetricJournal, journal_key
from amct_lite.calibrated import Calibrated
from amct_lite.calibration.data import DataSource
from amct_lite.calibration.store import Statistics
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.pipeline import calibrate, conclude
from amct_lite.precision.ahead import PointsAhead, key_of
from amct_lite.precision.budget import MAX_LOSS, Budget
from amct_lite.precision.choosing import (
    Prices,
    asked_next,
    cheapest_acceptable,
    descend,
    least_measured,
    neighbours,
    optima,
    remarks,
    require_affordable,
    within_budget,
)
from amct_lite.precision.costs import Meter
from amct_lite.precision.losses import MEASURES, Losses, local_half_losses, local_losses, network_losses, read_losses
from amct_lite.precision.measured import Bench, Measured
from amct_lite.precision.outcome import Found
from amct_lite.precision.request import Request
from amct_lite.precision.space import Offers, offers_of
from amct_lite.precision.strategies import side_by_side, to_compare
from amct_lite.precision.widths import FLOAT16, FLOATS_OF, Giver, floats_named
from amct_lite.record import record_digest
from amct_lite.reports.warnings import SEARCH as SEARCH_LEVERS
from amct_lite.running import Progress, RunOptions
from amct_lite.search.knapsack import Point, Variable, front
from amct_lite.types import QuantRecord


def search_precision(
    model: str | Path | ir.Model,
    data: DataSource | None,
    asked: Request,
    *,
    config: QuantConfig | None = None,
    statistics: str | Path | Statistics | None = None,
    journal: str | Path | None = None,
    tell: Callable[[str], None] = lambda _text: None,
    options: RunOptions | None = None,
    on_measured: Callable[[str, Measured], None] = lambda _name, _measured: None,
) -> Found:
    """`amct_lite.search_precision`, where all is said of the arguments; `config` has been read."""
    chosen, settings = options or RunOptions(), config or QuantConfig()
    budget, referee = asked.budget, asked.referee(chosen.workers)
    base = calibrate(model, data, settings, statistics=statistics, options=chosen)
    if not base.calibration.feeds:
        raise CalibrationError("losses are measured on samples: pass the data too, also with saved statistics.")
    floats = floats_named(asked.widths, settings.target)
    meter = Meter(base.source.prepared, _shapes(base), FLOATS_OF[settings.target][0].data)
    giver = Giver(base, asked.rounding, chosen.runtime, chosen.progress, chosen.workers)
    offers = offers_of(giver, floats, asked.quantized).limited(asked.limits)
    prices = _prices(meter, budget, offers)
    offers = offers.learned(giver)
    kept = MetricJournal(Path(journal) if journal else None, _key(offers, referee), "widths", tell)
    losses = _losses(base, offers, asked.sensitivity, chosen, journal)
    offers = offers.within_range(losses)
    variables = offers.variables(budget, meter, losses)
    with ExitStack() as stay:
        path = base.source.file(stay.enter_context(scratch.folder())) if referee else None
        ahead = PointsAhead(giver, offers.widths, referee, path, stay, chosen.workers) if chosen.workers else None
        bench = Bench(giver, meter, offers, losses, referee, kept, path, on_measured, ahead)
        point, points = _choose(bench, budget, prices, variables)
        taken = bench.measure("mixed", point.picks)
        cheaper, dearer = _beside(bench, points, point)
        strategies = side_by_side(bench, taken)
    accepted = bench.calibrated(point.picks)
    result = conclude(accepted, chosen, levers=SEARCH_LEVERS)
    kept.remove()
    for name in losses:
        if of_losses := _journal_of(journal, name):
            of_losses.unlink(missing_ok=True)
    return Found(
        result,
        accepted.settings,
        budget,
        prices,
        taken,
        cheaper,
        dearer,
        tuple(replace(found, loss=bench.forecast(found.picks)) for found in points),
        tuple(variable.members for variable in variables if len(variable.members) > 1),
        strategies,
        losses,
        (*offers.notes, *_shape_notes(base), *remarks(taken, cheaper)),
        bench.evaluations,
        base.data.passes if base.data else 0,
    )


def _choose(bench: Bench, budget: Budget, prices: Prices, variables: Sequence[Variable]) -> tuple[Point, tuple[Point, ...]]:
    """The point that is taken, and the front that it is a part of or lies beside."""

    def measure(point: Point) -> Measured:
        return bench.measure("mixed", point.picks)

    offers = bench.offers
    bench.expect(to_compare(offers).values(), only_made=(offers.everywhere(name, "W8A8") for name in offers.uniform))
    if budget.kind == MAX_LOSS:
        return _least_acceptable(bench, budget, variables)
    forecast = bench.forecast
    found = optima(partial(within_budget, budget, prices), variables, forecast.factors, forecast.gains)
    bench.expect(point.picks for point, _ in found)
    best, weights = min(found, key=lambda optimum: measure(optimum[0]).loss)
    points = front(weights)
    bench.expect(point.picks for point in neighbours(points, best) if point)
    return least_measured(best, points, measure), points


def _least_acceptable(bench: Bench, budget: Budget, variables: Sequence[Variable]) -> tuple[Point, tuple[Point, ...]]:
    points = front(variables)

    def acceptable(found: Measured) -> bool:
        return found.loss <= budget.value if found.acceptable is None else found.acceptable

    def measure(point: Point) -> Measured:
        if bench.ahead is not None and not bench.is_ahead(point.picks):
            judged = {key_of(found.picks): acceptable(found) for found in bench.known}
            bench.expect([point.picks, *asked_next(variables, points, judged, bench.ahead.count)])
        return bench.measure("mixed", point.picks)

    start = cheapest_acceptable(points, measure, acceptable)
    return descend(start, variables, points, measure, acceptable), points


def _beside(bench: Bench, points: Sequence[Point], chosen: Point) -> tuple[Measured | None, Measured | None]:
    below, above = neighbours(points, chosen)
    bench.expect(point.picks for point in (below, above) if point)
    return (
        bench.measure("cheaper", below.picks) if below else None,
        bench.measure("dearer", above.picks) if above else None,
    )


def _journal_of(journal: str | Path | None, widths: str) -> Path | None:
    """Where their losses are kept: in a file of their own, since a journal is of one way to measure."""
    return Path(f"{journal}.{widths}.losses") if journal else None


def _losses(
    base: Calibrated, offers: Offers, sensitivity: str | Path, options: RunOptions, journal: str | Path | None
) -> Losses:
    if sensitivity not in MEASURES:
        return read_losses(Path(sensitivity), offers.lossy, ir.checksum(base.source.original))
    found: dict[str, dict[str, float]] = {}
    for name, layers in offers.lossy.items():
        given = offers.uniform.get(name, base)
        if sensitivity == "local":
            options.progress(f"losses of {name}", 0, None)
            local = local_half_losses if name == FLOAT16.name else local_losses
            found[name] = local(given, layers, options.runtime)
        else:
            told = replace(options, progress=partial(_told_of, name, options.progress))
            found[name] = network_losses(given, name, layers, str(sensitivity), _journal_of(journal, name), told)
    return found


def _told_of(widths: str, progress: Progress, stage: str, done: int, total: int | None) -> None:
    progress(f"{widths}: {stage}", done, total)


def _prices(meter: Meter, budget: Budget, offers: Offers) -> Prices:
    """What is fixed: all that the float model costs but for the layers that can be quantized.

    Raises ConfigError where the float model costs nothing of the kind that points are compared by, and for a budget that no
    choice fits in.
    """
    if not meter.whole(budget.cost):
        raise ConfigError(
            f"the budget {budget} chooses widths by {budget.cost}, of which this model has none: there is nothing to choose. "
            "Use `amct-lite calibrate`."
        )
    nothing = QuantRecord(())
    total, layers = meter.total(nothing, {}), meter.layers(nothing, {})
    spent = total.bitops if budget.cost == "bitops" else total.weight_bytes
    own = sum(layers[layer.name][budget.cost] for layer in offers.plan.layers if layer.name in layers)
    prices = Prices(budget.cost, meter.whole(budget.cost), spent - own)
    if budget.kind != MAX_LOSS:
        require_affordable(budget, prices, offers.variables(budget, meter))
    return prices


def _shapes(base: Calibrated) -> dict[str, tuple[int, ...]]:
    """What costs are counted for: what the user says of the inputs, else the first sample."""
    return {**{name: array.shape for name, array in base.calibration.feeds[0].items()}, **base.settings.input_shapes}


def _shape_notes(base: Calibrated) -> tuple[str, ...]:
    """Where samples differ in shape and the user has not said what to count."""
    shapes, seen = _shapes(base), base.calibration.statistics.shapes
    open_ = [f"{name} {shapes[name]}" for name, dims in seen.items() if dims is None and name not in base.settings.input_shapes]
    if not open_:
        return ()
    return (f"the samples differ in shape: costs are those of the first one, {', '.join(open_)} (--input-shape for others)",)


def _key(offers: Offers, referee: Referee | None) -> str:
    """A digest of what metrics depend on: model, scales of all widths, biases, and the evaluator's own file."""
    decided = (
        f"{name} {record_digest(given.decision.record)} {given.settings.bias_correction}"
        for name, given in offers.uniform.items()
    )
    return journal_key(next(iter(offers.uniform.values())).source.prepared, decided, referee)
