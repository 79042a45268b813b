"""Types and shapes of values: inferred, fixed, and asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral

import onnx
import onnx_ir
from onnx_ir import Model, Shape, Value

from amct_lite.errors import ConfigError
from amct_lite.ir.neighbours import spread_types
from amct_lite.ir.slim import slim_proto
from amct_lite.registry import did_you_mean

Dims = tuple[int | str | None, ...]
"""A size, the name of an unknown one, or None."""

_LONGEST_VECTOR = 100_000
"""Elements up to which onnx may follow the values of vectors: 20 MB."""

_SIZED = {"Reshape": 1, "ConstantOfShape": 0}
"""Operators that are told all sizes of what they give: by which input."""

_INVENTED = "unk__"
"""How onnx calls dimensions it knows nothing about; written into the model they would look like facts."""


def dims_of(value: Value | None) -> Dims | None:
    """The dimensions of a value; None when not even their number is known, and for an absent input."""
    if value is None or value.shape is None:
        return None
    return _plain(value.shape)


def _plain(shape: Shape) -> Dims:
    return tuple(dim if isinstance(dim, int) else dim.value for dim in shape)


def sizes_of(value: Value | None, first: int = 0) -> tuple[int, ...] | None:
    """The dimensions of a value from axis `first` on; None unless all of these, and their number, are known."""
    dims = dims_of(value)
    sizes = tuple(dim for dim in (dims or ())[first:] if isinstance(dim, int))
    return sizes if dims is not None and len(sizes) == len(dims) - first else None


def shape_fits(shape: Sequence[int], expected: Dims | None) -> bool:
    """Same rank, and equal wherever `expected` is fixed; anything fits where it is not known."""
    if expected is None:
        return True
    return len(shape) == len(expected) and all(
        not isinstance(want, int) or have == want for have, want in zip(shape, expected, strict=True)
    )


def infer_shapes(model: Model) -> None:
    """Fill in types and shapes of the main graph's values as far as onnx can tell, in place.

    What the model says already is kept where inference knows less. Shapes of results of custom operators, and of operators
    that contradict their inputs, stay unknown; a type may be known by who reads the result.
    """
    _infer_known(model)
    while _count_axes(model) or spread_types(model):
        _infer_known(model)


def _count_axes(model: Model) -> bool:
    """Let results have as many axes as sizes are told for them: onnx does so only where it follows these sizes themselves.
    Whether something is known now that was not."""
    found = False
    for node in model.graph:
        told = _SIZED.get(node.op_type) if not node.domain else None
        count = sizes_of(node.inputs[told]) if told is not None and node.outputs[0].shape is None else None
        if count is not None and len(count) == 1:
            node.outputs[0].shape = Shape([None] * count[0])
            found = True
    return found


def _infer_known(model: Model) -> None:
    """What onnx can tell in one go."""
    entries = _types(slim_proto(model))
    for value in _results(model):
        found = entries.get(str(value.name))
        if found is not None:
            _take(value, found)


def inferred_shapes(model: Model) -> Mapping[str, Dims]:
    """Name → shape of what has one that follows from the inputs alone, whatever the model says of it; `model` stays as it is.

    Empty where operators contradict their inputs.
    """
    proto = slim_proto(model)
    del proto.graph.value_info[:]
    for entry in proto.graph.output:
        entry.type.tensor_type.ClearField("shape")
    shapes = {name: onnx_ir.serde.deserialize_type_proto_for_shape(kind) for name, kind in _types(proto).items()}
    return {name: _plain(shape) for name, shape in shapes.items() if shape}


def _types(proto: onnx.ModelProto) -> dict[str, onnx.TypeProto]:
    """Name → type of all inputs and results; empty where operators contradict their inputs."""
    try:
        inferred = _infer(proto)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError):
        return {}
    return {entry.name: entry.type for entry in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output)}


def _infer(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Shapes, with the values of shape arithmetic where that is affordable.

    onnx follows the elements of every vector that arithmetic is done on, at 200 bytes each, whatever it holds: a vector
    of 10 million takes 2 GB, and one that a damaged file declares larger takes all there is.
    """
    plain = onnx.shape_inference.infer_shapes(proto, data_prop=False)
    entries = (*plain.graph.input, *plain.graph.value_info, *plain.graph.output)
    longest = max((_length_of_vector(entry.type) for entry in entries), default=0)
    return onnx.shape_inference.infer_shapes(proto, data_prop=longest <= _LONGEST_VECTOR)


def _length_of_vector(kind: onnx.TypeProto) -> int:
    dims = kind.tensor_type.shape.dim
    return int(dims[0].dim_value) if len(dims) == 1 else 0


def _take(value: Value, found: onnx.TypeProto) -> None:
    kind = onnx_ir.serde.deserialize_type_proto_for_type(found)
    shape = onnx_ir.serde.deserialize_type_proto_for_shape(found)
    if value.type is None:
        value.type = kind
    if shape is None or value.type != kind:
        return
    known = dims_of(value)
    value.shape = Shape([_better(dim, index, known) for index, dim in enumerate(_plain(shape))])


def _better(dim: int | str | None, index: int, known: Dims | None) -> int | str | None:
    if isinstance(dim, int):
        return dim
    before = known[index] if known is not None and index < len(known) else None
    invented = dim is None or dim.startswith(_INVENTED)
    return before if invented else dim


def fix_input_shapes(model: Model, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give inputs fixed dimensions, in place; call `infer_shapes` afterwards.

    shapes : input name → dimensions, inputs may be left out. Shapes of results are forgotten if a dimension that was
    fixed before gets another size.
    Raises ConfigError for what is no mapping, a name that is no input, a wrong number of dimensions, and what is no size.
    """
    if not isinstance(shapes, Mapping):
        raise ConfigError(f"input shapes are {shapes!r}. Give a dict from input name to dimensions: {{'x': (1, 3, 224, 224)}}.")
    inputs = {str(value.name): value for value in model.graph.inputs}
    for name, dims in shapes.items():
        if name not in inputs:
            raise ConfigError(
                f"input shape for {name!r}: the model has no such input{did_you_mean(name, inputs)}; "
                f"its inputs are {', '.join(inputs)}."
            )
        _check_dims(name, dims, dims_of(inputs[name]))
    for name, dims in shapes.items():
        value = inputs[name]
        if any(isinstance(old, int) and old != new for old, new in zip(dims_of(value) or (), dims, strict=False)):
            _forget_shapes(model)
        value.shape = Shape(dims)


def _check_dims(name: str, dims: Sequence[int], known: Dims | None) -> None:
    whole = isinstance(dims, Sequence) and all(isinstance(dim, Integral) and not isinstance(dim, bool) for dim in dims)
    if not whole or any(dim < bool(axis == 0) for axis, dim in enumerate(dims)):
        raise ConfigError(
            f"input shape for {name!r} is {dims!r}. Give its dimensions, each a whole number of 1 or more; behind the first, 0 "
            f"is for what may be empty."
        )
    if known is not None and len(known) != len(dims):
        shown = ", ".join("?" if dim is None else str(dim) for dim in known)
        raise ConfigError(
            f"input shape for {name!r} is {tuple(dims)}, {len(dims)} dimensions; the model has {len(known)}: ({shown})."
        )


def _forget_shapes(model: Model) -> None:
    """Of all results; of the graph's outputs the number of dimensions is kept."""
    for value in _results(model):
        value.shape = Shape([None] * len(value.shape)) if value.is_graph_output() and value.shape is not None else None


def unknown_dims(model: Model) -> list[tuple[Value, Dims | None]]:
    """The inputs and used results of the main graph, in its order, that have a dimension without a fixed size."""
    values = (*model.graph.inputs, *(v for v in _results(model) if v.uses() or v.is_graph_output()))
    return [(value, dims_of(value)) for value in values if sizes_of(value) is None]


def _results(model: Model) -> Iterator[Value]:
    for node in model.graph:
        yield from (value for value in node.outputs if value.name)
