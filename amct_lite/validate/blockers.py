"""Why a layer of a QuantizeLinear/DequantizeLinear model did not become an integer kernel of ONNX Runtime.

Asked only of layers that are known to run in float, so each sentence names what was seen to prevent the fusion.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from amct_lite import ir
from amct_lite.exporters.rewrites.float_convs import in_their_row
from amct_lite.flow.kernels import INTEGERS_ONLY
from amct_lite.flow.placement import bounds_of
from amct_lite.ops import WEIGHTED
from amct_lite.passes.bound_parts import BOUNDS

WITHOUT_KERNEL = frozenset({"ConvTranspose"})
"""Layers that ONNX Runtime has no integer kernel for (1.31, CPU)."""
_CODES_ONLY = INTEGERS_ONLY | {"AveragePool"}
"""Quantized operators whose integer kernels cannot write float."""
_HALF = 0.5
"""A range may stick out by less than this share of a step: no code lies there."""
_EIGHT_BITS = frozenset({ir.DataType.INT8, ir.DataType.UINT8})


def blockers(node: ir.Node, executed: ir.Node | None = None) -> tuple[str, ...]:
    """Sentences about layer `node`, which runs in float; never empty. The model must have its types inferred.

    executed: what stands for it in the optimized graph.
    """
    if node.op_type in WITHOUT_KERNEL:
        return (f"ONNX Runtime has no integer kernel for {node.op_type}",)
    if inputs := _not_quantized(node):
        return inputs
    if node.op_type == "LSTM":
        return ("ONNX Runtime makes no integer kernel of QuantizeLinear and DequantizeLinear around an LSTM: use --target ort",)
    found = tuple(sentence for look in _LOOKS if (sentence := look(node)) is not None)
    signs = (look(executed) for look in (_mixed_signs, _shared_signed) if executed is not None)
    if not found and (sign := next(filter(None, signs), None)):
        return (sign,)
    return found or (f"this ONNX Runtime does not fuse this form of {node.op_type}",)


def _dequantizer(value: ir.Value | None) -> ir.Node | None:
    node = ir.producer_of(value)
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _not_quantized(node: ir.Node) -> tuple[str, ...]:
    data, weight = (node.inputs[i] if i < len(node.inputs) else None for i in (0, 1))
    if _dequantizer(data) is None:
        return ("not quantized: no DequantizeLinear in front of its data",)
    if _is_stack(weight):
        return ("its weight is a stack of matrices with a scale for each channel: use one scale (--channel-wise auto)",)
    if node.op_type not in WEIGHTED or _dequantizer(weight) is not None:
        return ()
    if weight is not None and ir.constant_of(weight) is None:
        return ("its second input is float",)
    output = _float_output(node)  # one that must be float for its readers is given such a weight
    return (*([output] if output else []), "its weight is float")


def _is_stack(weight: ir.Value | None) -> bool:
    """Whether it is written as a stack of matrices with a scale for each channel is (`exporters/qdq.py`)."""
    reshape = ir.producer_of(weight)
    return reshape is not None and reshape.op_type == "Reshape" and _dequantizer(reshape.inputs[0]) is not None


def _width(node: ir.Node) -> str | None:
    for value, what in zip(node.inputs[:2], ("activations", "weights"), strict=False):
        dequantize = _dequantizer(value)
        codes = dequantize.inputs[0] if dequantize is not None else None
        if codes is not None and codes.dtype is not None and codes.dtype not in _EIGHT_BITS:
            return f"{what} are {codes.dtype.name}: the integer kernels take 8 bits"
    return None


def _float_bias(node: ir.Node) -> str | None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return "its bias is float" if bias is not None and _dequantizer(bias) is None else None


def _unspelled_zero_point(node: ir.Node) -> str | None:
    """The fusion into QGemm looks for the zero points of data and weight."""
    for value in node.inputs[:2] if node.op_type == "Gemm" else ():
        dequantize = _dequantizer(value)
        if dequantize is not None and (len(dequantize.inputs) < 3 or dequantize.inputs[2] is None):
            return "its weight has no zero point written out, which the fusion into an integer Gemm looks for: use --target ort"
    return None


def _float_output(node: ir.Node) -> str | None:
    """What keeps the QuantizeLinear away that the integer kernel of this layer needs right behind it."""
    if node.op_type not in _CODES_ONLY:
        return None
    value, bound = in_their_row(node), None
    while True:
        if value.is_graph_output():
            return f"its output {value.name!r} leaves the network as float"
        readers = [use.node for use in ir.uses(value)]
        if all(reader.op_type == "QuantizeLinear" for reader in readers):
            return _beyond(bound, readers[0]) if bound is not None and readers else None
        if len(readers) != 1 or readers[0].op_type not in BOUNDS:
            others = [reader for reader in readers if reader.op_type != "QuantizeLinear"]
            named = ", ".join(f"{reader.name} ({reader.op_type})" for reader in others[:2])
            more = f" and {len(others) - 2} more" if len(others) > 2 else ""
            verb = "reads" if len(others) == 1 else "read"
            also = ", beside a QuantizeLinear" if len(others) < len(readers) else ""
            return f"{named}{more} {verb} its output as float{also}"
        bound = readers[0]
        value = bound.outputs[0]


def _mixed_signs(executed: ir.Node) -> str | None:
    """On x86 ONNX Runtime makes int8 activations uint8, but not where several nodes read the same codes: then one side of
    a layer is signed and the other is not."""
    front = _dequantizer(executed.inputs[0])
    behind = [use.node for use in ir.uses(executed.outputs[0])]
    if front is None or len(behind) != 1 or behind[0].op_type != "QuantizeLinear":
        return None
    zero_points = [node.inputs[2] for node in (front, behind[0]) if len(node.inputs) > 2]
    kinds = [value.dtype.name for value in zero_points if value is not None and value.dtype is not None]
    if len(set(kinds)) != 2:
        return None
    return f"it reads {kinds[0]} and writes {kinds[1]} codes, which no integer kernel does: use --target ort"


def _shared_signed(executed: ir.Node) -> str | None:
    """The integer kernel of a MatMul takes uint8 data; int8 codes stay what they are where several nodes read them."""
    front = _dequantizer(executed.inputs[0])
    if executed.op_type != "MatMul" or front is None or len(front.inputs) < 3:
        return None
    codes, zero = front.inputs[0], front.inputs[2]
    if codes is None or zero is None or zero.dtype != ir.DataType.INT8 or len(ir.uses(codes)) < 2:
        return None
    return "several nodes read its INT8 codes, which so do not become the UINT8 that the kernel takes: use --target ort"


def _beyond(bound: ir.Node, quantize: ir.Node) -> str | None:
    """A Relu or Clip stays where the quantized range goes beyond its bounds; None where it does not."""
    scale, zero = (ir.constant_of(value) for value in quantize.inputs[1:3]) if len(quantize.inputs) > 2 else (None, None)
    if scale is None or zero is None or scale.size != 1:
        return f"{bound.name} ({bound.op_type}) stands in front of the QuantizeLinear"
    limits = np.iinfo(zero.dtype)
    low, high = (float((int(code) - int(zero)) * scale) for code in (limits.min, limits.max))
    lowest, highest = bounds_of(bound.outputs[0])
    if lowest - _HALF * scale <= low and high <= highest + _HALF * scale:
        return None
    goes = f"whose range {low:.3g} to {high:.3g} goes beyond it"
    return f"{bound.name} ({bound.op_type}) stays in front of the QuantizeLinear, {goes}"


_LOOKS: tuple[Callable[[ir.Node], str | None], ...] = (_width, _float_bias, _unspelled_zero_point, _float_output)
