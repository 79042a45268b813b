"""The integers of a weight: the same array for everybody who asks for them, as long as the weight lives."""

import gc
import weakref
from dataclasses import replace

import numpy as np
from layer_cases import BY_ID, record_for
from passes.graphs import feeds_for

from amct_lite import ir
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers, quantized_weight
from amct_lite.numerics.affine import quantize
from amct_lite.types import QParams, QuantRecord


def model_and_record(case_id: str) -> tuple[ir.Model, QuantRecord]:
    case = BY_ID[case_id]
    model = case.model()
    return model, record_for(case, model, feeds_for(model), per_channel=case.per_channel)


def layer_of(model: ir.Model, record: QuantRecord) -> QuantizedLayer:
    return quantized_layers(model, record)[0]


def expected(item: QuantizedLayer) -> np.ndarray:
    weight = item.layer.weight_array
    rows = quantize(item.layer.rows(weight), item.weight, axis=None if item.weight.per_tensor else 0)
    return item.layer.from_rows(rows, weight.shape)


def test_copies_of_a_model_share_the_integers_of_a_weight() -> None:
    model, record = model_and_record("deconv_group")
    first, second = (quantized_weight(layer_of(m, record)) for m in (model, ir.clone(model)))
    np.testing.assert_array_equal(first, expected(layer_of(model, record)))
    assert np.shares_memory(first, second)


def test_other_scales_and_another_axis_give_other_integers() -> None:
    model, record = model_and_record("matmul_bias")
    item = layer_of(model, record)
    coarse = replace(item, weight=QParams.of(2 * item.weight.scales, 0))
    across = replace(
        item,
        layer=replace(item.layer, weight_axis=0),
        weight=QParams.of(np.linspace(0.01, 0.05, len(item.layer.weight_array)), 0),
    )
    found = [quantized_weight(one) for one in (item, coarse, across, item)]
    for codes, one in zip(found, (item, coarse, across, item), strict=True):
        np.testing.assert_array_equal(codes, expected(one))
    assert not np.array_equal(found[0], found[1])


def test_integers_go_with_their_weight() -> None:
    model, record = model_and_record("conv2d")
    codes = weakref.ref(quantized_weight(layer_of(model, record)))
    assert codes() is not None
    del model
    gc.collect()
    assert codes() is None
