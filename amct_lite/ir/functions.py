"""Model-local functions: operators with a body of their own, which any ONNX runtime executes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx
import onnx_ir
from onnx_ir import Function, Graph, Model, Node, OperatorIdentifier, Value

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
    _add(model, function)
    return function


def define_function(
    model: Model,
    domain: str,
    name: str,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    nodes: Iterable[Node],
    *,
    opset: int | None = None,
) -> Function:
    """Add a function made of `nodes`, which stand in no graph yet, replacing one of the same name; in place.

    opset : of the body, the model's own when None.
    """
    version = model.opset_imports[""] if opset is None else opset
    graph = Graph(inputs, outputs, nodes=nodes, opset_imports={"": version}, name=name)
    function = Function(domain, name, graph=graph, attributes=())
    _add(model, function)
    return function


def _add(model: Model, function: Function) -> None:
    model.functions[function.identifier()] = function
    model.opset_imports.setdefault(function.domain, 1)
    model.ir_version = max(model.ir_version, _IR_VERSION_WITH_FUNCTIONS)


def remove_function(model: Model, domain: str, name: str) -> None:
    """Remove a function, and the import of its domain if nothing else is left of that domain; in place.

    Raises ValueError, and changes nothing, while a node calls it.
    """
    identifier: OperatorIdentifier = (domain, name, "")
    others = (node for function in model.functions.values() for node in function.all_nodes())
    for node in (*model.graph.all_nodes(), *others):
        if node.op_identifier() == identifier:
            raise ValueError(f"function {domain}.{name} cannot be removed: {node.name!r} calls it")
    model.functions.pop(identifier, None)
    if not any(key[0] == domain for key in model.functions) and not any(
        node.domain == domain for node in model.graph.all_nodes()
    ):
        model.opset_imports.pop(domain, None)
