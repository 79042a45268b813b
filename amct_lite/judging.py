"""Whether the sequential bias correction is worth having: judged on samples that it was not measured on.

It takes back more than the analytic one, but what clipped activations shift is worn by few large values, and moving a whole
channel for them can do harm. So both are tried end to end, and the better one is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from amct_lite.numerics.metrics import sqnr_db
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.settled import Settled
from amct_lite.types import AnyArray, Feeds

CLEAR_DB = 0.5
"""Differences below this come and go with the samples."""
GOOD_DB = 30.0
"""Outputs this near to the float model's leave nothing to gain: the sequential correction is not even measured."""
_JUDGES = 16
_SHARE = 4
_EXACT_DB = 100.0
"""Samples that come out as in float, such as an empty one, count as so near."""


@dataclass(frozen=True)
class Score:
    """How near quantized outputs come to the float model's: dB SQNR, mean over the float outputs. together: of all samples as
    one; each: the mean over the samples."""

    together: float = 0.0
    each: float = 0.0

    def is_good(self) -> bool:
        """Whether nothing is left to gain."""
        return self.together >= GOOD_DB

    def clearly_above(self, other: Score) -> bool:
        """Whether it is better in both: a few large samples decide one, a few that are nearly exact the other."""
        return min(self.together - other.together, self.each - other.each) > CLEAR_DB


def judges(batches: int) -> int:
    """How many of so many kept batches judge instead of being measured on: a quarter, at most sixteen."""
    return min(_JUDGES, batches // _SHARE)


def score(
    settled: Settled, data: Sequence[Feeds], exact: Sequence[tuple[AnyArray, ...]], options: RuntimeOptions
) -> tuple[Settled, Score]:
    """`settled` with its results for `data`, and how near these come to `exact`, the float model's (without any: 0)."""
    session = open_session(settled.fake_quant, options)
    results = tuple(tuple(session.run_apart({name: feeds[name] for name in session.input_names})) for feeds in data)
    pairs = list(zip(zip(*exact, strict=True), zip(*results, strict=True), strict=True))
    found = [_score(ours, theirs) for ours, theirs in pairs if np.issubdtype(ours[0].dtype, np.floating)]
    both = np.mean(found, axis=0) if found else (0.0, 0.0)
    return replace(settled, results=results), Score(float(both[0]), float(both[1]))


def _score(exact: Sequence[AnyArray], other: Sequence[AnyArray]) -> tuple[float, float]:
    together = sqnr_db(np.concatenate([a.reshape(-1) for a in exact]), np.concatenate([b.reshape(-1) for b in other]))
    each = [sqnr_db(a, b) for a, b in zip(exact, other, strict=True)]
    return min(together, _EXACT_DB), float(np.mean(np.minimum(each, _EXACT_DB)))
