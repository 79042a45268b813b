"""AMCT's functions, by its names: a script written for `amct_onnx` calls these.

    create_quant_config → quantize_model → the user's runs → save_model        calibration
    … quantize_preprocess → the user's runs → quantize_model …                 with balanced layers
    convert_model                                                             from a record that exists
    convert_qat_model                                                         from a model that carries its scales

Each step goes on from the files of the step before, in whatever process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from amct_lite import ir
from amct_lite.compat.arguments import require_arguments
from amct_lite.compat.console import on_console
from amct_lite.compat.json_writer import json_text
from amct_lite.compat.kept_calibration import kept_calibration
from amct_lite.compat.outputs import export, export_trained
from amct_lite.compat.preparing import DEFAULT_BATCHES, default_job, open_job, write_balancing_model, write_calibration_model
from amct_lite.compat.quant_json import original_names
from amct_lite.compat.saving import save_calibrated
from amct_lite.config import QuantConfig
from amct_lite.files import staged_outputs
from amct_lite.loading import fusion_of, load_prepared
from amct_lite.record import read_record, require_valid
from amct_lite.recorded import facts_for
from amct_lite.types import FUSE_ALL

_LOG = logging.getLogger(__name__)
PathLike = str | os.PathLike[str]


@on_console
def create_quant_config(
    config_file: PathLike,
    model_file: PathLike,
    skip_layers: Sequence[str] | None = None,
    batch_num: int = 1,
    activation_offset: bool = True,
    config_defination: PathLike | None = None,
    updated_model: PathLike | None = None,
) -> None:
    """Write a JSON configuration that lists every layer which can be quantized.

    config_defination: a simplified configuration (`.cfg`); it decides instead of the three arguments before it.
    updated_model: where to save the model with a unique name for each node.
    Raises ConfigError for unknown layers, UnsupportedModelError for a model without layers to quantize.
    """
    require_arguments(
        config_file=config_file, model_file=model_file, config_defination=config_defination, updated_model=updated_model
    )
    if config_defination is None:
        require_arguments(skip_layers=skip_layers or [], batch_num=batch_num, activation_offset=activation_offset)
        config = QuantConfig(
            symmetric=not activation_offset,
            skip=tuple(skip_layers or ()),
            batches=batch_num,
            bias_correction="none",
            fallback=0.0,  # AMCT quantizes all that is not skipped
        )
        job = default_job(Path(model_file), config)
    else:
        if skip_layers or batch_num != DEFAULT_BATCHES or activation_offset is not True:
            _LOG.warning(
                "skip_layers, batch_num and activation_offset are ignored: config_defination %s decides.", config_defination
            )
        job = open_job(Path(model_file), Path(config_defination))
    with staged_outputs(inputs=job.inputs) as out:
        out.stage(config_file).write_text(json_text(job.plan, job.config), encoding="utf-8")
        if updated_model is not None:
            ir.save(ir.load(model_file).model, out.stage(updated_model))


@on_console
def quantize_preprocess(
    config_file: PathLike, record_file: PathLike, model_file: PathLike, modified_onnx_file: PathLike
) -> None:
    """Write a calibration model that decides the balance factors of the layers for which the configuration wants them.

    Run it as the one of `quantize_model`: the factors are in the record after the first run, and the next ones, up to
    `batch_num`, make them better. `quantize_model`, called with the same record, then balances the model with them.
    Raises ConfigError when the configuration balances no layer.
    """
    require_arguments(
        config_file=config_file, record_file=record_file, model_file=model_file, modified_onnx_file=modified_onnx_file
    )
    write_balancing_model(open_job(Path(model_file), Path(config_file)), Path(record_file), Path(modified_onnx_file))


@on_console
def quantize_model(config_file: PathLike, model_file: PathLike, modified_onnx_file: PathLike, record_file: PathLike) -> None:
    """Write the calibration model, its weights rounded as the quantized model will have them, and a record with their factors.

    Run it `batch_num` times, with `onnxruntime.InferenceSession(modified_onnx_file, amct.AMCT_SO)` or with
    `CalibrationSession`; the activation factors are then in the record. What an earlier calibration left is dropped, but
    for the balance factors of `quantize_preprocess`, which the layers to balance need.
    """
    require_arguments(
        config_file=config_file, model_file=model_file, modified_onnx_file=modified_onnx_file, record_file=record_file
    )
    write_calibration_model(open_job(Path(model_file), Path(config_file)), Path(record_file), Path(modified_onnx_file))


@on_console
def save_model(modified_onnx_file: PathLike, record_file: PathLike, save_path: PathLike) -> None:
    """Write `<save_path>_deploy_model.onnx`, `_fake_quant_model.onnx` and `_quant.json` of a calibrated model.

    Raises CalibrationError that names the layers without data when there were fewer runs than `batch_num`.
    """
    require_arguments(modified_onnx_file=modified_onnx_file, record_file=record_file, save_path=save_path)
    save_calibrated(Path(modified_onnx_file), Path(record_file), save_path)


@on_console
def convert_model(model_file: PathLike, scale_offset_record_file: PathLike, save_path: PathLike) -> None:
    """Write the same three files from a float model (or one that carries scales) and a record that the user
    computed, or edited.

    Input shapes that the model leaves open are those of the runs, where the record was made by `quantize_model`, and learned
    roundings those of its `save_model`.
    """
    require_arguments(model_file=model_file, scale_offset_record_file=scale_offset_record_file, save_path=save_path)
    record = read_record(scale_offset_record_file)
    source = load_prepared(Path(model_file), fusion_of(record, FUSE_ALL), "take")
    require_valid(record, facts_for(record, source, QuantConfig().target))
    export(
        Path(model_file),
        scale_offset_record_file,
        save_path,
        names=original_names(source),
        statistics=kept_calibration(Path(scale_offset_record_file), record, source),
        inputs=[Path(model_file)],
    )


@on_console
def convert_qat_model(model_file: PathLike, save_path: PathLike, record_file: PathLike | None = None) -> None:
    """Write the same three files from a model with QuantizeLinear and DequantizeLinear, with its own scales.

    record_file: where to write these, too. What was not taken is logged with its reason.
    Raises UnsupportedModelError for a model of which nothing can be taken.
    """
    written = {} if record_file is None else {"record_file": record_file}
    require_arguments(model_file=model_file, save_path=save_path, **written)
    export_trained(Path(model_file), save_path, None if record_file is None else Path(record_file))
