"""From a prepared model, a record and (where there are any) statistics to the models that are exported.

The same three inputs give the same bytes, whether they come fresh from a calibration or from files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from amct_lite import ir
from amct_lite.calibration.store import Statistics
from amct_lite.errors import StaticShapeError
from amct_lite.exporters import ascend, ort
from amct_lite.settled import Settled, settle
from amct_lite.types import QuantRecord
from amct_lite.validate.static_shape import fix_shapes

Dims = tuple[int, ...]


@dataclass(frozen=True)
class Target:
    """What runs the result. export: (prepared model, record) → the model it wants; suffix: of that model's file name.
    static: whether every shape must be known."""

    export: Callable[[ir.Model, QuantRecord], ir.Model]
    suffix: str
    static: bool


TARGETS: Mapping[str, Target] = {
    "ascend": Target(ascend.export, "deploy_model.onnx", static=True),
    "ort": Target(ort.export, "ort_model.onnx", static=False),
}
"""The targets that get a model of their own, beside the fake-quant model."""


@dataclass(frozen=True, kw_only=True)
class Exports(Settled):
    """A settled model with what its target gets. deploy: the target's own model, None where it has none, or where
    `deploy_problem` says which shape is missing. shapes: of the inputs, as far as they were given or all samples had them; a
    deploy model that must be static has them, and so have random samples. samples: how many the statistics were made from."""

    deploy: ir.Model | None
    deploy_problem: StaticShapeError | None
    shapes: Mapping[str, Dims]
    target: str
    samples: int


def build_exports(
    prepared: ir.Model,
    record: QuantRecord,
    *,
    target: str,
    statistics: Statistics | None,
    bias_correction: str,
    input_shapes: Mapping[str, Dims],
    halves: Collection[str] = (),
    settled: Settled | None = None,
) -> Exports:
    """Both models of `record`. halves: the layers that compute in float16, as far as they are not quantized. settled: what
    `settle` made of the same arguments, where somebody did already.

    Raises ExportError where the record does not fit the model, or a layer does not fit into float16.
    """
    base = settled or settle(prepared, record, statistics, bias_correction, halves)
    chosen = TARGETS.get(target)
    shapes = _shapes(prepared, statistics, input_shapes)
    deploy, problem = None, None
    if chosen is not None:
        try:
            deploy = chosen.export(fix_shapes(base.computed, shapes) if chosen.static else base.computed, record)
        except StaticShapeError as error:
            problem = StaticShapeError(f"{error}{statistics.shape_remark if statistics else ''}")
    return Exports(
        **vars(base),
        deploy=deploy,
        deploy_problem=problem,
        shapes=shapes,
        target=target,
        samples=statistics.samples if statistics else 0,
    )


def _shapes(prepared: ir.Model, statistics: Statistics | None, given: Mapping[str, Dims]) -> Mapping[str, Dims]:
    """What the user gave; else the shape that all samples had, or that the model says."""
    shapes: dict[str, Dims] = {}
    for value in prepared.graph.inputs:
        name = str(value.name)
        seen = statistics.shapes.get(name) if statistics else None
        if name in given:
            shapes[name] = given[name]
        elif seen is not None:
            shapes[name] = seen
        elif (told := ir.sizes_of(value)) is not None:
            shapes[name] = told
    return shapes
