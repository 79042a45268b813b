"""What would be quantized, what not and why: the plan of a model together with its plain facts. Nothing is run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.loading import load_prepared
from amct_lite.plan import resolve
from amct_lite.types import PassReport, QuantPlan

_NUMPY_WORDS = {"float": "float32", "double": "float64"}

Dims = tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class TensorFacts:
    """A graph input or output. shape: int (fixed), str or None (dynamic) per dimension; None when the rank is unknown."""

    name: str
    dtype: str
    shape: Dims


@dataclass(frozen=True)
class Inspection:
    """opset: of the file; prepared_opset: of what is exported; parameters and weight_bytes: of the file's constants.
    plan: layers with their specs, skips with reasons; weight_shapes: by layer, for those with a constant weight."""

    model: str
    opset: int
    prepared_opset: int
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    nodes: int
    parameters: int
    weight_bytes: int
    notes: tuple[str, ...]
    passes: tuple[PassReport, ...]
    plan: QuantPlan
    weight_shapes: Mapping[str, tuple[int, ...]]

    def __repr__(self) -> str:
        """In a line: the plan has a paragraph for each layer."""
        layers, skips = len(self.plan.layers), len(self.plan.skips)
        return (
            f"<Inspection of {self.model}: {layers} would be quantized, {skips} left in float; see .plan, .inputs, .to_json()>"
        )

    def to_json(self) -> str:
        """Indented JSON with the fields above."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False)


def inspect(model: str | Path | ir.Model, config: QuantConfig | None = None) -> Inspection:
    """Load, prepare and plan `model` without running it on data.

    Raises UnsupportedModelError for a model that cannot be taken, ConfigError when `config` does not fit it.
    """
    settings = config or QuantConfig()
    source = load_prepared(model, settings.folding)
    graph = source.original.graph
    plan = resolve(settings, source.prepared, source.gone)
    return Inspection(
        source.name,
        source.file_opset,
        ir.opset(source.prepared),
        tuple(map(_facts, source.prepared.graph.inputs)),
        tuple(map(_facts, source.prepared.graph.outputs)),
        sum(1 for _ in graph.all_nodes()),
        ir.parameter_count(source.original),
        ir.weight_bytes(source.original),
        source.notes,
        tuple(report for report in source.reports if report.changed or report.skips),
        plan,
        _weight_shapes(source.prepared, plan),
    )


def _weight_shapes(model: ir.Model, plan: QuantPlan) -> dict[str, tuple[int, ...]]:
    constants = model.graph.initializers
    return {
        layer.name: tuple(tensor.shape.numpy())
        for layer in plan.layers
        if layer.weight is not None
        and layer.weight in constants
        and (tensor := constants[layer.weight].const_value) is not None
    }


def _facts(value: ir.Value) -> TensorFacts:
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    return TensorFacts(str(value.name), _NUMPY_WORDS.get(dtype, dtype), ir.dims_of(value))
