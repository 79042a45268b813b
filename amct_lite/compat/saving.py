"""Saves a calibrated model: its record complete, its roundings learned, and all files written together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from amct_lite import ir
from amct_lite.balance.graph import factors_in
from amct_lite.calibration import store
from amct_lite.calibration.store import Statistics
from amct_lite.compat.calibration_model import strip, watches_in
from amct_lite.compat.collector import state_path
from amct_lite.compat.job import Watch, rounders_in
from amct_lite.compat.kept_calibration import AS_IT_IS
from amct_lite.compat.kept_samples import read_samples
from amct_lite.compat.learned_roundings import learn_and_keep
from amct_lite.compat.origin import take_origin
from amct_lite.compat.outputs import export
from amct_lite.compat.partial_record import undecided
from amct_lite.errors import CalibrationError, RecordError, UnsupportedModelError
from amct_lite.loading import load_prepared
from amct_lite.prebalance import with_factors
from amct_lite.record import read_record
from amct_lite.weights import Rounder


def save_calibrated(modified: Path, record: Path, save_path: str | os.PathLike[str], *, keep_as: Path | None = None) -> None:
    """Write the three files of `save_model`. keep_as: where to write the record, too, and beside it what belongs to it.

    Raises CalibrationError that names the layers without data when there were fewer runs than `batch_num`.
    """
    model = ir.load(modified).model
    watches = watches_in(model)
    if watches[0].balances:
        raise UnsupportedModelError(f"{modified} was written by quantize_preprocess. Save the model that quantize_model wrote.")
    known = finished_calibration(record, watches)
    origin = take_origin(model)
    strip(model)
    model.ir_version = origin.ir_version or model.ir_version
    _require_same_factors(model, record)
    if rounders := rounders_in(watches):
        known = _learned(model, record, known, rounders)
    copies = {keep_as: record, state_path(keep_as): state_path(record)} if keep_as else {}
    export(
        *(model, record, save_path),
        names=origin.names,
        statistics=known,
        fusion=AS_IT_IS,
        inputs=[modified],
        balanced=True,
        copies=copies,
    )


def _learned(model: ir.Model, record_file: Path, known: Statistics | None, rounders: Mapping[str, Rounder]) -> Statistics:
    """What is known, with the roundings that are learned from the samples of the runs, also beside the record.

    Raises CalibrationError when the samples, or what else the runs left, are gone.
    """
    if known is None:
        raise CalibrationError(
            f"{state_path(record_file)} is gone, or of another calibration: the rounding of {', '.join(rounders)} is learned "
            f"from what the runs left there. Keep it beside the record; now call quantize_model and run the model again."
        )
    samples = read_samples(record_file, known.runs)
    prepared = load_prepared(model, AS_IT_IS).prepared
    record = with_factors(read_record(record_file), None)
    return learn_and_keep(record_file, known, prepared, record, rounders, samples)


def _require_same_factors(model: ir.Model, record_file: Path) -> None:
    """Raises RecordError when balance factors were edited since `quantize_model` put them into the model."""
    in_model = factors_in(model)
    for layer in read_record(record_file).layers:
        factors = layer.balance_factor if any(factor != 1 for factor in layer.balance_factor) else ()
        there = in_model.get(layer.key, ())
        # The model holds 1 / f: two roundings of 2^-24.
        if len(there) != len(factors) or not np.allclose(there, factors, rtol=2.0**-22, atol=0):
            raise RecordError(
                f"{record_file}: the tensor_balance_factor of {layer.key} are not those that the model "
                f"was calibrated with. Put the old ones back, or call quantize_model and calibrate again."
            )


def finished_calibration(record_file: str | os.PathLike[str], watches: Sequence[Watch]) -> Statistics | None:
    """What the runs left beside the record, if it is of this model.

    Raises CalibrationError that names the layers without data when there were fewer runs than `batch_num`.
    """
    path = state_path(record_file)
    found = store.load(path) if path.is_file() else None
    known = found if found is not None and (found.model, found.task) == (watches[0].model, watches[0].task) else None
    missing = undecided(Path(record_file))
    if missing:
        runs = known.runs if known else 0
        raise CalibrationError(
            f"{os.fspath(record_file)} has no activation factors for {', '.join(missing)}: the calibration model was run "
            f"{runs} of {watches[0].batch_num} times. Run it {watches[0].batch_num - runs} more times, then save again."
        )
    return known
