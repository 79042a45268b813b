"""Which samples' extremes are kept, and that it does not matter in which order they came."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amct_lite.numerics import extremes
from amct_lite.numerics.extremes import Extremes
from amct_lite.numerics.observation import Observation
from amct_lite.numerics.sketch import Outlier, Sketch
from amct_lite.numerics.stratum import Stratum
from amct_lite.types import FloatArray


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extremes of 8 samples are all kept, beyond that 3 of each stratum."""
    monkeypatch.setattr(extremes, "EVERY", 8)
    monkeypatch.setattr(extremes, "FIRST", 3)


def of(magnitudes: list[float], first: int = 0) -> Extremes:
    found = Extremes()
    values = np.array(magnitudes, dtype=np.float32)
    found.add(-values, values / 2, first)
    return found


def content(found: Extremes) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in found.to_arrays().items()}


def test_few_are_all_kept_and_of_many_the_first_of_each_stratum(few: None) -> None:
    magnitudes = [1.0, 4, 1, 1, 4, 1, 4, 1]
    assert of(magnitudes).to_arrays()["sample_index"].tolist() == list(range(8))
    assert of([*magnitudes, 0]).to_arrays()["sample_index"].tolist() == [0, 1, 2, 3, 4, 6, 8]


def test_the_ends_are_those_of_all_samples_or_of_none(few: None) -> None:
    assert of([1.0] * 8).ends().tolist() == [-1.0] * 8 + [0.5] * 8
    assert of([1.0] * 9).ends().size == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from([0.0, 1, 1.5, 3, 100]), max_size=30), min_size=1, max_size=6), st.data())
def test_any_tree_of_merges_keeps_what_one_pass_keeps(few: None, parts: list[list[float]], data: st.DataObject) -> None:
    whole = of(list(itertools.chain(*parts)), 5)
    firsts = itertools.accumulate((len(part) for part in parts), initial=5)
    pieces = [of(part).renumbered(first) for part, first in zip(parts, firsts, strict=False)]
    while len(pieces) > 1:
        one, other = data.draw(st.permutations(range(len(pieces))))[:2]
        merged = pieces[one].merged(pieces[other])
        pieces = [piece for number, piece in enumerate(pieces) if number not in (one, other)] + [merged]
    assert content(pieces[0]) == content(whole)
    assert pieces[0].samples == whole.samples


def test_memory_does_not_grow_with_the_samples(few: None) -> None:
    found = Extremes()
    for first in range(0, 10_000, 10):
        found.add(np.zeros(10, np.float32), np.full(10, 2.0 ** (first % 3), np.float32), first)
        assert found._held <= 2 * 8 + 10
    assert found.samples == 10_000


def sketch_of(magnitudes: FloatArray) -> Sketch:
    sketch = Sketch(1)
    sketch.observe(Observation.of(magnitudes[:, None, None], 1), 0)
    return sketch


def test_what_is_dropped_changes_no_decision(few: None) -> None:
    """90 samples of three magnitudes, the last ten wild: all ten are left out, three are named."""
    magnitudes = np.resize(np.float32([1.1, 1.2, 2.5]), 90)
    magnitudes[80:] = 1000
    kept, outliers = sketch_of(magnitudes).robust()
    assert kept.samples == 80
    assert kept.high == 2.5
    assert outliers == tuple(Outlier(number, 1000.0, pytest.approx(1.1)) for number in (80, 81, 82))
    again = Sketch.from_arrays(kept.to_arrays())
    assert again == kept


def test_sums_of_means_do_not_overflow() -> None:
    """10^9 samples of 112 x 112 rows would pass 64 bits 23 times over; here pairs of merges get there."""
    large = Stratum.empty(0, 2)
    mean = np.array([[0.75, -0.5]], dtype=np.float32)
    large.observe(np.array([[0.75, -0.5]], np.float32), 2 * 12544, low=mean, high=mean, mean=mean)
    exact = [round(value * 2**24) * 12544 for value in (0.75, -0.5)]
    for _ in range(30):  # 2^30 samples
        copy = Stratum.empty(0, 2)
        copy.absorb(large)
        large.absorb(copy)
    held = [int(carry) * 2**63 + int(rest) for carry, rest in zip(large.channel_carry, large.channel_sum, strict=True)]
    assert held == [2**30 * value for value in exact]
    assert large.channel_carry.any()
    np.testing.assert_allclose(large.channel_total(), [2**30 * 12544 * 0.75, -(2**30) * 12544 * 0.5], rtol=1e-15)


def test_sums_that_were_carried_survive_a_file() -> None:
    sketch = sketch_of(np.float32([1.0]))
    for _ in range(40):
        sketch = sketch.merge(sketch)
    arrays = sketch.to_arrays()
    assert arrays["channel_carry"].any()
    again = Sketch.from_arrays(arrays)
    assert again == sketch
    assert again.channel_mean.tolist() == [1.0]
