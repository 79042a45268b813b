"""A block that takes one token after the other: an LSTM or GRU."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import TensorProto

from token_parts.net import Array, Net, lengths
from token_parts.products import linear


def recurrent(net: Net, x: str) -> str:
    """An LSTM or GRU, of the tokens in turn."""
    batch, length, channels = net.sizes(x)
    kind, gates = net.random.choice([("LSTM", 4), ("LSTM", 4), ("GRU", 3)])
    directions = net.random.choice([1, 1, 2])
    hidden = net.random.choice([8, 16, 64])
    w = net.weight(directions, gates * hidden, channels, spread=0.2)
    r = net.weight(directions, gates * hidden, hidden, spread=0.15)
    bias = net.weight(directions, 2 * gates * hidden, spread=0.2) if net.chance(0.7) else ""
    given = [net.transpose(x, 1, 0, 2), w, r, bias]
    if net.chance(0.3) and isinstance(batch, str):
        given.append(net.input("lengths", TensorProto.INT32, (batch,), lambda n: _lengths(net, n)))
    elif net.chance(0.6):
        given.append("")
        shape = net.op("Concat", net.ints(directions), net.size(batch), net.ints(hidden), axis=0)
        state = net.op("Expand", net.weight(directions, 1, hidden, spread=0.3), shape)
        given += [state, state] if kind == "LSTM" else [state]
        if kind == "LSTM" and net.chance(0.3):
            given.append(net.weight(directions, 3 * hidden, spread=0.1))
    direction = "bidirectional" if directions == 2 else net.choose("forward", "reverse")
    attributes: dict[str, object] = {"hidden_size": hidden, "direction": direction}
    if net.chance(0.2):
        attributes["clip"] = 1.5
    if net.chance(0.15):
        attributes["activations"] = (["Sigmoid", "Relu", "Tanh"] if kind == "LSTM" else ["Sigmoid", "Relu"]) * directions
    if kind == "GRU":
        attributes["linear_before_reset"] = net.random.choice([0, 1])
    while given[-1] == "":
        given.pop()
    outputs = net.ops(kind, *given, outputs=net.random.choice([1, 2, 3] if kind == "LSTM" else [1, 2]), **attributes)
    if len(outputs) > 1 and net.chance(0.5):
        net.output(outputs[1], dims=(directions, batch, hidden))
    if directions == 1:
        every = net.known(net.squeeze(outputs[0], 1), length, batch, hidden)
        return linear(net, net.transpose(every, 1, 0, 2), channels)
    every = net.op("Transpose", outputs[0], perm=[2, 0, 1, 3])
    return linear(net, net.reshape(net.known(every, batch, length, 2, hidden), batch, length, 2 * hidden), channels)


def _lengths(net: Net, sizes: Mapping[str, int]) -> Array:
    batch, most = lengths((net.batch, net.length), sizes)
    return net.rng.integers(1, most + 1, batch).astype(np.int32)
