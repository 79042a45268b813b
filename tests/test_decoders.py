"""A decoder gets what it has seen before as inputs: nothing, before its first step."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import ONE_THREAD, net, run

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.diagnosis.bitops import bitops
from amct_lite.errors import CalibrationError, StaticShapeError
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.pipeline import quantize
from amct_lite.types import Feeds

TEXT = """net (float[1,T,8] x, float[1,P,8] past) => (float[1,T,4] y, float[1,P,8] z) {
  [seen] z = MatMul (past, wp) k = Concat <axis=1> (z, x) t = Transpose <perm=[0,2,1]> (k)
  s = MatMul (x, t) p = Softmax <axis=-1> (s) a = MatMul (p, k) [last] y = MatMul (a, w) }"""


def decoder() -> ir.Model:
    return ir.load_bytes(net(TEXT, wp=(8, 8), w=(8, 4)).SerializeToString())


def steps(*seen: int) -> list[Feeds]:
    rng = np.random.default_rng(0)
    return [
        {
            name: rng.standard_normal((1, size, 8)).astype(np.float32)
            for name, size in (("x", 3 if before == 0 else 1), ("past", before))
        }
        for before in seen
    ]


@pytest.mark.parametrize("algo", ["ifmr", "hfmg", "kl", "percentile", "minmax", "mse"])
@pytest.mark.parametrize("target", ["ort", "generic"])
def test_its_first_step_is_calibrated_with_the_others(target: str, algo: str) -> None:
    config = QuantConfig(target=target, algorithm=algo)
    result = quantize(decoder(), steps(0, 3, 4, 0, 5, 7, 2, 0), config, options=ONE_THREAD)
    assert {"seen", "last"} <= {entry.key for entry in result.record.layers}
    for exported in filter(None, (result.exports.fake_quant, result.exports.deploy)):
        for sample in steps(0, 5):
            exact, ours = (run(model, sample) for model in (result.source.prepared, exported))
            assert sqnr_db(exact[0], ours[0]) > 20
            assert ours[1].shape == sample["past"].shape


def test_its_cost_is_counted_for_the_first_step_too() -> None:
    costs = [bitops(decoder(), input_shapes={"x": (1, 1, 8), "past": (1, size, 8)}) for size in (0, 4)]
    assert [next(layer.macs for layer in cost.layers if layer.name == "seen") for cost in costs] == [0, 4 * 8 * 8]


def test_a_range_of_nothing_is_not_known() -> None:
    with pytest.raises(CalibrationError, match=r"^tensor 'past' was empty in all samples, so its range is not known\. Give"):
        quantize(decoder(), steps(0, 0), QuantConfig(target="ort"), options=ONE_THREAD)


def test_a_deploy_model_of_nothing_is_refused() -> None:
    result = quantize(decoder(), steps(0, 0), QuantConfig(skip=("seen",)), options=ONE_THREAD)
    assert result.exports.deploy is None
    with pytest.raises(StaticShapeError, match=r"there is nothing in 'past' \(1, 0, 8\)\. .* pass --input-shape with the size"):
        raise result.exports.deploy_problem
