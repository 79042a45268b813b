"""Stating a model in an older opset.

A node whose operator has not changed since then stays as it is, and so does one that uses nothing of what the newer versions
added. An operator that came later is written out in the operators of its definition, which onnx's own schemas carry; so is one
whose meaning is another now. The opset stated is the least that has all operators as they are used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

import onnx
import onnx_ir
from onnx_ir import Function, Model, Node

from amct_lite.ir.attributes import attribute, set_attribute
from amct_lite.ir.casts import name_cast_types
from amct_lite.ir.edit import constant_of
from amct_lite.ir.inlining import inline_calls
from amct_lite.ir.opset import opset
from amct_lite.ir.schemas import schema_of
from amct_lite.ir.shapes import dims_of, infer_shapes

_LEAST = 13
"""The oldest opset that is stated: all models are prepared for this one or a newer one."""
_AXES_SINCE = 18
"""The opset since which these have their axes as an input."""
_BY_AXES = frozenset({"ReduceMean", "ReduceL1", "ReduceL2"})
_REDEFINED = {"GroupNormalization": 21, "DFT": 20}
"""Operator → the opset that gave it another meaning, though the older schema takes the same node."""
_LATER_VALUES: Mapping[tuple[str, str], frozenset[str]] = {
    ("Pad", "mode"): frozenset({"wrap"}),
    ("Resize", "coordinate_transformation_mode"): frozenset({"half_pixel_symmetric"}),
}
"""(Operator, attribute) → values that came with opset 19."""
_OLDER_NAMES = {"linear": "bilinear", "cubic": "bicubic"}
"""The modes of GridSample before opset 20."""
_RANK_OF_IMAGES = 4
"""GridSample took images alone until then: N, C, H and W."""


def older_opset(model: Model, newest: int) -> tuple[Model, tuple[str, ...]]:
    """A model of opset `newest` or older that computes the same as `model`, which is not modified.

    Returns `model` itself where it is old enough, and where it cannot be: with the nodes, and what each has that came later.
    Model-local functions are left as they are.
    """
    before = opset(model)
    if before <= newest:
        return model, ()
    result = model.clone()
    infer_shapes(result)
    _write_out(result, newest)
    nodes = [node for node in result.graph.all_nodes() if not node.domain]
    problems = tuple(f"{node.name} ({node.op_type}): {why}" for node in nodes if (why := _problem(node, before, newest)))
    if problems:
        return model, problems
    for node in nodes:
        _restate(node, before, newest)
    result.opset_imports[""] = newest
    state_least_opset(result)
    return result, ()


def state_least_opset(model: Model) -> None:
    """Let `model` follow the oldest opset, from 13 on, in which all its operators are what they are in its own; in place."""
    version = opset(model)
    known = (schema_of(node.op_type, version) for node in model.graph.all_nodes() if not node.domain)
    model.opset_imports[""] = max([_LEAST, *(schema.since_version for schema in known if schema)])


def give_axes_as_attribute(model: Model) -> bool:
    """Let each mean and norm of a model of opset 18 have its axes as an attribute, as older opsets have it, and state the least
    of these; in place. Returns whether it was done: not where an axis is computed, or something else needs opset 18.
    """
    if opset(model) != _AXES_SINCE:
        return False
    nodes = [node for node in model.graph.all_nodes() if not node.domain]
    reducing = [node for node in nodes if reads_axes(node)]
    axes = {node: found for node in reducing if (found := constant_of(node.inputs[1])) is not None and found.size}
    rest = (schema_of(node.op_type, _AXES_SINCE) for node in nodes if not reads_axes(node))
    bound = any(schema is not None and schema.since_version == _AXES_SINCE for schema in rest)
    if bound or not reducing or len(axes) < len(reducing):
        return False
    for node, numbers in axes.items():
        node.resize_inputs(1)
        node.attributes.pop("noop_with_empty_axes", None)
        set_attribute(node, "axes", [int(axis) for axis in numbers])
    model.opset_imports[""] = _AXES_SINCE - 1
    state_least_opset(model)
    return True


def reads_axes(node: Node) -> bool:
    """Whether `node` is a mean or norm that has its axes as an input."""
    return node.op_type in _BY_AXES and not node.domain and len(node.inputs) > 1 and node.inputs[1] is not None


def later_operators(model: Model, newest: int) -> Counter[str]:
    """Operator type → how many nodes have it, of those that came or changed their meaning after opset `newest`."""
    before = opset(model)
    return Counter(n.op_type for n in model.graph.all_nodes() if not n.domain and _is_later(n, before, newest))


def _write_out(model: Model, newest: int) -> None:
    """Every node whose operator came or changed its meaning after `newest`, and has a definition, becomes that definition."""
    while definitions := dict(_definitions(model, newest)):
        inline_calls(model, definitions)
        infer_shapes(model)  # a definition may depend on the types in front of it
    name_cast_types(model)  # definitions are full of CastLike


def _definitions(model: Model, newest: int) -> Iterator[tuple[Node, Function]]:
    before = opset(model)
    for node in model.graph.all_nodes():
        if node.domain or not _is_later(node, before, newest):
            continue
        definition = _definition(node, before)
        if definition is not None:
            del definition.output[len(node.outputs) :]  # those that nobody asks for may not be computed
            function: Function = onnx_ir.from_proto(definition)
            function.opset_imports[""] = before
            yield node, function


def _is_later(node: Node, before: int, newest: int) -> bool:
    return schema_of(node.op_type, newest) is None or newest < _REDEFINED.get(node.op_type, 0) <= before


def _definition(node: Node, version: int) -> onnx.FunctionProto | None:
    """The body of the operator with the attributes of `node`, None where the schema has none."""
    schema: Any = schema_of(node.op_type, version)  # the stubs of onnx lack what is asked here
    if schema is None:
        return None
    if schema.has_function:
        for name in schema.function_body.attribute:  # the body refers to it, and has no default of its own
            if name not in node.attributes:
                set_attribute(node, name, onnx.helper.get_attribute_value(schema.attributes[name].default_value))
        return cast(onnx.FunctionProto, schema.function_body)
    if not schema.has_context_dependent_function:
        return None
    since = max(found for found in schema.context_dependent_function_opset_versions if found <= version)
    types = [_type_of(value) for value in node.inputs]
    proto = onnx_ir.to_proto(node).SerializeToString()
    write = schema.get_context_dependent_function_with_opset_version
    body = onnx.FunctionProto.FromString(write(since, proto, types))
    return body if body.node else None


def _type_of(value: onnx_ir.Value | None) -> bytes:
    """An input's type as onnx wants it; nothing for one that is left out."""
    found = onnx.TypeProto()
    if value is not None and value.dtype is not None:
        found = onnx.helper.make_tensor_type_proto(int(value.dtype), dims_of(value))
    return bytes(found.SerializeToString())


def _problem(node: Node, before: int, newest: int) -> str | None:
    """What of `node` came after `newest`."""
    old, new = schema_of(node.op_type, newest), schema_of(node.op_type, before)
    if new is None:
        return None  # ONNX does not know the operator in the newer opset either
    if old is None or _is_later(node, before, newest):
        what: str | None = ""
    elif len(node.inputs) > old.max_input:
        what = f"input {len(node.inputs) - 1} "
    elif node.op_type == "GridSample" and len(dims_of(node.inputs[0]) or ()) != _RANK_OF_IMAGES:
        what = "on more than images "
    else:
        what = _later_attribute(node, old, new) or _later_type(node, old)
    return None if what is None else f"{what}of opset {new.since_version}"


def _later_attribute(node: Node, old: onnx.defs.OpSchema, new: onnx.defs.OpSchema) -> str | None:
    for name, given in node.attributes.items():
        known = new.attributes.get(name)
        if name not in old.attributes and known is not None and not _is_default(given, known):
            return f"{name} "
        if given.value in _LATER_VALUES.get((node.op_type, name), ()):
            return f"{name} {given.value} "
    return None


def _later_type(node: Node, old: onnx.defs.OpSchema) -> str | None:
    types = {constraint.type_param_str: constraint.allowed_type_strs for constraint in old.type_constraints}
    for value, wanted in zip(node.inputs, old.inputs, strict=False):
        allowed = types.get(wanted.type_str)
        if value is not None and value.dtype is not None and allowed and _spelt(value.dtype) not in allowed:
            return f"{value.dtype.name.lower()} "
    return None


def _spelt(dtype: onnx_ir.DataType) -> str:
    return f"tensor({dtype.name.lower()})"


def _is_default(value: onnx_ir.Attr, schema: onnx.defs.OpSchema.Attribute) -> bool:
    """Whether an attribute says what leaving it out says, too: of dilations, that there are none."""
    if value.name == "dilations":
        return set(value.as_ints()) <= {1}
    default = schema.default_value
    return bool(default.type) and bool(onnx_ir.from_proto(default).value == value.value)


def _restate(node: Node, before: int, newest: int) -> None:
    """Without what the older schema does not know."""
    old, new = schema_of(node.op_type, newest), schema_of(node.op_type, before)
    for name in tuple(node.attributes):
        if old is not None and new is not None and name in new.attributes and name not in old.attributes:
            node.attributes.pop(name)
    mode = attribute(node, "mode", None)
    if node.op_type == "GridSample" and mode in _OLDER_NAMES:
        set_attribute(node, "mode", _OLDER_NAMES[mode])
