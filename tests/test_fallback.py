"""What 8 bits ruin stays in float, with the reason; whoever asks for it by name gets it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net

from amct_lite import ir
from amct_lite.config import Override, QuantConfig
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult

THREE = """net (float[1,3,8,8] x) => (float[1,8,8,8] y) {
  [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [c2] b = Conv (a, w2) [c3] y = Conv (b, w3) }"""


def uneven(text: str = THREE, **weights: object) -> ir.Model:
    """c1 makes a channel a thousand times the others, of which c2 wants the others alone."""
    w1 = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    w2 = np.eye(8, dtype=np.float32)[..., None, None]
    w1[0], w2[0] = w1[0] * 1000, 0
    return ir.load_bytes(net(text, w1=w1, w2=w2, w3=(8, 8, 1, 1), **weights).SerializeToString())


def run(config: QuantConfig, model: ir.Model | None = None) -> QuantizeResult:
    return quantize(model or uneven(), images(8, size=(8, 8)), config, options=ONE_THREAD)


def kept(result: QuantizeResult) -> set[str]:
    return {entry.key for entry in result.record.layers}


@pytest.mark.parametrize(
    ("target", "balancing"), [("ascend", "--balance"), ("generic", "--balance"), ("ort", "--balance --balance-fold")]
)
def test_a_ruined_layer_stays_in_float_with_the_reason(target: str, balancing: str) -> None:
    plain, ruined = run(QuantConfig(target=target)), run(QuantConfig(target=target, fallback=0))
    assert {"c1", "c2", "c3"} <= kept(ruined)
    assert {"c1", "c3"} <= kept(plain)
    assert "c2" not in kept(plain)
    (reason,) = [skip.reason for skip in plain.report.skips if skip.node == "c2"]
    (row,) = [row for row in ruined.report.layers if row.name == "c2"]
    told = f"8 bits would leave its output {row.sqnr_db:.1f} dB above the noise, less than 20 (fallback)"
    assert reason == f"{told}: {balancing} would help"
    assert plain.report.outputs[0].sqnr_db > 25 > 10 > ruined.report.outputs[0].sqnr_db


def test_who_wants_none_gets_none_even_below_zero_db() -> None:
    """Two large channels, of which little more than the difference counts: their weights are rounded away from each other."""
    w1 = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    w1[1] = w1[0] = w1[0] * 1000
    w2 = np.eye(8, dtype=np.float32)
    w2[:, 0], w2[:, 1] = 0.6 / 127, -0.45 / 127
    model = ir.load_bytes(net(THREE, w1=w1, w2=w2[..., None, None], w3=(8, 8, 1, 1)).SerializeToString())
    plain, none = (run(QuantConfig(target="generic", fallback=db), model) for db in (1e-9, 0))
    assert kept(plain) == {"c1", "c3"}
    assert kept(none) == {"c1", "c2", "c3"}


def test_noise_tells_nothing_of_layers() -> None:
    """Its range is not that of data."""
    options = replace(ONE_THREAD, random=8)
    result = quantize(uneven(), None, QuantConfig(target="generic"), options=options)
    assert "c2" in kept(result)


def test_a_layer_that_is_asked_for_by_name_is_quantized() -> None:
    assert "c2" in kept(run(QuantConfig(target="generic", layers={"c2": Override(skip=False)})))


def test_who_asks_for_fewer_bits_gets_them() -> None:
    assert "c2" in kept(run(QuantConfig(target="generic", layers={"c2": Override(weight_bits=4)})))


def test_where_every_layer_is_ruined_all_are_quantized() -> None:
    """No few of them are to blame."""
    alone = "net (float[1,3,8,8] x) => (float[1,8,8,8] y) { [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [c2] y = Conv (a, w2) }"
    config = QuantConfig(target="generic", skip=("c1",))
    result = quantize(uneven(alone), images(8, size=(8, 8)), config, options=ONE_THREAD)
    assert kept(result) == {"c2"}
    assert (result.report.layers[0].sqnr_db or 0) < 20


def test_a_layer_whose_balancing_is_folded_stays_as_it_is() -> None:
    """Its neighbour would have to be calibrated anew."""
    config = QuantConfig(target="generic", layers={"c3": Override(balance=0.5)}, balance_fold=True)
    result = run(replace(config, fallback=100.0))
    assert "c3" in kept(result)
    assert "c2" not in kept(result)


def test_a_layer_with_balancing_of_its_own_falls_back() -> None:
    config = QuantConfig(target="generic", layers={"c3": Override(balance=0.5)}, fallback=100.0, skip=("c1",))
    assert "c3" in kept(run(replace(config, fallback=0)))
    assert "c3" not in kept(run(replace(config, layers={**config.layers, "c2": Override(skip=False)})))


def test_a_ruined_tensor_between_layers_is_passed_on_as_float() -> None:
    """One value is a hundred times the others, and the range must hold it."""
    text = """net (float[1,3,8,8] x) => (float[1,8,8,8] y) {
      [c1] a = Conv <pads=[1,1,1,1]> (x, w1) [c2] b = Conv (x, w2) [add] s = Add (a, b) [c3] y = Conv (s, w3) }"""
    weight = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    model = net(text, w1=weight, w2=(8, 3, 1, 1), w3=(8, 8, 1, 1)).SerializeToString()
    data = images(8, size=(8, 8))
    for feeds in data:
        feeds["x"][0, :, 0, 0] = 100
    config = QuantConfig(target="ort", algorithm="minmax", layers={name: Override(skip=False) for name in ("c1", "c2", "c3")})
    plain, ruined = (quantize(ir.load_bytes(model), data, replace(config, fallback=db), options=ONE_THREAD) for db in (60, 0))
    assert "add:0" in kept(ruined)
    assert "add:0" not in kept(plain)
    assert {"c1", "c2", "c3"} <= kept(plain)
    assert any(skip.node == "add:0" and "(fallback)" in skip.reason for skip in plain.report.skips)
    named = replace(config, fallback=60, layers={**config.layers, "add": Override(skip=False)})
    assert "add:0" in kept(quantize(ir.load_bytes(model), data, named, options=ONE_THREAD))


def test_what_falls_back_computes_in_float16_where_that_is_asked_for() -> None:
    result = run(QuantConfig(target="generic", float16=("c*",)))
    assert "c2" not in kept(result)
    assert result.plan is not None
    assert result.plan.halves == ("c2",)


def test_without_samples_nothing_is_measured_and_that_is_said() -> None:
    first = run(QuantConfig(target="generic"))
    again = quantize(uneven(), None, QuantConfig(target="generic"), statistics=first.statistics, options=ONE_THREAD)
    assert "c2" in kept(again)
    assert any("none falls back to float" in note for note in again.report.notes)
