"""Calls of functions become the nodes of their bodies, in the main graph as in subgraphs."""

from __future__ import annotations

from collections.abc import Mapping

from onnx_ir import Function, Model, Node

from amct_lite.ir.naming import name_within

_DOMAIN = "amct_lite.inlining"
"""Of the functions while they wait for it: one for each call, so that its nodes are named after the call."""


def inline_calls(model: Model, calls: Mapping[Node, Function]) -> None:
    """Each node becomes the body of its function, which is used up; in place. What is `b` in the body is `<node>.b` then: a
    node, called after its result where it has no name, or a value.

    The functions follow the model's opset, and use no domain in another version than the model does.
    """
    from onnx_ir.passes.common import InlinePass  # 5 ms, for which few models have a use

    for index, (call, function) in enumerate(calls.items()):
        for node in function:
            name_within(str(call.name), node)
        call.domain, call.overload = _DOMAIN, str(index)
        function.domain, function.name, function.overload = _DOMAIN, call.op_type, call.overload
        model.functions[function.identifier()] = function
    model.opset_imports[_DOMAIN] = 1
    InlinePass(criteria=lambda function: function.domain == _DOMAIN)(model)
    model.opset_imports.pop(_DOMAIN)
