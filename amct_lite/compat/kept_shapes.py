"""The input shapes of the runs that made a record: they lie in the file of the calibration beside it."""

from __future__ import annotations

import logging
from pathlib import Path

from amct_lite import ir
from amct_lite.calibration import store
from amct_lite.compat.collector import state_path
from amct_lite.compat.fake_weights import insert_known_weights
from amct_lite.loading import SourceModel, load_prepared
from amct_lite.prebalance import balance_of, balanced
from amct_lite.types import Fusion, QuantRecord

_LOG = logging.getLogger(__name__)
AS_IT_IS = Fusion(enabled=False)
"""A calibration model has been prepared: what is not fused in it is to stay apart."""


def kept_shapes(record_file: Path, record: QuantRecord, source: SourceModel) -> dict[str, tuple[int, ...]]:
    """Input → the shape that all runs of the calibration of `source` with `record` had; empty where there was none, or it was
    of another model or other weights, which is logged.

    source: prepared as it was for the record, not balanced.
    """
    path = state_path(record_file)
    if not path.is_file():
        return {}
    known = store.load(path)
    model = ir.clone(balanced(source, balance_of(record, fold=False)).prepared)
    insert_known_weights(model, record)
    if known.model != calibrated_checksum(model):
        _LOG.warning("%s belongs to another model or record: its input shapes are not used.", path)
        return {}
    return {name: shape for name, shape in known.shapes.items() if shape is not None}


def calibrated_checksum(model: ir.Model) -> str:
    """Of a calibration model without its nodes, as `save_model` will find it."""
    return ir.checksum(load_prepared(model, AS_IT_IS).prepared)
