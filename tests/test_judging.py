"""Which of two bias corrections is nearer to float: not because of one sample alone."""

from __future__ import annotations

import numpy as np
import pytest

from amct_lite import ir
from amct_lite.judging import Score, judges, score
from amct_lite.runtime import RuntimeOptions
from amct_lite.settled import Settled

SMALL, LARGE = np.float32(1), np.float32(100)


def scored(errors: list[float], sizes: list[np.float32]) -> Score:
    """The score of a model that adds these errors to samples that are constant and so large."""
    text = '<ir_version: 8, opset_import: ["" : 13]> g (float[4] x, float e) => (float[4] y) { y = Add (x, e) }'
    model = ir.from_text(text)
    samples = [np.full(4, size) for size in sizes]
    feeds = [{"x": x, "e": np.array(error, np.float32)} for x, error in zip(samples, errors, strict=True)]
    settled = Settled(model, model, model, model, (), frozenset())
    return score(settled, feeds, [(x,) for x in samples], RuntimeOptions(threads=1))[1]


def test_a_score_is_of_all_samples_together_and_of_each() -> None:
    found = scored([0.1, 1.0], [SMALL, LARGE])  # 20 and 40 dB
    assert found.each == pytest.approx(30, abs=0.01)
    assert found.together == pytest.approx(10 * np.log10((1 + 100**2) / (0.1**2 + 1)), abs=0.01)


def test_one_large_sample_alone_decides_nothing() -> None:
    before = scored([0.1, 0.1, 10.0], [SMALL, SMALL, LARGE])
    after = scored([0.2, 0.2, 5.0], [SMALL, SMALL, LARGE])
    assert after.together > before.together + 3
    assert not after.clearly_above(before)


def test_one_nearly_exact_sample_alone_decides_nothing() -> None:
    before = scored([0.1, 0.1, 0.1], [SMALL, SMALL, SMALL])
    after = scored([0.12, 0.12, 0.0001], [SMALL, SMALL, SMALL])
    assert after.each > before.each + 3
    assert not after.clearly_above(before)


def test_what_is_better_everywhere_is_clearly_better() -> None:
    before, after = scored([0.1, 10.0], [SMALL, LARGE]), scored([0.05, 5.0], [SMALL, LARGE])
    assert after.clearly_above(before)
    assert not before.clearly_above(after)


def test_samples_that_come_out_exactly_count_as_100_db() -> None:
    before, after = scored([0.0, 1.0], [SMALL, LARGE]), scored([0.0, 0.5], [SMALL, LARGE])
    assert before.each == pytest.approx(70, abs=0.01)
    assert after.clearly_above(before)


@pytest.mark.parametrize(("batches", "expected"), [(3, 0), (4, 1), (32, 8), (64, 16), (1000, 16)])
def test_a_quarter_of_the_batches_judges_sixteen_at_most(batches: int, expected: int) -> None:
    assert judges(batches) == expected
