"""The model for ONNX Runtime on CPUs: the fake-quant model, rewritten so that its optimizer finds integer kernels everywhere.

What it computes stays the same, outputs that are codes included. Activations become uint8 (the same grid, every code 128
higher: on x86 the kernels for uint8 data and int8 weights are 2.5 to 4 times faster than those for int8 data), and what stands
between the layers hands integers on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from amct_lite import ir
from amct_lite.exporters import qdq
from amct_lite.exporters.integers import quantized_layers
from amct_lite.exporters.rewrites.biases import take_in_bias
from amct_lite.exporters.rewrites.bounds import bound_codes, spell_bounds
from amct_lite.exporters.rewrites.chains import CHAINED, join_moves
from amct_lite.exporters.rewrites.channels import align
from amct_lite.exporters.rewrites.codes import (
    keep_float_bias,
    keep_one_extreme,
    make_unsigned,
    measure_codes,
    spell_zero_point,
)
from amct_lite.exporters.rewrites.float_convs import join_results, store_floats
from amct_lite.exporters.rewrites.gates import spread_gate
from amct_lite.exporters.rewrites.gelus import name_gelu
from amct_lite.exporters.rewrites.hard_sigmoids import compute_codes
from amct_lite.exporters.rewrites.heads import multiply_pixel, pool_pixels
from amct_lite.exporters.rewrites.masks import raise_hidden
from amct_lite.exporters.rewrites.means import average
from amct_lite.exporters.rewrites.moves import name_shuffle, repeat_pixels, spread_channels
from amct_lite.exporters.rewrites.norms import scale_channels
from amct_lite.exporters.rewrites.numbers import NUMBERS, give_code
from amct_lite.exporters.rewrites.pads import pad_codes
from amct_lite.exporters.rewrites.pools import pool_last
from amct_lite.exporters.rewrites.prelus import take_larger
from amct_lite.exporters.rewrites.recurrent import use_kernel
from amct_lite.exporters.rewrites.reroute import reroute
from amct_lite.exporters.rewrites.results import round_results
from amct_lite.exporters.rewrites.shared_channels import fill_block
from amct_lite.exporters.rewrites.softmaxes import read_floats
from amct_lite.exporters.rewrites.sums import keep_sum
from amct_lite.exporters.rewrites.tables import multiply_rows
from amct_lite.exporters.rewrites.unfold import unfold
from amct_lite.flow.kernels import KERNELS
from amct_lite.passes.bound_parts import BOUNDS
from amct_lite.types import QuantRecord

Rewrite = tuple[Iterable[str], Callable[[ir.Node], None]]
"""Operators, and what is done to each node of them."""
# Nodes are found by the pairs around them: a rewrite stands behind those that write the pairs or operators it looks for.
_STORED: tuple[Rewrite, ...] = (
    (["QuantizeLinear"], make_unsigned),
    (["DequantizeLinear"], keep_float_bias),
    (["DequantizeLinear"], spell_zero_point),
    (["DequantizeLinear"], keep_one_extreme),
    (["Reshape"], name_shuffle),  # its three nodes are one before each of them gets a pair
    ([name for name, kernel in KERNELS.items() if kernel.one_grid], round_results),  # all below ask for the pair behind
)
_MOVED: tuple[Rewrite, ...] = (
    (["Pad"], pad_codes),
    (["Resize"], repeat_pixels),
    (["DepthToSpace"], spread_channels),
    (CHAINED, join_moves),
)
_COMPUTED: tuple[Rewrite, ...] = (
    (["ReduceMean"], pool_pixels),
    (["AveragePool"], average),
    (["MaxPool"], pool_last),  # asks what is computed channels last: behind those that write convolutions
    (["HardSigmoid"], compute_codes),
    (NUMBERS, give_code),
    (["Conv"], fill_block),  # knows sums and products, not what they were; those below ask for its shapes
    (["Conv"], multiply_pixel),
    (["Mul"], spread_gate),
)
_FLOAT: tuple[Rewrite, ...] = (
    (["Add"], take_in_bias),
    (["Erf", "Tanh"], name_gelu),
    (["PRelu"], take_larger),
    (["Add"], keep_sum),
    (["Clip"], spell_bounds),
    (["Softmax"], raise_hidden),
    (["Softmax"], read_floats),
    (["DequantizeLinear"], multiply_rows),
    (["Conv"], join_results),
    (["Conv"], store_floats),
)


def export(model: ir.Model, record: QuantRecord) -> ir.Model:
    """A new model; `model` (prepared, opset >= 13) is not modified. Raises ExportError where the record does not fit it."""
    result = qdq.export(model, record)
    use_kernel(result, [item for item in quantized_layers(model, record) if item.recurrence is not None])
    measure_codes(result)
    _rewrite(result, ((["ConvTranspose"], unfold),))
    ir.infer_shapes(result)
    _rewrite(result, (*_STORED, *_MOVED))
    scale_channels(_all(result, ["BatchNormalization"]))
    _rewrite(result, _COMPUTED)
    reroute(result)  # before `align`, which would cut off again the zeros that these readers take along
    _rewrite(result, ((BOUNDS, bound_codes),))  # behind all that look for pairs: codes that are bounded are none
    ir.remove_unused(result)
    align(result)
    _rewrite(result, _FLOAT)
    ir.remove_unused(result)
    ir.infer_shapes(result)
    return result


def _rewrite(model: ir.Model, rewrites: Iterable[Rewrite]) -> None:
    for op_types, change in rewrites:
        for node in _all(model, op_types):
            change(node)


def _all(model: ir.Model, op_types: Iterable[str]) -> tuple[ir.Node, ...]:
    """In the order of the graph."""
    wanted = frozenset(op_types)
    return tuple(node for node in model.graph if node.op_type in wanted and not node.domain)
