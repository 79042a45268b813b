"""A record, taken to the model it is for: the model prepared as it was for the record, and the calibration beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from amct_lite import ir, passes
from amct_lite.balance.graph import balance_model
from amct_lite.calibration import store
from amct_lite.calibration.store import Statistics
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError
from amct_lite.fitting import require_input_shapes
from amct_lite.loading import SourceModel, fusion_of, load_prepared
from amct_lite.plan import halves_of, layer_facts
from amct_lite.prebalance import balance_of, balanced, fitted
from amct_lite.record import LayerFacts, read_record, record_digest, require_valid
from amct_lite.trained import limited
from amct_lite.types import Balance, Fusion, QuantRecord, Subject


@dataclass(frozen=True)
class Recorded:
    """statistics: of this model; None where there are none. notes, warnings: about them. halves: the layers that compute in
    float16 where the record does not name them."""

    source: SourceModel
    record: QuantRecord
    statistics: Statistics | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    halves: tuple[str, ...] = ()


def take_record(
    model: str | Path | ir.Model,
    record: QuantRecord | str | Path,
    settings: QuantConfig,
    statistics: str | Path | Statistics | None = None,
) -> Recorded:
    """settings: target, input shapes, fusion, float16 and balance_fold count. statistics: None for those beside the record.

    Raises RecordError when the record does not fit the model, CalibrationError when the statistics given do not.
    """
    given = record if isinstance(record, QuantRecord) else read_record(record)
    known, beside = _statistics_of(given, statistics)
    source = _prepared_for(given, known, model, settings)
    require_valid(given, facts_for(given, source, settings.target))
    require_input_shapes(settings, source.prepared)
    source = limited(source, given)
    fold = settings.balance_fold or bool(known and known.balance and known.balance.fold)
    balance = balance_of(given, fold=fold)
    source = balanced(source, balance)
    known = fitted(known, source, balance) if known else None
    taken = _with_statistics(source, given, known, beside)
    halves = (*halves_of(settings, source.prepared), *(taken.statistics.halves if taken.statistics else ()))
    return replace(taken, halves=halves)


def model_facts(record: QuantRecord, model: str | Path | ir.Model, settings: QuantConfig) -> Mapping[str, LayerFacts]:
    """What `take_record` has `record` say of each node of `model`, with the calibration beside the record."""
    return facts_for(record, _prepared_for(record, _statistics_of(record, None)[0], model, settings), settings.target)


def fusion_beside(record: QuantRecord, fusion: Fusion) -> Fusion:
    """`fusion_of` the record and the calibration beside it."""
    return _fusion_of(record, _statistics_of(record, None)[0], fusion)


def _prepared_for(
    record: QuantRecord, known: Statistics | None, model: str | Path | ir.Model, settings: QuantConfig
) -> SourceModel:
    return load_prepared(model, _fusion_of(record, known, settings.folding), "take")


def _fusion_of(record: QuantRecord, known: Statistics | None, fusion: Fusion) -> Fusion:
    unfused, taken_apart = (known.unfused, known.taken_apart) if known else ((), False)
    return fusion_of(record, fusion, unfused, taken_apart=taken_apart)


def facts_for(record: QuantRecord, source: SourceModel, target: str) -> Mapping[str, LayerFacts]:
    """What `record` may say of each node of the prepared `source`, and of the Muls that its own balance factors put there: with
    the target ort, these may read a single tensor."""
    facts = layer_facts(target, source.prepared)
    balance = balance_of(record, fold=False) if any(entry.tensor_quantize for entry in record.layers) else None
    given = balance.factors if balance else {}
    factors = {name: own for name, own in given.items() if name in facts and facts[name].input_channels == len(own)}
    return layer_facts(target, balance_model(source.prepared, Balance(factors)).model) | facts if factors else facts


def subject_of(source: SourceModel, record: QuantRecord | None = None) -> Subject:
    """By what figures about this model, with this record, are known again."""
    return Subject(ir.checksum(source.original), record_digest(record) if record is not None else None)


def put_together(statistics: Statistics, source: SourceModel, fusion: Fusion) -> Statistics:
    """`statistics` for `source`, which is whole, where they were collected from this very model taken apart: each tensor of it
    is in both, under the same name. Unchanged otherwise. fusion: how `source` was prepared."""
    if source.taken_apart or not statistics.taken_apart:
        return statistics
    apart = passes.prepare(source.original, replace(fusion, take_apart=True)).model
    if statistics.balance is not None:
        apart = balance_model(apart, statistics.balance).model
    if statistics.model != ir.checksum(apart):
        return statistics
    return replace(statistics, model=ir.checksum(source.prepared), taken_apart=False)


def require_same_model(statistics: Statistics, source: SourceModel) -> None:
    """Raises CalibrationError for the statistics of another model, or of this one prepared in another way."""
    if statistics.model != ir.checksum(source.prepared):
        if set(statistics.unfused) != set(source.unfused):
            then, now = (", ".join(layers) or "no layer" for layers in (statistics.unfused, source.unfused))
            raise CalibrationError(
                f"the calibration was made with {then} kept apart from normalizations, now it is {now}. "
                "Set fusion and skip_fusion as they were, or calibrate again."
            )
        if source.taken_apart and not statistics.taken_apart:
            raise CalibrationError(
                "the calibration was made for another target than ort, which takes HardSwish apart, and holds nothing of the "
                "parts. Calibrate again with data (--data and --target ort, without --from), which serves every target, or "
                "choose the target that it was made for."
            )
        raise CalibrationError(
            f"the calibration was made from another model than {source.name} (or the model has changed since). "
            f"Calibrate again with data."
        )


def _statistics_of(record: QuantRecord, given: str | Path | Statistics | None) -> tuple[Statistics | None, Path | None]:
    """What was given, else what lies beside the record, then with its path."""
    if given is not None:
        return given if isinstance(given, Statistics) else store.load(given), None
    path = store.beside(record.source) if record.source else None
    return (store.load(path), path) if path else (None, None)


def _with_statistics(source: SourceModel, record: QuantRecord, known: Statistics | None, path: Path | None) -> Recorded:
    """path: where `known` was found; None for what was given, which must be of this model."""
    if known is None:
        return Recorded(source, record, None, notes=("no calibration file: biases are not corrected",))
    if path is None:
        require_same_model(known, source)
        return Recorded(source, record, known)
    if known.model == ir.checksum(source.prepared):
        used = f"bias correction ({known.bias_correction}) and static shapes from {path}"
        return Recorded(source, record, known, notes=(used,))
    other = "other balance factors or another model" if source.unbalanced or known.balance else "another model"
    unused = f"{path} belongs to {other} and was not used; biases are not corrected."
    return Recorded(source, record, None, warnings=(unused,))
