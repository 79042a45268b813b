"""Normalizations that ONNX Runtime fused become operators of ONNX again, with what stands in front of them in the same node:

    SkipLayerNormalization             Add and LayerNormalization
    SkipSimplifiedLayerNormalization   Add and the division by the root of the mean square
    SimplifiedLayerNormalization       that division
    EmbedLayerNormalization            Gathers, Add and LayerNormalization
    LayerNormalization (opset < 17)    mean, deviation and division, as all of these where the opset has no LayerNormalization

Each function raises NotAdaptable, before it changes anything, where more is read than the normalized tensor and the sum.
Source: ONNX Runtime's contrib operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from amct_lite import ir
from amct_lite.ir.adapting import NotAdaptable, Site
from amct_lite.ir.build import Inserter

LAYER_NORM_OPSET = 17
_EPSILON = 1e-5
_FUSED_EPSILON = 1e-12
"""Where a node of com.microsoft says none."""


class _Norm(NamedTuple):
    """What a normalization over the last axis multiplies by and adds, the number under its root, and the type of all."""

    gamma: ir.Value
    beta: ir.Value | None
    epsilon: float
    dtype: np.dtype[Any]


_Write = Callable[[Inserter, ir.Value, _Norm], ir.Value]


def skip_layer_norm(site: Site) -> None:
    x, skip, gamma, beta, bias = site.inputs(5)
    _sum_normed(site, (x, skip, bias), _layer_normed, _norm(site, gamma, beta, _FUSED_EPSILON))


def skip_rms_norm(site: Site) -> None:
    x, skip, gamma, bias = site.inputs(4)
    _sum_normed(site, (x, skip, bias), _rms_normed, _norm(site, gamma, None, _FUSED_EPSILON))


def layer_norm(site: Site) -> None:
    _normed_alone(site, _layer_normed)


def rms_norm(site: Site) -> None:
    _normed_alone(site, _rms_normed)


def embedding_norm(site: Site) -> None:
    words, segments, word_table, place_table, segment_table, gamma, beta, mask, places = site.inputs(9)
    if not site.unused(2) or not (site.unused(1) or mask is not None):
        raise NotAdaptable("its sum is read, or its count of words that no mask tells")
    norm = _norm(site, gamma, beta, _FUSED_EPSILON)
    b = site.inserter()
    if places is None:
        places = b.positions(words, 1)
    total = b.op("Add", b.op("Gather", word_table, words), b.op("Gather", place_table, places))
    if segments is not None:
        total = b.op("Add", total, b.op("Gather", segment_table, segments))
    if not site.unused(1):
        ir.redirect(site.node.outputs[1], b.op("ReduceSum", mask, b.constant([1]), keepdims=0))
    site.become(_layer_normed(b, total, norm))


def _norm(site: Site, gamma: ir.Value | None, beta: ir.Value | None, epsilon: float) -> _Norm:
    """epsilon: where the node says none."""
    if gamma is None or gamma.dtype is None:
        raise NotAdaptable("the type of its weights is not known")
    return _Norm(gamma, beta, ir.attribute(site.node, "epsilon", epsilon), gamma.dtype.numpy())


def _sum_normed(site: Site, parts: Sequence[ir.Value | None], write: _Write, norm: _Norm) -> None:
    """The normalized sum of `parts`; the sum is the fourth result."""
    if not (site.unused(1) and site.unused(2)):
        raise NotAdaptable("its mean or deviation is read")
    if not site.unused(3) and site.node.outputs[3].is_graph_output():
        raise NotAdaptable("its sum is an output of the model")
    b = site.inserter()
    *both, bias = parts
    if bias is not None:
        both.sort(key=_is_product, reverse=True)
        both[0] = b.op("Add", both[0], bias)
    total = b.op("Add", *both)
    if not site.unused(3):
        ir.redirect(site.node.outputs[3], total)
    site.become(write(b, total, norm))


def _is_product(value: ir.Value | None) -> bool:
    """Whether a bias added to it is the bias of a layer."""
    maker = ir.producer_of(value)
    return maker is not None and maker.op_type == "MatMul"


def _normed_alone(site: Site, write: _Write) -> None:
    x, gamma, beta = site.inputs(3)
    if ir.attribute(site.node, "axis", -1) not in {-1, len(ir.dims_of(x) or ()) - 1}:
        raise NotAdaptable("it is not known to normalize over the last axis alone")
    if x is None or not (site.unused(1) and site.unused(2)):
        raise NotAdaptable("its mean or deviation is read")
    norm = _norm(site, gamma, beta, _EPSILON)
    site.become(write(site.inserter(), x, norm))


def _layer_normed(b: Inserter, x: ir.Value, norm: _Norm) -> ir.Value:
    """LayerNormalization; where the opset has none, in the steps that exporters write."""
    if b.opset >= LAYER_NORM_OPSET:
        given = [x, norm.gamma] if norm.beta is None else [x, norm.gamma, norm.beta]  # ONNX Runtime 1.31 dies of an empty name
        return b.op("LayerNormalization", *given, epsilon=norm.epsilon)
    normed = _rms_normed(b, b.op("Sub", x, b.reduced("ReduceMean", x, [-1])), norm)
    return normed if norm.beta is None else b.op("Add", normed, norm.beta)


def _rms_normed(b: Inserter, x: ir.Value, norm: _Norm) -> ir.Value:
    """x · gamma / sqrt(mean(x²) + epsilon)"""
    squares = b.op("Pow", x, b.constant(2, norm.dtype))
    root = b.op("Sqrt", b.op("Add", b.reduced("ReduceMean", squares, [-1]), b.constant(norm.epsilon, norm.dtype)))
    return b.op("Mul", b.op("Div", x, root), norm.gamma)
