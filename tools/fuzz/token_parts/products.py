"""A product with a weight, in each of the forms that exporters give it."""

from __future__ import annotations

from math import sqrt

from token_parts.net import Net


def linear(net: Net, value: str, outputs: int) -> str:
    """(…, inputs) to (…, outputs)."""
    front, inputs = net.dims[value][:-1], net.width(value)
    way = net.random.choice([_matmul] * 8 + [_gemm, _gemm, _einsum, _left, _pixels, _stack])
    result = net.known(way(net, value, inputs, outputs), *front, outputs)
    return _add_bias(net, result) if net.chance(0.75) else result


def _matmul(net: Net, value: str, inputs: int, outputs: int) -> str:
    return net.op("MatMul", value, _shared_weight(net, inputs, outputs))


def _stack(net: Net, value: str, inputs: int, outputs: int) -> str:
    """A constant of three dimensions, where the data have as many."""
    if len(net.dims[value]) != 3:
        return _matmul(net, value, inputs, outputs)
    batch = net.batch if isinstance(net.batch, int) and net.chance(0.5) else 1
    return net.op("MatMul", value, net.weight(batch, inputs, outputs))


def _left(net: Net, value: str, inputs: int, outputs: int) -> str:
    """The constant is the first factor."""
    if len(net.dims[value]) != 3:
        return _matmul(net, value, inputs, outputs)
    turned = net.op("MatMul", net.weight(outputs, inputs), net.op("Transpose", value, perm=[0, 2, 1]))
    return net.op("Transpose", turned, perm=[0, 2, 1])


def _einsum(net: Net, value: str, inputs: int, outputs: int) -> str:
    if net.opset < 12 or len(net.dims[value]) != 3:
        return _matmul(net, value, inputs, outputs)
    return net.op("Einsum", value, _shared_weight(net, inputs, outputs), equation="bti,io->bto")


def _pixels(net: Net, value: str, inputs: int, outputs: int) -> str:
    """A Conv of single tokens."""
    if len(net.dims[value]) != 3:
        return _matmul(net, value, inputs, outputs)
    more = [net.weight(outputs, spread=0.3)] if net.chance(0.5) else []
    result = net.op("Conv", net.op("Transpose", value, perm=[0, 2, 1]), net.weight(outputs, inputs, 1), *more)
    return net.op("Transpose", result, perm=[0, 2, 1])


def _gemm(net: Net, value: str, inputs: int, outputs: int) -> str:
    """Of all tokens as rows, with whatever its attributes allow."""
    dims = net.dims[value]
    rows = value if len(dims) == 2 else net.op("Reshape", value, net.ints(-1, inputs))
    attributes: dict[str, object] = {}
    turned = net.chance(0.4)
    weight = net.weight(outputs, inputs, spread=1 / sqrt(inputs)) if turned else net.weight(inputs, outputs)
    if turned:
        attributes["transB"] = 1
    if net.chance(0.15):
        rows, attributes["transA"] = net.op("Transpose", rows, perm=[1, 0]), 1
    if net.chance(0.2):
        attributes["alpha"] = net.choose(0.5, 2.0, -1.0)
    if net.chance(0.2):
        attributes["beta"] = net.choose(0.5, 0.0, 3.0)
    shape = net.random.choice([None, (outputs,), (outputs,), (1, outputs), (1,), ()])
    given = [] if shape is None else [net.weight(*shape, spread=0.3) if shape else net.number(0.2, ())]
    result = net.op("Gemm", rows, weight, *given, **attributes)
    return result if len(dims) == 2 else net.reshape(net.known(result, "rows", outputs), *dims[:-1], outputs)


def _shared_weight(net: Net, inputs: int, outputs: int) -> str:
    """Now and then one that was used before, or a table."""
    tied = [name for name, rows, width in net.tables if (width, rows) == (inputs, outputs)]
    if tied and net.chance(0.8):
        return net.transpose(tied[0], 1, 0)
    known = net.weights.get((inputs, outputs))
    if known is None or net.chance(0.8):
        known = net.weights[inputs, outputs] = net.weight(inputs, outputs)
    return known


def _add_bias(net: Net, value: str) -> str:
    channels = net.width(value)
    key = (channels,)
    shapes = [(channels,), (1, channels), (1, 1, channels)][: len(net.dims[value])]
    shape = net.random.choice([(channels,)] * 3 + [*shapes, (1,), ()])
    if shape == key and key in net.weights and net.chance(0.2):
        bias = net.weights[key]
    else:
        bias = net.weight(*shape, spread=0.3) if shape else net.number(0.3)
        if shape == key:
            net.weights[key] = bias
    pair = [value, bias]
    if net.chance(0.4):
        pair.reverse()
    return net.known(net.op("Add", *pair), *net.dims[value])
