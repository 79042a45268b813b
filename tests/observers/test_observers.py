"""What holds for every range method, and what each one alone promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import amct_lite.numerics.sketch as sketch_module
import amct_lite.numerics.stratum as stratum_module
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.numerics.affine import fake_quantize, qparams_from_range
from amct_lite.numerics.metrics import mse
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.observers import OBSERVERS, make_observer
from amct_lite.types import AnyArray, QParams, QuantSpec

METHODS = OBSERVERS.names()
COUNT = 200_000


def sketch_of(array: AnyArray, samples: int = 1) -> Sketch:
    sketch = Sketch(1)
    sketch.observe(Observation.of(array.reshape(samples, -1), None), 0)
    return sketch


def arrays() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    gauss = rng.standard_normal(COUNT)
    made = {
        "gauss": gauss,
        "relu": np.maximum(gauss, 0),
        "silu": 4 * gauss / (1 + np.exp(-4 * gauss)),
        "uniform": rng.uniform(-2, 6, COUNT),
        "laplace": rng.laplace(size=COUNT),
        "negative": -rng.exponential(2, COUNT),
        "heavy": rng.standard_t(5, COUNT),
    }
    return {name: array.astype(np.float32) for name, array in made.items()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", sorted(arrays()))
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_histogram_decides_like_exact_values(
    method: str, name: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = arrays()[name]
    folded = sketch_of(array, samples=8)
    monkeypatch.setattr(stratum_module, "EXACT_VALUES", COUNT)
    monkeypatch.setattr(sketch_module, "EXACT_VALUES", COUNT)
    exact = sketch_of(array, samples=8)
    assert (folded.is_exact, exact.is_exact) == (False, True)
    for bits in (8, 16):
        spec = QuantSpec(bits, symmetric)
        ours, truth = (make_observer(method, {}).qparams(sketch, spec) for sketch in (folded, exact))
        # Bins are 2^-12 of the range, IFMR's candidates and HFMG's bins are within 1 % of each other. The divergence of
        # KL is flat and hangs on single values of a heavy tail.
        tolerance = 0.05 if method == "kl" and name == "heavy" else 0.01
        assert ours.scale[0] == pytest.approx(truth.scale[0], rel=tolerance)
        assert abs(ours.zero_point[0] - truth.zero_point[0]) <= max(1, tolerance * 2 ** (bits - 1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [4, 6, 8, 12, 16])
@pytest.mark.parametrize("symmetric", [True, False])
def test_every_width_gives_a_usable_grid(method: str, bits: int, symmetric: bool) -> None:
    array = np.random.default_rng(0).normal(0.3, 1, 3000).astype(np.float32)
    spec = QuantSpec(bits, symmetric)
    params = make_observer(method, {}).qparams(sketch_of(array), spec)
    assert params.bits == bits
    assert spec.qmin <= params.zero_point[0] <= spec.qmax
    assert symmetric <= (params.zero_point[0] == 0)
    # A Gaussian's range is 3 to 4 sigma a side for every method: the error stays near that of min-max.
    plain = qparams_from_range(float(array.min()), float(array.max()), spec)
    assert mse(array, fake_quantize(array, params)) <= 4 * mse(array, fake_quantize(array, plain)) + 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("count", [3, 40_000])
def test_a_constant_tensor_keeps_its_value(method: str, symmetric: bool, count: int) -> None:
    spec = QuantSpec(8, symmetric)
    zero = make_observer(method, {}).qparams(sketch_of(np.zeros(count)), spec)
    assert zero == QParams.of(1.0, 0 if symmetric else -128)
    for value in (2.5, -2.5):
        array = np.full(count, value, dtype=np.float32)
        params = make_observer(method, {}).qparams(sketch_of(array), spec)
        # HFMG and the histograms may stop a bin short of the value: a thousandth.
        assert fake_quantize(array, params)[0] == pytest.approx(value, rel=5e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("largest", [1e-44, 1e-40, 1e-12])
def test_values_too_small_for_a_scale_get_the_scale_1(method: str, symmetric: bool, largest: float) -> None:
    array = np.linspace(-largest, largest, 100, dtype=np.float32)
    assert make_observer(method, {}).qparams(sketch_of(array), QuantSpec(8, symmetric)).scale == (1.0,)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_observed_is_an_error(method: str) -> None:
    with pytest.raises(CalibrationError, match="no values were observed"):
        make_observer(method, {}).qparams(Sketch(1), QuantSpec())


def test_minmax_is_the_range() -> None:
    params = make_observer("minmax", {}).qparams(sketch_of(np.array([-127.5, 3.0, 127.5])), QuantSpec())
    assert params == QParams.of(1.0, 0)


def test_percentile_cuts_both_ends_or_the_magnitude() -> None:
    array = np.arange(-500, 501).astype(np.float32)
    sketch = sketch_of(array)
    half = make_observer("percentile", {"percentile": 90}).qparams(sketch, QuantSpec())
    assert half.scale[0] == pytest.approx(900 / 255, rel=0.003)  # 5 % = 50 values off each end, of 1001
    symmetric = make_observer("percentile", {"percentile": 90}).qparams(sketch, QuantSpec(8, symmetric=True))
    assert symmetric.scale[0] == pytest.approx(450 / 127, rel=0.003)
    everything = make_observer("percentile", {"percentile": 100}).qparams(sketch, QuantSpec())
    assert everything == qparams_from_range(-500, 500, QuantSpec())


def test_kl_ignores_how_many_zeros_a_relu_made() -> None:
    positive = np.abs(np.random.default_rng(0).normal(size=20_000)).astype(np.float32)
    padded = np.concatenate([positive, np.zeros(10_000, dtype=np.float32)])
    kl = make_observer("kl", {})
    assert kl.qparams(sketch_of(padded), QuantSpec()) == kl.qparams(sketch_of(positive), QuantSpec())


def test_kl_keeps_data_far_from_zero() -> None:
    array = np.random.default_rng(0).uniform(5, 6, size=20_000).astype(np.float32)
    for symmetric in (True, False):
        params = make_observer("kl", {}).qparams(sketch_of(array), QuantSpec(8, symmetric))
        assert fake_quantize(array, params).max() > 5.9


@pytest.mark.parametrize("method", ["kl", "mse", "percentile"])
def test_one_far_value_is_clipped(method: str) -> None:
    array = np.random.default_rng(0).normal(size=30_000).astype(np.float32)
    array[0] = 40
    params = make_observer(method, {}).qparams(sketch_of(array), QuantSpec(8, symmetric=True))
    assert params.scale[0] < 38 / 127


@pytest.mark.parametrize("name", sorted(arrays()))
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_mse_is_the_best_of_all_methods(name: str, bits: int, symmetric: bool) -> None:
    array = arrays()[name]
    sketch, spec = sketch_of(array, samples=8), QuantSpec(bits, symmetric)
    errors = {m: mse(array, fake_quantize(array, make_observer(m, {}).qparams(sketch, spec))) for m in METHODS}
    # The search stops at 0.4 % of a bound, where the error differs by less than 1 %; and it sees a histogram.
    assert errors["mse"] <= 1.01 * min(errors.values())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ifrm", {}, r"unknown range method 'ifrm' \(did you mean 'ifmr'\?\)"),
        ("ifmr", {"max_percentil": 0.9}, r"'ifmr' has no option 'max_percentil' \(did you mean 'max_percentile'\?\)"),
        ("minmax", {"bins": 3}, "'minmax' has no option 'bins'; it has none"),
        ("ifmr", {"max_percentile": 0.5}, r"max_percentile = 0.5 must be a number in \(0.5, 1\]"),
        ("ifmr", {"min_percentile": 1.1}, "min_percentile = 1.1 must be"),
        ("ifmr", {"max_percentile": "high"}, "max_percentile = 'high' must be a number"),
        ("ifmr", {"max_percentile": True}, "max_percentile = True must be a number"),
        ("ifmr", {"search_range": [1.3, 0.7]}, r"search_range = \[1.3, 0.7\] must begin below its end"),
        ("ifmr", {"search_range": 0.7}, "search_range = 0.7 must be two numbers"),
        ("ifmr", {"search_range": [0, 1]}, "search_range start = 0 must be"),
        ("ifmr", {"search_step": 0}, "search_step = 0 must be"),
        ("ifmr", {"search_step": 1e-9}, "search_step = 1e-09 gives more than 10000 candidates"),
        ("hfmg", {"num_of_bins": 1000}, "num_of_bins = 1000 is not supported .choose one of 1024, 2048, 4096, 8192"),
        ("hfmg", {"num_of_bins": [1024]}, "num_of_bins = .1024. is not supported"),
        ("percentile", {"percentile": 50}, "percentile = 50 must be"),
        ("percentile", {"percentile": float("nan")}, "percentile = nan must be"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_observer(name, options)


def test_options_from_a_config_file_are_taken() -> None:
    assert make_observer("ifmr", {"search_range": [0.7, 1.3]}) == make_observer("ifmr", {})


def test_observers_decide_the_same_twice() -> None:
    sketch = sketch_of(arrays()["gauss"])
    for method in METHODS:
        observer = make_observer(method, {})
        assert observer.qparams(sketch, QuantSpec()) == observer.qparams(sketch, QuantSpec())


def test_a_grid_finer_than_the_histogram_does_not_fall_in_step_with_its_points() -> None:
    # At 1.7 times the range a step of 16 bits is 2^-16, and every point of the sketch a multiple of it: no error to be seen.
    high = np.float32(65535 / 65536 / 1.7)
    array = np.random.default_rng(1).uniform(0, high, COUNT).astype(np.float32)
    array[0] = high
    sketch, spec = sketch_of(array, samples=8), QuantSpec(16, symmetric=False)
    assert not sketch.is_exact
    assert sketch.resolution == 2**-12
    observer = make_observer("ifmr", {"search_range": (0.7, 1.8)})
    assert observer.qparams(sketch, spec).scale[0] == pytest.approx(high / 65535, rel=0.011)


def test_hfmg_compares_a_heavy_tail_with_the_whole_range_before_it_is_cut_off() -> None:
    """A step of mass is longer than a bin there, and nothing between would have been a candidate."""
    array = np.concatenate([np.linspace(-1, 1, 400_000), np.full(4, 1e4)]).astype(np.float32)
    scale = make_observer("hfmg", {}).qparams(sketch_of(array), QuantSpec(8, symmetric=False)).scale[0]
    # Four values of 1e4 weigh more than the rounding of all others.
    assert scale == pytest.approx(1e4 / 255, rel=1e-2)


def test_hfmg_takes_a_tail_off_whichever_side_it_is_on() -> None:
    """Mirrored values get the mirrored range, up to a bin at each end and the rounding of the zero point."""
    array = np.random.default_rng(5).exponential(1, 200_000).astype(np.float32) - 3
    spec, ranges = QuantSpec(8, symmetric=False), []
    for values in (array, -array):
        params = make_observer("hfmg", {}).qparams(sketch_of(values), spec)
        scale, zero_point = float(params.scale[0]), params.zero_point[0]
        ranges.append(((spec.qmin - zero_point) * scale, (spec.qmax - zero_point) * scale))
    (low, high), (mirrored_low, mirrored_high) = ranges
    assert high < array.max() - 0.5  # there is a tail to take off
    tolerance = float(np.ptp(array)) / 4096 + (high - low) / 255 / 2
    assert (mirrored_low, mirrored_high) == (pytest.approx(-high, abs=tolerance), pytest.approx(-low, abs=tolerance))
