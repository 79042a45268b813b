"""Whether and how a model is balanced before it is calibrated, or before a record is exported.

Balancing comes first and gives another float model; calibration, decisions and exports then work on that one. A record that
holds factors belongs to the model balanced with them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from amct_lite import ir
from amct_lite.balance.factors import decide_factors
from amct_lite.balance.graph import balance_model
from amct_lite.calibration.data import CalibrationData
from amct_lite.calibration.runner import collect
from amct_lite.calibration.store import Statistics
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, ConfigError, DataError
from amct_lite.loading import SourceModel, Unbalanced
from amct_lite.running import RunOptions
from amct_lite.types import Balance, QuantPlan, QuantRecord


def decide_balance(
    source: SourceModel,
    plan: QuantPlan,
    settings: QuantConfig,
    stream: CalibrationData | None,
    options: RunOptions,
) -> Balance | None:
    """The factors of the layers that `plan` wants balanced, from one pass over the data; None when there are none.

    Raises DataError for data that can be read only once: calibration needs a second pass, over the balanced model.
    """
    strengths = strengths_of(plan)
    if not strengths or stream is None:
        _require_something_to_fold(settings, strengths)
        return None
    if not stream.repeatable:
        raise DataError(
            f"balancing reads the data twice, and {stream.description} can be read only once. Pass a list, a path, or a "
            f"function that returns a new iterator."
        )
    total = stream.count
    statistics = collect(
        source.prepared,
        balanced_only(plan),
        stream,
        options=options.runtime,
        workers=options.workers,
        checkpoint=replace(options.checkpoint, stage="balance") if options.checkpoint else None,
        progress=lambda batches: options.progress("balance", batches, total),
    ).statistics
    sketches, _ = replace(statistics, trusted=settings.trust_data).usable()
    return decide_factors(source.prepared, strengths, sketches, fold=settings.balance_fold)


def strengths_of(plan: QuantPlan) -> dict[str, float]:
    """Layer → migration strength, for those that are to be balanced."""
    return {layer.name: layer.balance for layer in plan.layers if layer.balance}


def balanced_only(plan: QuantPlan) -> QuantPlan:
    """The part of `plan` whose tensors have to be seen before anything is balanced."""
    return replace(plan, layers=tuple(layer for layer in plan.layers if layer.balance), reads=())


def known_balance(statistics: Statistics, plan: QuantPlan, settings: QuantConfig) -> Balance | None:
    """How the model was balanced that `statistics` were collected from.

    Raises CalibrationError when `settings` ask for something else: that needs the data again.
    """
    known, wanted = statistics.balance, strengths_of(plan)
    _require_something_to_fold(settings, wanted or (known.strengths if known else {}))
    if wanted and (known is None or known.strengths != wanted or known.fold != settings.balance_fold):
        made = f"with {_words(known)}" if known else "without balancing"
        asked = _words(Balance({}, wanted, settings.balance_fold))
        raise CalibrationError(
            f"the calibration was made {made}, the configuration asks for {asked}. "
            f"Calibrate again with data, or ask for no balancing to take the calibration as it is."
        )
    return known


def balance_of(record: QuantRecord, *, fold: bool) -> Balance | None:
    """The factors that `record` holds; None when it holds none."""
    factors = {layer.key: layer.balance_factor for layer in record.layers if layer.balance_factor}
    return Balance(factors, fold=fold) if factors else None


def with_factors(record: QuantRecord, balance: Balance | None) -> QuantRecord:
    """`record`, made for a balanced model, with the factors that balance the model again."""
    factors = balance.factors if balance else {}
    return replace(record, layers=tuple(replace(layer, balance_factor=factors.get(layer.key, ())) for layer in record.layers))


def balanced(source: SourceModel, balance: Balance | None) -> SourceModel:
    """`source` with its prepared model balanced, and notes that say what became of each layer."""
    if balance is None:
        return source
    result = balance_model(source.prepared, balance)
    count, folded = len(balance.factors), len(result.folded)
    what = f", {folded} of them without a Mul in front" if balance.fold else ""
    notes = (
        f"balanced the inputs of {count} {'layer' if count == 1 else 'layers'} against their weights{what}",
        *(f"{skip.node}: its balancing keeps a Mul: {skip.reason}" for skip in result.skips),
    )
    before = Unbalanced(source.prepared, source.notes)
    return replace(source, prepared=result.model, unbalanced=before, notes=(*source.notes, *notes))


def rebalanced(source: SourceModel, statistics: Statistics, layers: Collection[str]) -> tuple[SourceModel, Statistics]:
    """Both without the balancing of `layers`, which are to stay in float; what was observed of the others still holds.

    Raises CalibrationError where the factors of one of `layers` are folded: its neighbours' inputs would change.
    """
    known = statistics.balance
    if source.unbalanced is None or known is None or known.factors.keys().isdisjoint(layers):
        return source, statistics
    if known.fold:
        name = next(layer for layer in known.factors if layer in layers)
        raise CalibrationError(
            f"{name} cannot be put back into float: its balancing is folded into the layer in front. Leave balance_fold out."
        )
    factors = {layer: values for layer, values in known.factors.items() if layer not in layers}
    strengths = {layer: strength for layer, strength in known.strengths.items() if layer in factors}
    left = Balance(factors, strengths) if factors else None
    changed = balanced(replace(source, **vars(source.unbalanced), unbalanced=None), left)
    return changed, replace(statistics, model=ir.checksum(changed.prepared), balance=left)


def fitted(statistics: Statistics, source: SourceModel, balance: Balance | None) -> Statistics:
    """`statistics` for `source`, which is balanced with some of the factors they were collected with and not with others,
    such as those of a layer that was taken out of the record; what was observed of the others still holds.

    Unchanged where the factors are other ones, or folded.
    """
    known, factors = statistics.balance, balance.factors if balance else {}
    if known is None or known.fold or any(known.factors.get(layer) != values for layer, values in factors.items()):
        return statistics
    before = balance_model((source.unbalanced or source).prepared, known).model
    if len(factors) == len(known.factors) or statistics.model != ir.checksum(before):
        return statistics
    return replace(statistics, model=ir.checksum(source.prepared), balance=balance)


def _require_something_to_fold(settings: QuantConfig, strengths: object) -> None:
    if settings.balance_fold and not strengths:
        advice = "None of them can be: leave it out." if settings.balance else "Set balance (--balance), or leave it out."
        raise ConfigError(f"{settings.place('balance_fold')} is set, but no layer is balanced. {advice}")


def _words(balance: Balance) -> str:
    strengths = sorted(set(balance.strengths.values()))
    count = len(balance.strengths)
    folded = ", folded" if balance.fold else ""
    return f"{count} balanced {'layer' if count == 1 else 'layers'} (strength {', '.join(map(str, strengths))}{folded})"
