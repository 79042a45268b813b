"""Random networks of tokens: embeddings, attention, gated products and recurrences, as exporters of many kinds write them.

    model(seed) -> the network, and samples of its inputs, the same for the same seed

The last samples, FRESH of them, are of other sizes where the network leaves sizes open. The blocks that a network is drawn from
lie in token_parts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from graph import Feeds, RefusedError, run_both_ways
from token_parts.attention import attention
from token_parts.channels import feed_forward, gated, halved, parallel, squeezed
from token_parts.convolutions import convolved, frontend
from token_parts.embeddings import embedded, measured
from token_parts.heads import head
from token_parts.moves import swapped, windows
from token_parts.net import Net, lengths
from token_parts.norms import norm
from token_parts.recurrences import recurrent
from token_parts.subgraphs import branch, scan

SAMPLES = 6
FRESH = 2
"""So many of the samples, the last, are of other sizes."""
_AGAIN = 1_000_003
"""Between the seeds that are tried one after the other."""

BLOCKS: tuple[Callable[[Net, str], str], ...] = (
    *(attention,) * 6,
    *(feed_forward,) * 5,
    *(gated, gated, parallel, parallel, parallel, convolved, convolved, squeezed, windows, windows),
    *(recurrent, recurrent, frontend, branch, scan, halved, swapped),
)
DEADLY = (recurrent, branch, scan)
"""In float16 ONNX Runtime (1.31) dies of them."""


def model(seed: int) -> tuple[onnx.ModelProto, list[Feeds]]:
    """The network of `seed`, and samples for it; another one where ONNX Runtime does not take what was drawn."""
    while True:
        net = Net(seed)
        _draw(net)
        drawn, samples = net.save(), _samples(net)
        if _is_valid(drawn, samples):
            return drawn, samples
        seed += _AGAIN


def _draw(net: Net) -> None:
    channels = net.random.choice([4, 8, 16, 32, 64])
    blocks = [block for block in BLOCKS if net.float == np.float32 or block not in DEADLY]
    x = embedded(net, channels) if net.chance(0.6) else measured(net, channels)
    if net.chance(0.4):
        x = norm(net, x)
    for _ in range(net.random.choice([1, 1, 2, 2, 3])):
        x = _residual(net, x, net.random.choice(blocks))
    if net.chance(0.15):
        net.output(x)
    head(net, x)


def _residual(net: Net, x: str, block: Callable[[Net, str], str]) -> str:
    """Normalized before or behind, or neither."""
    way = net.random.choice(["before", "behind", "behind", "neither", "alone"])
    found = block(net, norm(net, x) if way == "before" else x)
    if way == "alone":
        return found
    total = net.known(net.op("Add", *net.shuffled(x, found)), *net.dims[x])
    return norm(net, total) if way == "behind" else total


def _samples(net: Net) -> list[Feeds]:
    batch, length, past = net.random.randint(1, 2), net.random.randint(1, 16), net.random.randint(1, 6)
    samples = []
    for number in range(SAMPLES):
        other = number >= SAMPLES - FRESH
        sizes = {
            "batch": net.random.randint(1, 3) if other else batch,
            "length": net.random.randint(1, 16) if other else length,
            "past": net.random.choice([0, 0, 1, 5]) if other else past,
        }
        sizes["whole"] = sum(lengths((net.length, "past"), sizes))
        drawn = {name: fill(sizes) for name, fill in net.fillers.items()}
        samples.append({name: net.floats(array) if array.dtype == np.float32 else array for name, array in drawn.items()})
    return samples


def _is_valid(drawn: onnx.ModelProto, samples: list[Feeds]) -> bool:
    try:
        for _ in run_both_ways(drawn, samples):
            pass
    except RefusedError:
        return False
    return True
