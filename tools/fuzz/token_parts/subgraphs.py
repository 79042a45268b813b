"""Blocks whose operators have graphs of their own as bodies: If and Scan."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from token_parts.net import Net
from token_parts.products import linear


def branch(net: Net, x: str) -> str:
    """An If whose bodies read values and weights from outside, and one that is decided by the data."""
    inside = linear(net, x, net.width(x))
    big = net.op("Greater", net.op("ReduceMax", x, keepdims=0), net.number(2.0, ()))
    w = net.weight(net.width(x), net.width(x))

    def body(*nodes: onnx.NodeProto) -> onnx.GraphProto:
        result = helper.make_tensor_value_info(nodes[-1].output[0], net.kind(TensorProto.FLOAT), None)
        return helper.make_graph(nodes, net.name("body"), [], [result])

    names = [net.name("inner") for _ in range(3)]
    one = body(helper.make_node("MatMul", [inside, w], names[:1]))
    two = body(helper.make_node("Tanh", [inside], [names[1]]), helper.make_node("Mul", [names[1], x], [names[2]]))
    return net.known(net.op("If", big, then_branch=one, else_branch=two), *net.dims[x])


def scan(net: Net, x: str) -> str:
    """A running mean of the tokens, one by one."""
    batch, length, channels = net.sizes(x)
    steps = net.transpose(x, 1, 0, 2)
    start = net.mean(x, 1, keepdims=0)
    state, step, out, again = (net.name("scan") for _ in range(4))
    w = net.weight(channels, channels)
    inner = net.name("product")

    def info(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, net.kind(TensorProto.FLOAT), (batch, channels))

    nodes = [
        helper.make_node("MatMul", [state, w], [inner]),
        helper.make_node("Add", [inner, step], [name := net.name("sum")]),
        helper.make_node("Tanh", [name], [out]),
        helper.make_node("Identity", [out], [again]),
    ]
    body = helper.make_graph(nodes, "step", [info(state), info(step)], [info(out), info(again)])
    _, every = net.ops("Scan", start, steps, outputs=2, body=body, num_scan_inputs=1)
    return net.transpose(net.known(every, length, batch, channels), 1, 0, 2)
