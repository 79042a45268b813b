"""One layer of a network as a `Reconstruction`: columns and outputs at a fixed number of output positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.exporters.integers import QuantizedLayer
from amct_lite.numerics.affine import fake_quantize
from amct_lite.ops.base import Columns
from amct_lite.types import AnyArray, FloatArray, IntArray
from amct_lite.weights import Reconstruction

MOST_POSITIONS = 1 << 14
MOST_BYTES = 64 << 20
"""Of the columns. A position of a layer with 512 input channels and a kernel of 3 x 3 takes 18 KiB: 3,600 of them."""


@dataclass(frozen=True)
class Problem:
    """task: what is to be solved. mean: (group, n) float32, taken off its columns; 0 where no bias takes back what a mean
    shifts."""

    task: Reconstruction
    mean: FloatArray

    def shift(self, codes: IntArray) -> FloatArray:
        """(C,) float32: how far `codes` move the mean of each output channel, for the bias to take back."""
        error = codes * self.task.steps - self.task.rows
        grouped = error.reshape(self.mean.shape[0], -1, self.mean.shape[1])
        shift: FloatArray = np.einsum("gcn,gn->gc", grouped, self.mean).reshape(-1)
        return shift


def problem_of(
    item: QuantizedLayer,
    columns: Columns,
    data: Sequence[AnyArray],
    exact: Sequence[AnyArray],
    *,
    seed: int,
    corrected: bool,
) -> Problem:
    """data: what the layer reads in the quantized network; exact: what it gives in the float one, for each feed.

    The positions come in the order of the samples. corrected: a bias will take back the mean error of the weight.
    """
    layer = item.layer
    rows: FloatArray = np.ascontiguousarray(layer.rows(layer.weight_array))
    wanted = max(1, min(MOST_POSITIONS, MOST_BYTES // (4 * rows.shape[1] * layer.group)))
    rng = np.random.default_rng(seed)
    gathered, outputs = [], []
    for values, output in zip(data, exact, strict=True):
        moved = np.moveaxis(output, 1, -1) if layer.channel_axis == 1 else output
        flat = moved.reshape(-1, moved.shape[-1])
        count = min(flat.shape[0], -(-wanted // len(data)))
        positions = np.sort(rng.choice(flat.shape[0], count, replace=False))
        gathered.append(fake_quantize(columns(values, moved.shape[1:-1], positions), item.activation))
        outputs.append(flat[positions])
    bias = np.zeros(rows.shape[0], np.float32) if layer.bias_array is None else layer.bias_array
    low, high = _activation(layer.output)
    task = Reconstruction(rows, item.weight, np.concatenate(gathered), np.concatenate(outputs) - bias, bias, low, high)
    mean = task.columns.mean(axis=0, dtype=np.float64).astype(np.float32) * np.float32(corrected)
    # Without its mean, a column tells what the bias cannot mend; what the float weight makes of the mean is constant.
    level = np.einsum("gcn,gn->gc", rows.reshape(layer.group, -1, rows.shape[1]), mean).reshape(-1)
    centred = Reconstruction(rows, item.weight, task.columns - mean, task.outputs - level, bias + level, low, high)
    return Problem(centred, mean)


def _activation(output: ir.Value) -> tuple[float, float]:
    """Where the function that alone reads a layer's output clips."""
    readers = ir.uses(output)
    if len(readers) != 1 or output.is_graph_output():
        return -np.inf, np.inf
    node = readers[0].node
    if node.op_type == "Relu":
        return 0.0, np.inf
    bounds = (*node.inputs[1:], None, None)[:2]
    if node.op_type != "Clip" or any(value is not None and ir.constant_of(value) is None for value in bounds):
        return -np.inf, np.inf
    low, high = (ir.constant_of(value) for value in bounds)
    return -np.inf if low is None else float(low.reshape(-1)[0]), np.inf if high is None else float(high.reshape(-1)[0])
