"""The calibration that lies beside a record: found again for the model it was made from, whoever exports it later."""

from __future__ import annotations

import logging
from pathlib import Path

from amct_lite import ir
from amct_lite.calibration import store
from amct_lite.calibration.store import Statistics
from amct_lite.compat.collector import state_path
from amct_lite.loading import SourceModel
from amct_lite.prebalance import balance_of, balanced
from amct_lite.types import Fusion, QuantRecord

_LOG = logging.getLogger(__name__)
AS_IT_IS = Fusion(enabled=False)
"""A calibration model has been prepared: what is not fused in it is to stay apart."""


def kept_calibration(record_file: Path, record: QuantRecord, source: SourceModel) -> Statistics | None:
    """What the runs of the calibration of `source` left; None where there were none, or of another model, which is logged.

    source: prepared as it was for the record, not balanced.
    """
    path = state_path(record_file)
    if not path.is_file():
        return None
    known = store.load(path)
    prepared = balanced(source, balance_of(record, fold=False)).prepared
    if known.model != ir.checksum(prepared):
        _LOG.warning("%s belongs to another model, or other balance factors: it is not used.", path)
        return None
    return known
