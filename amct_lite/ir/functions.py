"""Model-local functions: operators with a body of their own, which any ONNX runtime executes."""

from __future__ import annotations

import onnx
import onnx_ir
from onnx_ir import Function, Model

_IR_VERSION_WITH_FUNCTIONS = 8


def add_function(model: Model, text: str) -> Function:
    """Add the function that `text` defines in the text form of ONNX, replacing one of the same name; in place.

    `<domain: "d", opset_import: ["" : 17]> name <attribute> (a, b) => (c) { c = Add (a, b) }`; in the body,
    `@attribute` refers to an attribute of the call. The model imports the domain as version 1.

    Raises ValueError with the place in `text` for text that does not parse.
    """
    try:
        proto = onnx.parser.parse_function(text)
    except onnx.parser.ParseError as error:
        raise ValueError(f"the function does not parse: {error}") from error
    function: Function = onnx_ir.from_proto(proto)
    model.functions[function.identifier()] = function
    model.opset_imports.setdefault(function.domain, 1)
    model.ir_version = max(model.ir_version, _IR_VERSION_WITH_FUNCTIONS)
    return function
