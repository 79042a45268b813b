"""Every kind of layer, both exported models, against integers computed by numpy."""

import numpy as np
import pytest
from integer_reference import codes_of, device_codes_of
from layer_cases import CASES, Case, layer_node, record_for, reference
from onnx_check import full_check
from passes.graphs import feeds_for, outputs_of

from amct_lite import ir
from amct_lite.exporters import ascend, qdq
from amct_lite.runtime import open_session
from amct_lite.validate.equivalence import verify_deploy
from amct_lite.validate.lowering import lower

GRANULAR = [
    pytest.param(case, per_channel, id=f"{case.id}-{'channel' if per_channel else 'tensor'}")
    for case in CASES
    for per_channel in ((False, True) if case.per_channel else (False,))
]
ASCEND = [pytest.param(*p.values, id=p.id) for p in GRANULAR if not p.values[0].refused]


@pytest.mark.parametrize(("case", "per_channel"), GRANULAR)
def test_fake_quant_model_computes_what_the_integers_say(case: Case, per_channel: bool) -> None:
    model = case.model()
    feeds = feeds_for(model, seed=7)
    record = record_for(case, model, feeds, per_channel=per_channel)
    exported = qdq.export(model, record)
    full_check(exported)
    (got,) = outputs_of(exported, feeds)
    total, steps = reference(case, model, record, feeds, codes_of)
    expected = total * steps.astype(np.float64)
    # float32 sums of a few dozen products, each rounded at 6e-8 of the largest
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("case", "per_channel"), ASCEND)
def test_deploy_model_has_the_same_accumulators_to_the_last_bit(case: Case, per_channel: bool) -> None:
    model = case.model()
    feeds = feeds_for(model, seed=7)
    record = record_for(case, model, feeds, per_channel=per_channel)
    deploy = ascend.export(model, record)
    lowered = lower(deploy)
    session = open_session(lowered.model)
    results = dict(zip(session.output_names, session.run(feeds), strict=True))
    total, steps = reference(case, model, record, feeds, device_codes_of)
    (layer,) = lowered.layers
    if case.weight or case.two:
        assert layer.whole
        np.testing.assert_array_equal(results[layer.accumulators], total)
        # one multiplication in float32 of exactly these integers
        np.testing.assert_array_equal(results["y"], total.astype(np.float32) * steps)
    else:  # an average is no integer
        np.testing.assert_allclose(results["y"], total * steps, rtol=3e-7, atol=1e-6 * np.abs(total * steps).max())


@pytest.mark.parametrize(("case", "per_channel"), ASCEND)
def test_both_models_agree(case: Case, per_channel: bool) -> None:
    model = case.model()
    feeds = [feeds_for(model, seed=seed) for seed in (7, 8)]
    record = record_for(case, model, feeds[0], per_channel=per_channel)
    found = verify_deploy(ascend.export(model, record), qdq.export(model, record), feeds)
    assert (found.samples, found.layers) == (2, 1)


@pytest.mark.parametrize("case", [case for case in CASES if case.weight], ids=lambda case: case.id)
def test_weights_are_stored_as_int8_in_the_layout_of_the_model(case: Case) -> None:
    model = case.model()
    record = record_for(case, model, feeds_for(model), per_channel=True)
    exported = qdq.export(model, record)
    codes = [v for v in exported.graph.initializers.values() if v.dtype == ir.DataType.INT8 and len(v.shape) > 1]
    assert len(codes) == 1
    assert "w" not in exported.graph.initializers, "the float weight is gone"
    node = layer_node(exported)
    weight = next(v for v in node.inputs[:2] if v.producer().op_type in {"DequantizeLinear", "Reshape"} and "weight" in v.name)
    assert weight is not None
