"""Whether the tensors and attributes of a file hold what they say, before anybody computes with them."""

from __future__ import annotations

import math

import onnx
import onnx_ir

from amct_lite.errors import UnsupportedModelError
from amct_lite.ir.admission import nodes_from
from amct_lite.ir.embedded import InFile

_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data")


def check_payload(proto: onnx.ModelProto, what: str, in_file: InFile) -> None:
    """Raises UnsupportedModelError for a tensor with more or fewer data than its shape and type need, and for an attribute
    without a type or with text that is not UTF-8. External data are `external`'s to check. in_file: what is not in `proto`."""
    for number, tensor in enumerate(proto.graph.initializer):
        _check_tensor(tensor, what, in_file[number].length if number in in_file else len(tensor.raw_data))
    for node in nodes_from((*proto.graph.node, *(node for function in proto.functions for node in function.node))):
        for attribute in node.attribute:
            _check_attribute(attribute, f"{what}: attribute {attribute.name!r} of node {node.name!r} ({node.op_type})")


def _check_attribute(attribute: onnx.AttributeProto, where: str) -> None:
    if attribute.type == onnx.AttributeProto.UNDEFINED:
        raise UnsupportedModelError(f"{where} has no type. Export the model again.")
    try:
        for text in (attribute.s, *attribute.strings):
            text.decode()
    except UnicodeDecodeError:
        raise UnsupportedModelError(
            f"{where} holds bytes that are not UTF-8 text, which cannot be written back. Export the model without it."
        ) from None
    for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
        _check_tensor(tensor, where, len(tensor.raw_data))
    for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
        for tensor in graph.initializer:
            _check_tensor(tensor, where, len(tensor.raw_data))


def _check_tensor(tensor: onnx.TensorProto, what: str, raw: int) -> None:
    """raw: how many bytes of raw data it has."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    where = f"{what}: tensor {tensor.name!r}"
    try:
        dtype = onnx_ir.DataType(tensor.data_type)
    except ValueError:
        raise UnsupportedModelError(f"{where} has type {tensor.data_type}, which onnx does not know.") from None
    if dtype == onnx_ir.DataType.UNDEFINED or any(dim < 0 for dim in tensor.dims):
        raise UnsupportedModelError(f"{where} has no type or a negative dimension. Export the model again.")
    size = math.prod(tensor.dims)
    if dtype == onnx_ir.DataType.STRING:
        found, needed = len(tensor.string_data), size
    elif raw or tensor.HasField("raw_data"):
        found, needed = raw, math.ceil(dtype.itemsize * size)
    else:
        found, needed = sum(len(getattr(tensor, field)) for field in _TYPED), _entries(dtype, size)
    if found != needed:
        raise UnsupportedModelError(
            f"{where} holds {found} bytes or entries, but its shape and type need {needed}. The file is damaged; "
            f"fetch or export it again."
        )


def _entries(dtype: onnx_ir.DataType, size: int) -> int:
    """Complex numbers take two entries of the typed field, types below a byte share one."""
    if dtype in {onnx_ir.DataType.COMPLEX64, onnx_ir.DataType.COMPLEX128}:
        return 2 * size
    return math.ceil(dtype.itemsize * size) if dtype.itemsize < 1 else size
