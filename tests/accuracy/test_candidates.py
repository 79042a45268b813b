"""A search needs layers to choose from."""

from __future__ import annotations

from pathlib import Path

import pytest

from amct_lite import ir
from amct_lite.accuracy.candidates import Search
from amct_lite.accuracy.evaluation import MaxLoss, Referee
from amct_lite.accuracy.journal import MetricJournal
from amct_lite.errors import CalibrationError
from amct_lite.search.trials import Found, Layers


def test_nothing_ranked_is_an_error_before_anything_is_evaluated() -> None:
    """Where only single tensors are quantized, everything quantized and everything in float would look the same."""

    def never(_path: str) -> float:
        raise AssertionError

    def export(_layers: Layers) -> ir.Model:
        raise AssertionError

    search = Search(Path("model.onnx"), (), export, Referee(MaxLoss(never, 1.0)), MetricJournal(None, "", "in_float", print))
    with pytest.raises(CalibrationError, match="no layer is quantized, so none can go back to float"):
        search.run(lambda _ranking, _trials: Found(frozenset(), minimal=True))
