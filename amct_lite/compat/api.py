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
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from amct_lite import ir
from amct_lite.balance.factors import input_channel_max
from amct_lite.balance.graph import balanced_layers, factors_in
from amct_lite.calibration import store
from amct_lite.calibration.store import Statistics
from amct_lite.compat.arguments import require_arguments
from amct_lite.compat.calibration_model import insert, strip, watches_in
from amct_lite.compat.collector import state_path
from amct_lite.compat.configs import load_amct_config, load_configured
from amct_lite.compat.fake_weights import insert_fake_weights, weight_factors
from amct_lite.compat.job import Watch, rounders_in, watches_of
from amct_lite.compat.json_writer import json_text
from amct_lite.compat.kept_calibration import AS_IT_IS, calibration_id, kept_calibration
from amct_lite.compat.kept_samples import read_samples, remove_samples
from amct_lite.compat.learned_roundings import learn_and_keep
from amct_lite.compat.origin import take_origin, write_origin
from amct_lite.compat.outputs import export, export_trained
from amct_lite.compat.partial_record import format_weights, read_factors, undecided
from amct_lite.compat.quant_json import original_names
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, ConfigError, RecordError, UnsupportedModelError
from amct_lite.files import staged_outputs
from amct_lite.loading import fusion_of, load_prepared
from amct_lite.plan import layer_facts, resolve
from amct_lite.prebalance import balanced, balanced_only, strengths_of, with_factors
from amct_lite.record import UNIT_WEIGHT, read_record, require_valid
from amct_lite.roundings import rounders_of
from amct_lite.types import FUSE_ALL, Balance, QParams, QuantPlan
from amct_lite.weights import Rounder

_LOG = logging.getLogger(__name__)
_DEFAULT_BATCHES = 1
PathLike = str | os.PathLike[str]


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
    given = [] if config_defination is None else [Path(config_defination)]
    if config_defination is None:
        require_arguments(skip_layers=skip_layers or [], batch_num=batch_num, activation_offset=activation_offset)
        source = load_prepared(Path(model_file))
        config = QuantConfig(
            symmetric=not activation_offset,
            skip=tuple(skip_layers or ()),
            batches=batch_num,
            bias_correction="none",
        )
    else:
        if skip_layers or batch_num != _DEFAULT_BATCHES or activation_offset is not True:
            _LOG.warning(
                "skip_layers, batch_num and activation_offset are ignored: config_defination %s decides.", config_defination
            )
        config, source = load_configured(config_defination, Path(model_file), load_amct_config)
    plan = resolve(config, source.prepared)
    _require_layers(plan, model_file)
    with staged_outputs(inputs=[Path(model_file), *given]) as out:
        out.stage(config_file).write_text(json_text(plan, config), encoding="utf-8")
        if updated_model is not None:
            ir.save(ir.load(model_file).model, out.stage(updated_model))


def balances(config_file: PathLike, model_file: PathLike) -> bool:
    """Whether the configuration wants layers balanced, so that `quantize_preprocess` has to come first."""
    config, source = load_configured(config_file, Path(model_file), load_amct_config)
    return bool(strengths_of(resolve(config, source.prepared)))


def quantize_preprocess(
    config_file: PathLike, record_file: PathLike, model_file: PathLike, modified_onnx_file: PathLike
) -> None:
    """Write a calibration model that decides the balance factors of the layers for which the configuration wants them.

    Run it as the one of `quantize_model`: the factors are in the record after the first run, and the next ones, up to
    `batch_num`, make them better. `quantize_model`, called with the same record, then balances the model with them.
    Raises ConfigError when the configuration balances no layer.
    """
    config, source = load_configured(config_file, Path(model_file), load_amct_config)
    plan = resolve(config, source.prepared)
    _require_layers(plan, model_file)
    strengths = strengths_of(plan)
    if not strengths:
        raise ConfigError(
            f"{os.fspath(config_file)} balances no layer: give one dmq_balancer_param (dmq_balancer in a .cfg), or leave "
            f"quantize_preprocess out."
        )
    model = ir.clone(source.prepared)
    weight_max = {layer.name: tuple(input_channel_max(layer).tolist()) for layer in balanced_layers(model, strengths)}
    watches = _watches(model, balanced_only(plan), Path(record_file), config, model_file, weight_max=weight_max)
    insert(model, watches)
    _write(model, "", inputs=[model_file, config_file], modified=modified_onnx_file, record=record_file)


def quantize_model(config_file: PathLike, model_file: PathLike, modified_onnx_file: PathLike, record_file: PathLike) -> None:
    """Write the calibration model, its weights rounded as the quantized model will have them, and a record with their factors.

    Run it `batch_num` times, with `onnxruntime.InferenceSession(modified_onnx_file, amct.AMCT_SO)` or with
    `CalibrationSession`; the activation factors are then in the record. What an earlier calibration left is dropped, but
    for the balance factors of `quantize_preprocess`, which the layers to balance need.
    """
    write_calibration_model(config_file, model_file, modified_onnx_file, record_file)


def write_calibration_model(
    config_file: PathLike,
    model_file: PathLike,
    modified_onnx_file: PathLike,
    record_file: PathLike,
    *,
    keeps_samples: bool = False,
    batch_num: int | None = None,
) -> None:
    """`quantize_model`; keeps_samples: those of its runs are kept (`kept_samples`), also where nothing is learned from them.
    batch_num: None for the one of the configuration."""
    config, source = load_configured(config_file, Path(model_file), load_amct_config)
    config = replace(config, batches=batch_num or config.batches)
    plan = resolve(config, source.prepared)
    _require_layers(plan, model_file)
    wanted = balanced_layers(source.prepared, strengths_of(plan))
    factors = read_factors(Path(record_file), {layer.name: layer.input_channels for layer in wanted}) if wanted else {}
    if factors:
        source = balanced(source, Balance(factors))
        plan = resolve(config, source.prepared)
    model = ir.clone(source.prepared)
    weights = weight_factors(model, plan)
    learning = rounders_of(plan)
    if not learning:
        insert_fake_weights(model, weights)
    watches = _watches(
        *(source.prepared, plan, Path(record_file), config, model_file),
        weights=weights,
        learning=learning,
        keeps_samples=keeps_samples or bool(learning),
    )
    insert(model, watches)
    write_origin(model, source)
    tensors = [read.key for read in plan.reads]
    text = format_weights(_listed(plan, weights), source.unfused, factors, half=source.half_nodes, tensors=tensors)
    _write(model, text, inputs=[model_file, config_file], modified=modified_onnx_file, record=record_file)
    for sentence in config.without_effect:
        _LOG.warning("%s", sentence)
    told = {note for report in source.reports for note in report.notes}
    for note in source.notes:
        _LOG.log(logging.WARNING if note in told else logging.INFO, "%s", note)
    for skip in plan.skips:
        _LOG.info("%s (%s) stays in float: %s", skip.node, skip.op_type, skip.reason)


def _listed(plan: QuantPlan, weights: Mapping[str, QParams]) -> dict[str, QParams | None]:
    """The weight factors of every layer; None for a product of two variable tensors, whose factors come from data."""
    return {layer.name: weights.get(layer.name, None if len(layer.data) > 1 else UNIT_WEIGHT) for layer in plan.layers}


def _watches(
    prepared: ir.Model,
    plan: QuantPlan,
    record: Path,
    config: QuantConfig,
    model_file: PathLike,
    *,
    weights: Mapping[str, QParams] | None = None,
    weight_max: Mapping[str, tuple[float, ...]] | None = None,
    learning: Container[str] = (),
    keeps_samples: bool = False,
) -> tuple[Watch, ...]:
    """What the calibration nodes for `prepared` are told. weight_max: of the layers, where these are to be balanced; weights:
    their weight factors, where they are not."""
    inputs = [(str(v.name), len(dims)) for v in prepared.graph.inputs if (dims := ir.dims_of(v))]
    if not inputs:
        raise UnsupportedModelError(
            f"{os.fspath(model_file)} says the rank of none of its inputs. Export it with input shapes."
        )
    return watches_of(
        *(plan, record),
        model=calibration_id(prepared, "balance" if weights is None else repr(sorted(weights.items()))),
        batch_num=config.batches or _DEFAULT_BATCHES,
        inputs=inputs,
        weight_max=weight_max,
        learning=learning,
        keeps_samples=keeps_samples,
    )


def _write(model: ir.Model, text: str, *, inputs: Sequence[PathLike], modified: PathLike, record: PathLike) -> None:
    """Calibration model and record, both or none; what an earlier calibration saw goes."""
    with staged_outputs(inputs=[Path(path) for path in inputs]) as out:
        ir.save(model, out.stage(modified))
        out.stage(record).write_text(text, encoding="utf-8")
    state_path(record).unlink(missing_ok=True)
    remove_samples(record)


def save_model(modified_onnx_file: PathLike, record_file: PathLike, save_path: PathLike) -> None:
    """Write `<save_path>_deploy_model.onnx`, `_fake_quant_model.onnx` and `_quant.json` of a calibrated model.

    Raises CalibrationError that names the layers without data when there were fewer runs than `batch_num`.
    """
    model = ir.load(modified_onnx_file).model
    watches = watches_in(model)
    if watches[0].balances:
        raise UnsupportedModelError(
            f"{os.fspath(modified_onnx_file)} was written by quantize_preprocess. Save the model that quantize_model wrote."
        )
    known = finished_calibration(record_file, watches)
    origin = take_origin(model)
    strip(model)
    model.ir_version = origin.ir_version or model.ir_version
    _require_same_factors(model, record_file)
    if rounders := rounders_in(watches):
        known = _learned(model, record_file, known, rounders)
    inputs = [Path(modified_onnx_file)]
    export(model, record_file, save_path, names=origin.names, statistics=known, fusion=AS_IT_IS, inputs=inputs, balanced=True)


def convert_model(model_file: PathLike, scale_offset_record_file: PathLike, save_path: PathLike) -> None:
    """Write the same three files from a float model (or one that carries scales) and a record that the user
    computed, or edited.

    Input shapes that the model leaves open are those of the runs, where the record was made by `quantize_model`, and learned
    roundings those of its `save_model`.
    """
    record = read_record(scale_offset_record_file)
    source = load_prepared(Path(model_file), fusion_of(record, FUSE_ALL), "take")
    require_valid(record, layer_facts(QuantConfig().target, source.prepared))
    export(
        Path(model_file),
        scale_offset_record_file,
        save_path,
        names=original_names(source),
        statistics=kept_calibration(Path(scale_offset_record_file), record, source),
        inputs=[Path(model_file)],
    )


def convert_qat_model(model_file: PathLike, save_path: PathLike, record_file: PathLike | None = None) -> None:
    """Write the same three files from a model with QuantizeLinear and DequantizeLinear, with its own scales.

    record_file: where to write these, too. What was not taken is logged with its reason.
    Raises UnsupportedModelError for a model of which nothing can be taken.
    """
    export_trained(Path(model_file), save_path, None if record_file is None else Path(record_file))


def _learned(model: ir.Model, record_file: PathLike, known: Statistics | None, rounders: Mapping[str, Rounder]) -> Statistics:
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


def _require_layers(plan: QuantPlan, model_file: PathLike) -> None:
    if not (plan.layers or plan.reads):
        reasons = "; ".join(f"{skip.node} ({skip.op_type}): {skip.reason}" for skip in plan.skips[:5])
        raise UnsupportedModelError(
            f"{os.fspath(model_file)} has no layer to quantize: {reasons or 'none is of a type that is taken'}."
        )


def _require_same_factors(model: ir.Model, record_file: PathLike) -> None:
    """Raises RecordError when balance factors were edited since `quantize_model` put them into the model."""
    in_model = factors_in(model)
    for layer in read_record(record_file).layers:
        factors = layer.balance_factor if any(factor != 1 for factor in layer.balance_factor) else ()
        there = in_model.get(layer.key, ())
        # The model holds 1 / f: two roundings of 2^-24.
        if len(there) != len(factors) or not np.allclose(there, factors, rtol=2.0**-22, atol=0):
            raise RecordError(
                f"{os.fspath(record_file)}: the tensor_balance_factor of {layer.key} are not those that the model "
                f"was calibrated with. Put the old ones back, or call quantize_model and calibrate again."
            )


def finished_calibration(record_file: PathLike, watches: Sequence[Watch]) -> Statistics | None:
    """What the runs left beside the record, if it is of this model.

    Raises CalibrationError that names the layers without data when there were fewer runs than `batch_num`.
    """
    path = state_path(record_file)
    found = store.load(path) if path.is_file() else None
    known = found if found is not None and found.model == watches[0].model else None
    missing = undecided(Path(record_file))
    if missing:
        runs = known.runs if known else 0
        raise CalibrationError(
            f"{os.fspath(record_file)} has no activation factors for {', '.join(missing)}: the calibration model was run "
            f"{runs} of {watches[0].batch_num} times. Run it {watches[0].batch_num - runs} more times, then save again."
        )
    return known
