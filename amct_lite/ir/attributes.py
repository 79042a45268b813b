"""Attributes of nodes, read and written as Python values."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import numpy as np
from onnx_ir import Attr, AttributeType, Node, Shape, StringTensor, Tensor, TensorProtocol
from onnx_ir.convenience import convert_attribute

from amct_lite.types import AnyArray

T = TypeVar("T")
_SCALARS = {int: AttributeType.INT, float: AttributeType.FLOAT, str: AttributeType.STRING}
_LISTS = {int: AttributeType.INTS, float: AttributeType.FLOATS, str: AttributeType.STRINGS}


@overload
def attribute(node: Node, name: str, default: None = None) -> Any: ...
@overload
def attribute(node: Node, name: str, default: T) -> T: ...
def attribute(node: Node, name: str, default: Any = None) -> Any:
    """The attribute as a Python value: int, float, str, a list of these, an array, or a Graph.

    Raises ValueError for a reference to an attribute of the enclosing function, whose value is not known here.
    """
    found = node.attributes.get(name)
    if found is None:
        return default
    if found.is_ref():
        raise ValueError(f"attribute {name!r} of {node.name!r} refers to an attribute of the function around it")
    value = found.value
    if found.type == AttributeType.TENSOR:  # asking the value for its protocol takes fifty times as long
        return value.numpy()
    return list(value) if isinstance(value, tuple | list) else value


def set_attribute(node: Node, name: str, value: Any) -> None:
    """Set an attribute from a Python value, an array, or an Attr."""
    node.attributes[name] = new_attribute(name, value)


def new_attribute(name: str, value: Any) -> Attr:
    """One that holds `value`, as for `set_attribute`."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = text_tensor(value, name) if value.dtype.kind in "OSU" else Tensor(np.asarray(value, order="C"), name=name)
        kind: AttributeType | None = AttributeType.TENSOR
    elif isinstance(value, list | tuple):
        value = [item.item() if isinstance(item, np.generic) else item for item in value]
        # an empty list does not tell its type; lists of ints are the ones that ops leave empty
        kind = next((kind for of, kind in _LISTS.items() if all(isinstance(item, of) for item in value)), None)
    else:
        kind = next((kind for of, kind in _SCALARS.items() if isinstance(value, of)), None)
    return Attr(name, kind, value) if kind else convert_attribute(name, value)


def text_tensor(array: AnyArray, name: str) -> TensorProtocol:
    """The words of `array`, which are encoded unless they are bytes."""
    words = [word if isinstance(word, bytes) else str(word).encode() for word in array.flat]
    return StringTensor(words, shape=Shape(array.shape), name=name)
