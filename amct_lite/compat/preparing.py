"""Writes calibration models: AMCT's configuration taken to its model, the nodes that watch its runs, the record they fill."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from amct_lite import ir
from amct_lite.balance.factors import input_channel_max
from amct_lite.balance.graph import balanced_layers
from amct_lite.compat.calibration_model import insert
from amct_lite.compat.collector import state_path
from amct_lite.compat.configs import load_amct_config, load_configured
from amct_lite.compat.fake_weights import insert_fake_weights, weight_factors
from amct_lite.compat.job import Watch, watches_of
from amct_lite.compat.kept_samples import remove_samples
from amct_lite.compat.origin import write_origin
from amct_lite.compat.partial_record import format_weights, read_factors
from amct_lite.config import QuantConfig
from amct_lite.errors import ConfigError, UnsupportedModelError
from amct_lite.files import staged_outputs
from amct_lite.loading import SourceModel, load_prepared
from amct_lite.plan import resolve
from amct_lite.prebalance import balanced, balanced_only, strengths_of
from amct_lite.record import UNIT_WEIGHT
from amct_lite.roundings import rounders_of
from amct_lite.types import Balance, QParams, QuantPlan

_LOG = logging.getLogger(__name__)
DEFAULT_BATCHES = 1


@dataclass(frozen=True)
class Job:
    """A configuration taken to its model. inputs: the files of both, which must not be replaced."""

    config: QuantConfig
    source: SourceModel
    plan: QuantPlan
    model_file: Path
    inputs: tuple[Path, ...]

    @property
    def batch_num(self) -> int:
        """The runs that complete the record."""
        return self.config.batches or DEFAULT_BATCHES

    @property
    def balances(self) -> bool:
        """Whether layers are to be balanced, so that `write_balancing_model` comes first."""
        return bool(strengths_of(self.plan))


def open_job(model_file: Path, config_file: Path) -> Job:
    """Raises ConfigError with what is wrong with the configuration, UnsupportedModelError for a model of which it quantizes
    nothing."""
    config, source = load_configured(config_file, model_file, load_amct_config)
    return _job(config, source, model_file, (model_file, config_file))


def default_job(model_file: Path, config: QuantConfig) -> Job:
    """The same without a file. config: names layers at most."""
    return _job(config, load_prepared(model_file), model_file, (model_file,))


def _job(config: QuantConfig, source: SourceModel, model_file: Path, inputs: tuple[Path, ...]) -> Job:
    plan = resolve(config, source.prepared, source.gone)
    if not (plan.layers or plan.reads):
        reasons = "; ".join(f"{skip.node} ({skip.op_type}): {skip.reason}" for skip in plan.skips[:5])
        raise UnsupportedModelError(f"{model_file} has no layer to quantize: {reasons or 'none is of a type that is taken'}.")
    return Job(config, source, plan, model_file, inputs)


def write_balancing_model(job: Job, record: Path, modified: Path) -> None:
    """A calibration model that decides the balance factors of the layers for which the configuration wants them.

    Raises ConfigError when there are none.
    """
    strengths = strengths_of(job.plan)
    if not strengths:
        raise ConfigError(
            f"{job.config.where} balances no layer: give one dmq_balancer_param (dmq_balancer in a .cfg), or leave "
            f"quantize_preprocess out."
        )
    model = ir.clone(job.source.prepared)
    weight_max = {layer.name: tuple(input_channel_max(layer).tolist()) for layer in balanced_layers(model, strengths)}
    insert(model, _watches(replace(job, plan=balanced_only(job.plan)), record, weight_max=weight_max))
    _write(model, "", modified, record, job.inputs)


def write_calibration_model(job: Job, record: Path, modified: Path, *, keeps_samples: bool = False) -> None:
    """A calibration model that decides ranges, and the record with the factors of the weights. What an earlier calibration
    left is dropped, but for the balance factors in `record`, which the layers to balance need.

    keeps_samples: those of its runs are kept (`kept_samples`), also where nothing is learned from them.
    """
    wanted = balanced_layers(job.source.prepared, strengths_of(job.plan))
    factors = read_factors(record, {layer.name: layer.input_channels for layer in wanted}) if wanted else {}
    if factors:
        source = balanced(job.source, Balance(factors))
        job = replace(job, source=source, plan=resolve(job.config, source.prepared))
    model = ir.clone(job.source.prepared)
    weights, learning = weight_factors(model, job.plan), rounders_of(job.plan)
    if not learning:
        insert_fake_weights(model, weights)
    keeping = keeps_samples or bool(learning)
    insert(model, _watches(job, record, weights=weights, learning=learning, keeps_samples=keeping))
    write_origin(model, job.source)
    tensors = [read.key for read in job.plan.reads]
    listed = _listed(job.plan, weights)
    text = format_weights(listed, job.source.unfused, factors, half=job.source.half_nodes, tensors=tensors)
    _write(model, text, modified, record, job.inputs)
    _tell(job)


def _tell(job: Job) -> None:
    for sentence in job.config.without_effect:
        _LOG.warning("%s", sentence)
    told = {note for report in job.source.reports for note in report.notes}
    for note in job.source.notes:
        _LOG.log(logging.WARNING if note in told else logging.INFO, "%s", note)
    for skip in job.plan.skips:
        _LOG.info("%s (%s) stays in float: %s", skip.node, skip.op_type, skip.reason)


def _listed(plan: QuantPlan, weights: Mapping[str, QParams]) -> dict[str, QParams | None]:
    """The weight factors of every layer; None for a product of two variable tensors, whose factors come from data."""
    return {layer.name: weights.get(layer.name, None if len(layer.data) > 1 else UNIT_WEIGHT) for layer in plan.layers}


def _watches(
    job: Job,
    record: Path,
    *,
    weights: Mapping[str, QParams] | None = None,
    weight_max: Mapping[str, tuple[float, ...]] | None = None,
    learning: Container[str] = (),
    keeps_samples: bool = False,
) -> tuple[Watch, ...]:
    """What the calibration nodes are told. weight_max: of the layers, where these are to be balanced; weights:
    their weight factors, where they are not."""
    inputs = [(str(v.name), len(dims)) for v in job.source.prepared.graph.inputs if (dims := ir.dims_of(v))]
    if not inputs:
        raise UnsupportedModelError(f"{job.model_file} says the rank of none of its inputs. Export it with input shapes.")
    return watches_of(
        *(job.plan, record),
        model=ir.checksum(job.source.prepared),
        task=hashlib.sha256(b"balance" if weights is None else repr(sorted(weights.items())).encode()).hexdigest(),
        batch_num=job.batch_num,
        inputs=inputs,
        weight_max=weight_max,
        learning=learning,
        keeps_samples=keeps_samples,
    )


def _write(model: ir.Model, text: str, modified: Path, record: Path, inputs: Sequence[Path]) -> None:
    """Calibration model and record, both or none; what an earlier calibration saw goes."""
    with staged_outputs(inputs=inputs) as out:
        ir.save(model, out.stage(modified))
        out.stage(record).write_text(text, encoding="utf-8")
    state_path(record).unlink(missing_ok=True)
    remove_samples(record)
