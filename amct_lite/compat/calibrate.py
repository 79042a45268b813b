"""AMCT's calibration as one call: configuration, calibration model, runs, saved models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from amct_lite.calibration.feeds import check_feeds, input_specs
from amct_lite.compat.api import balances, create_quant_config, quantize_model, quantize_preprocess, save_model
from amct_lite.compat.session import CalibrationSession
from amct_lite.loading import load_prepared
from amct_lite.types import Feeds

Runs = Callable[[Path], None]
"""Runs the calibration model at a path `batch_num` times."""


def calibrate(model: Path, save_path: str, runs: Runs, *, batch_num: int, config: Path | None) -> None:
    """Quantize `model` with what `runs` feeds it, and write the three files of `save_model`.

    config: a simplified configuration, which then decides about batch_num. Where it balances layers, the data are read twice.
    """
    with tempfile.TemporaryDirectory(prefix="amct_lite_") as folder:
        place = Path(folder)
        settings, modified, record = place / "config.json", place / "modified.onnx", place / "record.txt"
        create_quant_config(settings, model, batch_num=batch_num, config_defination=config)
        if balances(settings, model):
            quantize_preprocess(settings, record, model, modified)
            runs(modified)
        quantize_model(settings, model, modified, record)
        runs(modified)
        save_model(modified, record, save_path)


def feeding(model: Path, batches: Callable[[int], Iterable[Feeds]]) -> Runs:
    """Runs that take `batches(batch_num)`, each checked against the model's inputs and converted to their types."""
    specs = input_specs(load_prepared(model).prepared)

    def run(modified: Path) -> None:
        session = CalibrationSession(modified)
        for number, feeds in enumerate(batches(session.batch_num)):
            session.run(None, check_feeds(feeds, specs, f"batch {number}"))

    return run
