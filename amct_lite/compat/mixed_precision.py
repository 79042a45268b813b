"""AMCT's search for mixed precision: its arguments and its file, on this package's search."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

from amct_lite import scratch
from amct_lite.accuracy.evaluation import source_of
from amct_lite.calibration.observing import MOST_KEPT
from amct_lite.calibration.user_code import running_user_code
from amct_lite.compat.api import PathLike, create_quant_config
from amct_lite.compat.arguments import require_arguments
from amct_lite.compat.auto_calibration import AmctEvaluator, require_evaluator
from amct_lite.compat.collector import runs_for
from amct_lite.compat.configs import load_amct_config, load_configured
from amct_lite.compat.console import on_console
from amct_lite.compat.json_writer import json_text, laid_out
from amct_lite.compat.kept_samples import read_samples
from amct_lite.compat.mixed_config import MixedConfig, read_mixed_config
from amct_lite.compat.preparing import open_job, write_calibration_model
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.precision.budget import Budget
from amct_lite.precision.measured import Measured
from amct_lite.precision.mixed import search_precision
from amct_lite.precision.request import Request
from amct_lite.registry import did_you_mean
from amct_lite.types import Feeds

_LOG = logging.getLogger(__name__)
_NAME = "auto_mixed_precision_search"
_WIDTHS = ("float16", "W8A8", "W4A4")
_BITS = {"W8A8": 8, "W4A4": 4, "float16": 16}
SENSITIVITIES = {"MseSimilarity": "local"}
"""AMCT's word: the normalized squared error of each layer's own output, which adds up. Others do not."""


@on_console
def auto_mixed_precision_search(
    model: PathLike,
    input_data: object,
    config: PathLike,
    save_dir: PathLike,
    evaluator: AmctEvaluator,
    sensitivity: str = "MseSimilarity",
) -> None:
    """Quantize `model` (the path of an ONNX file) with 4, 8 or 16 bits (float16) for each layer, so that the sum of the layers'
    sensitivities is least and their bit operations are at most those in float16 over `compress_ratio`.

    input_data: AMCT traces PyTorch models with it; an ONNX file needs none, so it has no effect. config: a `.cfg` with
    compress_ratio, ptq_cfg and quant_bit_limit. save_dir: folder and prefix, as `save_path` elsewhere. evaluator: its
    `calibration` runs once and gives the samples, its `evaluate` and `metric_eval` judge what was found.
    Writes the models and the record, and `auto_mixed_precision_search_bits.json` (layer → num_bits),
    `…_config.json` (AMCT's, with the widths) beside them.
    Raises ConfigError for a configuration that will not do, DataError for what the user's code is to blame for.
    """
    del input_data
    require_arguments(model=model, config=config, save_dir=save_dir)
    if sensitivity not in SENSITIVITIES:
        hint = did_you_mean(str(sensitivity), SENSITIVITIES)
        raise ConfigError(
            f"the sensitivity {sensitivity!r} cannot be searched with{hint}: the sum over the layers is minimised, and only "
            f"the squared error adds up. Choose {', '.join(SENSITIVITIES)}."
        )
    require_evaluator(evaluator)
    asked = read_mixed_config(config)
    for name in asked.without_effect:
        _LOG.warning("%s: %s has no effect: nothing is dumped or trained here.", config, name)
    with scratch.folder() as folder:
        feeds = _samples(Path(model), evaluator, asked, folder)
        settings, _ = load_configured(folder / "config.json", Path(model), load_amct_config)
    request = Request(
        Budget("bitops", 1 / asked.compress_ratio, of_layers=True),
        widths=_WIDTHS,
        limits=asked.limits,
        evaluate=evaluator,
        sensitivity=SENSITIVITIES[sensitivity],
        rounding=None,
    )
    found = search_precision(Path(model), feeds, request, config=settings, on_measured=_tell)
    plan = found.result.plan
    assert plan is not None
    bits = {layer: {"num_bits": _BITS[widths]} for layer, widths in found.chosen.picks.items()}
    texts = {f"{_NAME}_bits.json": laid_out(bits), f"{_NAME}_config.json": json_text(plan, found.config)}
    found.save(os.fspath(save_dir), inputs=[Path(model), Path(config)], also=texts)


def _samples(model: Path, evaluator: AmctEvaluator, asked: MixedConfig, folder: Path) -> list[Feeds]:
    """What the evaluator calibrates with, the first 64 batches at most."""
    settings, modified, record = folder / "config.json", folder / "modified_model.onnx", folder / "record.txt"
    create_quant_config(settings, model, config_defination=asked.ptq_cfg)
    job = open_job(model, settings)
    job = replace(job, config=replace(job.config, batches=MOST_KEPT))
    write_calibration_model(job, record, modified, keeps_samples=True)
    source = source_of(evaluator.calibration)
    with running_user_code(source, "Correct the evaluator.", when="calibration"):
        evaluator.calibration(str(modified))
    runs = runs_for(record)
    if not runs:
        raise CalibrationError(f"{source}: calibration has not run the model it was given. Correct the evaluator.")
    return read_samples(record, runs)


def _tell(name: str, measured: Measured) -> None:
    _LOG.info("%s: %s, SQNR %.1f dB, metric %s", name, measured.counts, measured.sqnr_db, measured.metric)
