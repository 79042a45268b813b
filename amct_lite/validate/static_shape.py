"""Makes every dimension of a model known, or says which ones are not and what to pass.

ATC cannot use its dynamic-shape options on a quantized model (contract, section 10), so a deploy model has fixed shapes.
"""

from __future__ import annotations

from collections.abc import Mapping

from amct_lite import ir
from amct_lite.errors import StaticShapeError
from amct_lite.passes import take_branches
from amct_lite.passes.fold_shapes import fold_known

Dims = tuple[int, ...]


def fix_shapes(model: ir.Model, shapes: Mapping[str, Dims]) -> ir.Model:
    """A copy of `model` with the inputs fixed to `shapes` (name → dims; inputs that are static may be left out), shapes
    inferred through the graph, and shape arithmetic that has become constant folded away.

    Raises StaticShapeError that names each open dimension and the option to pass, or the first tensor without a shape.
    """
    problems, suggestion = open_inputs(model, shapes)
    if problems:
        raise StaticShapeError(
            f"no deploy model: {'; '.join(problems)}. An Ascend deploy model has fixed shapes only: "
            f'pass --input-shape "{suggestion}" with the sizes you want. `amct-lite convert` takes it '
            f"too, with the record that was written: no new calibration."
        )
    if empty := [f"{name!r} {dims}" for name, dims in shapes.items() if 0 in dims]:
        raise StaticShapeError(
            f"no deploy model: there is nothing in {', '.join(empty)}. An Ascend deploy model has one fixed shape: for the "
            f"first step of a decoder leave such inputs out of the graph, for others pass --input-shape with the size you want."
        )
    fixed = settle_shapes(model, shapes)
    if unknown := ir.unknown_dims(fixed):
        listed = ", ".join(f"{value.name!r} {_shown(dims)}{_origin(value)}" for value, dims in unknown[:5])
        count = "1 tensor still has" if len(unknown) == 1 else f"{len(unknown)} tensors still have"
        raise StaticShapeError(
            f"no deploy model: with all inputs fixed, {count} no static shape: {listed}. "
            f"Their size depends on the data, or ONNX has no rule for the shapes of their operator; neither can be in an "
            f"Ascend deploy model. Cut the model before them, or replace the operator."
        )
    return fixed


def settle_shapes(model: ir.Model, shapes: Mapping[str, Dims]) -> ir.Model:
    """A copy of `model` with `shapes` for its inputs, and all shapes that follow from them; others stay open."""
    settled = ir.clone(model)
    ir.fix_input_shapes(settled, shapes)
    ir.infer_shapes(settled)
    while fold_known(settled, ir.dims_of) or take_branches.run(settled).changed:
        ir.infer_shapes(settled)
    return settled


def open_inputs(model: ir.Model, shapes: Mapping[str, Dims]) -> tuple[tuple[str, ...], str]:
    """What leaves inputs of `model` open with these `shapes`, a clause each, and a value for `--input-shape` that would not."""
    problems: list[str] = []
    suggestion: list[str] = []
    for value in model.graph.inputs:
        declared = ir.dims_of(value)
        wanted = shapes.get(str(value.name))
        if wanted is None and (declared is None or not all(isinstance(d, int) for d in declared)):
            problems.append(f"input {value.name!r} is {_shown(declared)}")
        elif wanted is not None and not ir.shape_fits(wanted, declared):
            problems.append(f"input {value.name!r} is {_shown(declared)}, which {_shown(wanted)} does not fit")
        elif wanted is None:
            continue
        suggestion.append(f"{value.name}:{','.join(map(str, _example(declared, wanted)))}")
    return tuple(problems), ";".join(suggestion)


def _example(declared: tuple[object, ...] | None, wanted: Dims | None) -> tuple[object, ...]:
    """Dimensions that fit: fixed ones as declared, the open ones as asked for, else 1 for the batch and ? for others."""
    if declared is None:
        return ("?",) if wanted is None else wanted
    asked = wanted if wanted is not None and len(wanted) == len(declared) else (1, *["?"] * len(declared))[: len(declared)]
    return tuple(d if isinstance(d, int) else a for d, a in zip(declared, asked, strict=True))


def _origin(value: ir.Value) -> str:
    node = value.producer()
    return "" if node is None else f" from {node.name} ({f'{node.domain}.' * bool(node.domain)}{node.op_type})"


def _shown(dims: tuple[object, ...] | None) -> str:
    return "of unknown rank" if dims is None else f"({', '.join('?' if d is None else str(d) for d in dims)})"
