"""What `save_model` and `convert_model` write: the three files together, executed and compared before anybody sees them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from amct_lite import ir
from amct_lite.calibration.store import Statistics
from amct_lite.compat.quant_json import Names, quant_json
from amct_lite.config import QuantConfig
from amct_lite.errors import ExportError
from amct_lite.files import output_path, staged_outputs
from amct_lite.loading import load_prepared
from amct_lite.pipeline import convert

_LOG = logging.getLogger(__name__)


def export(
    model: ir.Model | Path,
    record_file: str | os.PathLike[str],
    save_path: str | os.PathLike[str],
    *,
    names: Names,
    statistics: Statistics | None,
    inputs: Sequence[Path],
) -> None:
    """Write deploy model, fake-quant model and quant.json of a float model and its record.

    Biases stay as they are: AMCT does not correct them. statistics: the input shapes of the calibration runs are taken
    from it where the model leaves them open. inputs: files that must not be replaced.
    Raises RecordError when the record does not fit, StaticShapeError when a dimension of the deploy model stays open.
    """
    if statistics is not None:
        statistics = replace(statistics, model=ir.checksum(load_prepared(model).prepared))
    config = QuantConfig(bias_correction="none")
    result = convert(model, Path(record_file), config=config, bias_correction="none", statistics=statistics)
    exports = result.exports
    if exports.deploy is None:
        raise exports.deploy_problem or ExportError("the Ascend target gave no deploy model.")
    title = Path(save_path).name or "model"
    with staged_outputs(inputs=[*inputs, Path(record_file)]) as out:
        ir.save(exports.deploy, out.stage(output_path(save_path, "deploy_model.onnx")))
        ir.save(exports.fake_quant, out.stage(output_path(save_path, "fake_quant_model.onnx")))
        text = quant_json(exports.deploy, names, title)
        out.stage(output_path(save_path, "quant.json")).write_text(text, encoding="utf-8")
    for warning in result.report.warnings:
        _LOG.warning("%s", warning)
