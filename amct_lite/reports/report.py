"""The report of a run as frozen values, and as JSON. No clock, no host: the same inputs give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from amct_lite import ir
from amct_lite.analysis.local_error import LocalError
from amct_lite.build import TARGETS, Exports
from amct_lite.exporters.integers import quantized_layers, tables_among
from amct_lite.loading import SourceModel
from amct_lite.numerics.metrics import cosine, mse, sqnr_db
from amct_lite.record import UNIT_WEIGHT, split_key, type_names
from amct_lite.types import AnyArray, LayerRecord, PassReport, QuantPlan, QuantRecord, Skip, Subject
from amct_lite.validate.equivalence import Equivalence
from amct_lite.validate.kernels import Kernels


@dataclass(frozen=True)
class LayerRow:
    """One quantized layer, or single tensor (`node:index`). weight: "per channel (64)", "per tensor", "—"; sqnr_db, cosine:
    error of the layer's own output, or of the tensor itself, if measured. types: of data and weight. scale_d, offset_d: None
    where there are no data."""

    name: str
    op_type: str
    scale_d: float | None
    offset_d: int | None
    weight: str
    sqnr_db: float | None = None
    cosine: float | None = None
    notes: tuple[str, ...] = ()
    tensor: bool = False
    types: str = "INT8 × INT8"


@dataclass(frozen=True)
class OutputError:
    """Fake-quant against float at one output of the network."""

    name: str
    mse: float
    cosine: float
    sqnr_db: float


@dataclass(frozen=True)
class Report:
    """All that a run has to say. sizes: bytes of each model file's content. reference: what `outputs` were compared
    with. subject: the model and the record that all of it is about. model_path: as it was given, empty for a model without a
    file. left_over: exported models of other scales that lay beside the report when it was written."""

    model: str
    target: str
    samples: int
    layers: tuple[LayerRow, ...]
    skips: tuple[Skip, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    passes: tuple[PassReport, ...] = ()
    outputs: tuple[OutputError, ...] = ()
    compared_samples: int = 0
    reference: str = "float"
    equivalence: Equivalence | None = None
    equivalence_data: str = ""
    kernels: Kernels | None = None
    deploy_problem: str | None = None
    deploy_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    subject: Subject | None = None
    model_path: str = ""
    left_over: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Indented JSON with the fields above; a number that is not finite is written as a string."""
        return json.dumps(as_plain(asdict(self)), indent=1, ensure_ascii=False) + "\n"


def layer_rows(
    plan: QuantPlan | None,
    record: QuantRecord,
    model: ir.Model,
    local: Mapping[str, LocalError],
    remarks: Iterable[Mapping[str, str]],
) -> tuple[LayerRow, ...]:
    """A row for each entry of `record`. model: prepared. remarks: sentences about single ones, by key."""
    op_types = {str(node.name): node.op_type for node in model.graph}
    tables = tables_among(quantized_layers(model, record))
    remarks = tuple(remarks)
    notes = {layer.name: layer.notes for layer in plan.layers} if plan else {}
    rows = []
    for layer in record.layers:
        error = local.get(layer.key)
        rows.append(
            LayerRow(
                layer.key,
                op_types.get(split_key(layer.key)[0] if layer.tensor_quantize else layer.key, "?"),
                None if layer.key in tables else layer.activation.scale[0],
                None if layer.key in tables else layer.activation.zero_point[0],
                _granularity(layer),
                error.sqnr_db if error else None,
                error.cosine if error else None,
                (*notes.get(layer.key, ()), *(said[layer.key] for said in remarks if layer.key in said)),
                layer.tensor_quantize,
                type_names(layer),
            )
        )
    return tuple(rows)


def _granularity(layer: LayerRecord) -> str:
    if layer.weight is None or layer.weight == UNIT_WEIGHT:
        return "—"
    return "per tensor" if layer.weight.per_tensor else f"per channel ({len(layer.weight.scale)})"


def output_errors(
    names: Iterable[str], exact: Iterable[tuple[AnyArray, ...]], quantized: Iterable[tuple[AnyArray, ...]]
) -> tuple[OutputError, ...]:
    """Errors of each output of numbers, or of signed codes, over all feeds; `exact` and `quantized` hold one tuple a feed."""
    errors = []
    for name, a, b in _joined(names, exact, quantized):
        if _of_numbers(a) and a.size == b.size:
            left, right = a.astype(np.float32, copy=False), b.astype(np.float32, copy=False)
            errors.append(OutputError(name, mse(left, right), cosine(left, right), sqnr_db(left, right)))
    return tuple(errors)


def without_error(
    names: Iterable[str], exact: Iterable[tuple[AnyArray, ...]], quantized: Iterable[tuple[AnyArray, ...]]
) -> tuple[str, ...]:
    """A sentence for each output that `output_errors` leaves out: of integers, texts and truth values, how many are equal."""
    remarks = []
    for name, a, b in _joined(names, exact, quantized):
        if a.size != b.size:
            remarks.append(
                f"output {name} has {a.size} values, in the fake-quant model {b.size}: their number depends on the data, "
                "so they are not compared. Measure accuracy with the fake-quant model."
            )
        elif not _of_numbers(a):
            remarks.append(f"output {name}: {np.count_nonzero(a == b)} of {a.size} values are the same in the fake-quant model")
    return tuple(remarks)


def _joined(
    names: Iterable[str], exact: Iterable[tuple[AnyArray, ...]], quantized: Iterable[tuple[AnyArray, ...]]
) -> Iterator[tuple[str, AnyArray, AnyArray]]:
    """Each output with its values in all feeds, one behind the other, on both sides."""
    for name, *sides in zip(names, zip(*exact, strict=True), zip(*quantized, strict=True), strict=True):
        a, b = (np.concatenate([array.reshape(-1) for array in arrays]) for arrays in sides)
        yield name, a, b


def _of_numbers(array: AnyArray) -> bool:
    """8 and 16 bits are codes of numbers; other integers are indices, or made of shapes."""
    return np.issubdtype(array.dtype, np.floating) or array.dtype in {np.dtype("int8"), np.dtype("int16")}


def as_plain(value: Any) -> Any:
    """For JSON: names as texts, tuples as lists; a number that is not finite becomes a string."""
    if isinstance(value, dict):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value


def _own_model(target: str) -> str:
    return TARGETS[target].suffix.removesuffix("_model.onnx") if target in TARGETS else "deploy"


def sizes_of(source: SourceModel, exports: Exports) -> dict[str, int]:
    """Bytes of weights in each model: what a file takes, but for the graph itself."""
    models = {"float": source.original, "fake_quant": exports.fake_quant, _own_model(exports.target): exports.deploy}
    return {name: ir.weight_bytes(model) for name, model in models.items() if model is not None}
