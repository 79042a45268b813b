"""The command `amct_onnx`, with AMCT's options: `calibration` and `convert`.

Messages go to the console and to amct_log/amct_onnx.log; AMCT_LOG_LEVEL and AMCT_LOG_FILE_LEVEL say from which level on.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import click

from amct_lite.cli.deferred import defer
from amct_lite.cli.exits import exit_codes, tell_on_stderr
from amct_lite.errors import AmctError, ConfigError

_LOG = logging.getLogger("amct_lite")
_FILE = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """AMCT's command line for ONNX models, on amct_lite."""


@group.command("calibration")
@click.option("--model", type=_FILE, required=True, help="The float model.")
@click.option("--save_path", required=True, help="Folder and prefix of what is written.")
@click.option("--input_shape", help='Shapes of the inputs, "in1:16,3,224,224;in2:16,10".')
@click.option("--data_dir", help='A folder of .bin files for each input, "d1/;d2/".')
@click.option("--data_types", "--data_type", "data_types", help='Types of the files, "float32;int64".')
@click.option("--evaluator", type=_FILE, help="A Python file with an evaluator class; instead of the three options before.")
@click.option("--calibration_config", type=_FILE, help="A simplified configuration (.cfg); instead of --batch_num.")
@click.option("--batch_num", type=click.IntRange(min=1), help="How many batches to run; 1 when left out.")
def calibration(
    model: Path,
    save_path: str,
    input_shape: str | None,
    data_dir: str | None,
    data_types: str | None,
    evaluator: Path | None,
    calibration_config: Path | None,
    batch_num: int | None,
) -> None:
    """Quantize a float model with sample data."""
    if calibration_config and batch_num:
        raise ConfigError("--batch_num goes not with --calibration_config, which holds its own batch_num. Leave one out.")
    given = {"--input_shape": input_shape, "--data_dir": data_dir, "--data_types": data_types}
    if evaluator is not None and any(given.values()):
        also = ", ".join(name for name, value in given.items() if value)
        raise ConfigError(f"--evaluator brings its own data; leave out {also}.")
    if evaluator is None and not all(given.values()):
        missing = ", ".join(name for name, value in given.items() if not value)
        raise ConfigError(f"there are no data: {missing} missing. Give all of {', '.join(given)}, or --evaluator FILE.py.")
    from amct_lite.calibration.feeds import input_specs
    from amct_lite.compat.bin_batches import bin_batches, bin_inputs, require_inputs
    from amct_lite.compat.calibrate import calibrate, feeding
    from amct_lite.compat.evaluator import load_evaluator, run_evaluator
    from amct_lite.compat.preparing import default_job, open_job
    from amct_lite.config import QuantConfig, parse_input_shapes

    plain = QuantConfig(batches=batch_num, bias_correction="none", fallback=0.0)  # AMCT quantizes all
    if evaluator is not None:
        loaded, file = load_evaluator(evaluator), evaluator
        job = open_job(model, calibration_config) if calibration_config else default_job(model, plain)
        calibrate(job, save_path, lambda modified: run_evaluator(loaded, file, modified), f"the calibration of {evaluator}")
    else:
        inputs = bin_inputs(parse_input_shapes(input_shape or ""), data_dir or "", data_types or "")
        job = open_job(model, calibration_config) if calibration_config else default_job(model, plain)
        require_inputs(inputs, input_specs(job.source.prepared))
        calibrate(job, save_path, feeding(job, lambda count: bin_batches(inputs, count)), "--data_dir")
    _LOG.info("written under %s", save_path)


@group.command("convert", short_help="Take over a trained QDQ model with its scales.")
@click.option("--model", type=_FILE, required=True, help="A model with QuantizeLinear and DequantizeLinear.")
@click.option("--save_path", required=True, help="Folder and prefix of what is written.")
def convert(model: Path, save_path: str) -> None:
    """Take over a model of quantization-aware training, with its scales."""
    from amct_lite.compat.api import convert_qat_model

    convert_qat_model(model, save_path)
    _LOG.info("written under %s", save_path)


def _start_logging() -> None:
    """To the console and to the log file, each from the level that the environment says."""
    from amct_lite.compat.console import console_handler, told

    console, folder = console_handler(), Path("amct_log")
    try:
        folder.mkdir(exist_ok=True)
        file = logging.FileHandler(folder / "amct_onnx.log", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the log {folder}/amct_onnx.log cannot be written: {error.strerror}. Change the folder.") from error
    _LOG.setLevel(logging.DEBUG)
    for handler in (console, file):
        _LOG.addHandler(handler)
    told(file, "AMCT_LOG_FILE_LEVEL")


def main() -> None:
    """Entry point."""
    defer()
    with exit_codes(_tell):
        if not {"-h", "--help"} & set(sys.argv):
            _start_logging()
        group(standalone_mode=False, prog_name="amct_onnx")


def _tell(error: AmctError) -> None:
    if _LOG.handlers:
        _LOG.error("%s: %s", type(error).__name__, error)
    else:  # the error is that there can be no log
        tell_on_stderr(error)
