"""Looks at the scales of an exported model before it is run: what they do wrong may not reach an output, or both models."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from amct_lite import ir
from amct_lite.errors import VerificationError
from amct_lite.exporters.ascend import dequant_scale
from amct_lite.types import AnyArray


def _second_input(node: ir.Node) -> AnyArray:
    scale = ir.constant_of(node.inputs[1])
    assert scale is not None
    return scale


def _attribute(node: ir.Node) -> AnyArray:
    return np.array(ir.attribute(node, "scale", 1.0), np.float32)


_SCALES: Mapping[str, Callable[[ir.Node], AnyArray]] = {
    "QuantizeLinear": _second_input,
    "DequantizeLinear": _second_input,
    "AscendQuant": _attribute,
    "AscendAntiQuant": _attribute,
    "AscendDequant": lambda node: dequant_scale(_second_input(node)),
}


def require_usable_scales(model: ir.Model, called: str) -> None:
    """Raises VerificationError for the first scale of `model` that is no finite number above 0. called: what the user knows the
    model as."""
    for node in model.graph:
        scales = _SCALES[node.op_type](node).reshape(-1) if node.op_type in _SCALES else np.ones(1)
        wrong = np.flatnonzero(~(np.isfinite(scales) & (scales > 0)))
        if wrong.size:
            tensor = node.inputs[0]
            assert tensor is not None
            raise VerificationError(
                f"{node.name} ({node.op_type} of tensor {str(tensor.name)!r}) in the {called} has "
                f"{f'scales[{wrong[0]}]' if scales.size > 1 else 'the scale'} {scales[wrong[0]]:g}, but a scale is a finite "
                f"float32 above 0. Where the record was edited, look at this scale there; otherwise please report this model."
            )
