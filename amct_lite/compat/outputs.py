"""What is written in AMCT's way: all files together, executed and compared before anybody sees them."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from amct_lite import ir
from amct_lite.build import Exports
from amct_lite.calibration.store import Statistics
from amct_lite.compat.quant_json import Names, original_names, quant_json
from amct_lite.config import QuantConfig
from amct_lite.converting import convert, convert_qdq
from amct_lite.errors import StaticShapeError
from amct_lite.files import OutputSet, output_path, staged_outputs
from amct_lite.loading import fusion_of, load_prepared
from amct_lite.prebalance import balance_of, with_factors
from amct_lite.prebalance import balanced as balanced_source
from amct_lite.record import format_record, read_record
from amct_lite.reports.warnings import record_notes
from amct_lite.types import FUSE_ALL, Fusion, QuantRecord

_LOG = logging.getLogger(__name__)
_SETTINGS = (("--channel-wise all", "channel_wise: true"), ("(--skip)", "(skip_layers)"))


def export(
    model: ir.Model | Path,
    record_file: str | os.PathLike[str],
    save_path: str | os.PathLike[str],
    *,
    names: Names,
    statistics: Statistics | None,
    fusion: Fusion = FUSE_ALL,
    inputs: Sequence[Path],
    balanced: bool = False,
    copies: Mapping[Path, Path] | None = None,
) -> None:
    """Write deploy model, fake-quant model and quant.json of a float model and its record.

    Biases stay as they are: AMCT does not correct them. statistics: of this model, or one that computes the same; input shapes
    that the model leaves open, and learned roundings, are taken from it. fusion: of layers that the record does not speak of.
    inputs: files that must not be replaced. balanced: the model has the record's balance factors in it already. copies:
    further files to write → what they are copies of.
    Raises RecordError when the record does not fit, StaticShapeError when a dimension of the deploy model
    stays open; the fake-quant model is then written alone.
    """
    config = QuantConfig(bias_correction="none", fusion=fusion.enabled)
    record = read_record(record_file)
    if balanced:
        record = with_factors(record, None)
    if statistics is not None:
        statistics = replace(statistics, model=_checksum(model, record, config.folding), balance=None)
    result = convert(model, record, config=config, bias_correction="none", statistics=statistics)
    exports, fake_quant = result.exports, output_path(save_path, "fake_quant_model.onnx")
    with staged_outputs(inputs=[*inputs, Path(record_file)]) as out:
        _stage(out, exports, save_path, names)
        for path, original in (copies or {}).items():
            out.stage(path).write_bytes(original.read_bytes())
    warned = (*result.report.warnings, *record_notes(result.record))
    for warning in warned:
        _LOG.warning("%s", _in_amct_words(warning))
    for note in result.report.notes:
        if note not in warned:
            _LOG.info("%s", note)
    for skip in exports.skips:
        _LOG.warning("%s (%s): %s", skip.node, skip.op_type, skip.reason)
    if exports.deploy is None:
        first = "Calibrate with batches of one shape, export" if statistics else "Export"
        remark = statistics.shape_remark if statistics else ""
        remedy = f"{first} the float model with that shape, or pass the record to `amct-lite convert` with --input-shape."
        raise _open_shapes(exports, fake_quant, f"{remedy}{remark}")


def _checksum(model: ir.Model | Path, record: QuantRecord, fusion: Fusion) -> str:
    """Of the model that `convert` will make of it."""
    source = load_prepared(model, fusion_of(record, fusion), "take")
    return ir.checksum(balanced_source(source, balance_of(record, fold=False)).prepared)


def export_trained(model: Path, save_path: str | os.PathLike[str], record_file: Path | None) -> None:
    """Write the same of a model that carries its scales, and these to `record_file`.

    Raises UnsupportedModelError when none can be taken, StaticShapeError as `export` does.
    """
    result = convert_qdq(model)
    exports = result.exports
    with staged_outputs(inputs=[model]) as out:
        _stage(out, exports, save_path, original_names(result.source))
        if record_file is not None:
            out.stage(record_file).write_text(format_record(result.record), encoding="utf-8")
    for skip in result.report.skips:
        _LOG.warning("%s (%s): %s", skip.node, skip.op_type, skip.reason)
    for note in result.report.notes:
        _LOG.info("%s", note)
    for error in result.report.outputs:
        _LOG.info("output %s: SQNR %.1f dB against %s", error.name, error.sqnr_db, result.report.reference)
    if exports.deploy is None:
        remedy = "Export the model with that shape, or pass it to `amct-lite convert` with --input-shape."
        raise _open_shapes(exports, output_path(save_path, "fake_quant_model.onnx"), remedy)


def _stage(out: OutputSet, exports: Exports, save_path: str | os.PathLike[str], names: Names) -> None:
    """Deploy model and quant.json, where the shapes allow them, and the fake-quant model."""
    ir.save(exports.fake_quant, out.stage(output_path(save_path, "fake_quant_model.onnx")))
    if exports.deploy is not None:
        ir.save(exports.deploy, out.stage(output_path(save_path, "deploy_model.onnx")))
        text = quant_json(exports.deploy, names, Path(save_path).name or "model")
        out.stage(output_path(save_path, "quant.json")).write_text(text, encoding="utf-8")


def _in_amct_words(warning: str) -> str:
    """A warning whose remedies are options of `amct-lite`, with the settings that AMCT's functions and files have for them."""
    for option, setting in _SETTINGS:
        warning = warning.replace(option, setting)
    return warning


def _open_shapes(exports: Exports, written: Path, remedy: str) -> StaticShapeError:
    left = [value for value in exports.fake_quant.graph.inputs if str(value.name) not in exports.shapes]
    dims = {str(value.name): ir.dims_of(value) or () for value in left}
    open_ones = {name: shape for name, shape in dims.items() if not all(isinstance(dim, int) for dim in shape)}
    inputs = ", ".join(
        f"input {name!r} ({', '.join('?' if d is None else str(d) for d in s)})" for name, s in open_ones.items()
    )
    return StaticShapeError(
        f"no deploy model: {inputs or 'an input'} has no fixed shape, which an Ascend deploy model must have. "
        f"{remedy} {written} was written."
    )
