"""Whether the sequential bias correction is worth having: judged on samples that it was not measured on.

It takes back more than the analytic one, but what clipped activations shift is worn by few large values, and moving a whole
channel for them can do harm. So both are tried end to end, and the better one is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from amct_lite.numerics.metrics import sqnr_db
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.settled import Settled
from amct_lite.types import AnyArray, Feeds

CLEAR_DB = 0.5
"""Differences below this come and go with the samples."""
GOOD_DB = 30.0
"""Outputs this near to the float model's leave nothing to gain: the sequential correction is not even measured."""
_JUDGES = 8
_SHARE = 4


def judges(batches: int) -> int:
    """How many of so many kept batches judge instead of being measured on: a quarter, at most eight."""
    return min(_JUDGES, batches // _SHARE)


def score(
    settled: Settled, data: Sequence[Feeds], exact: Sequence[tuple[AnyArray, ...]], options: RuntimeOptions
) -> tuple[Settled, float]:
    """`settled` with its results for `data`, and how near these come to `exact`, the float model's: mean SQNR in dB over the
    float outputs, 0 without any."""
    session = open_session(settled.fake_quant, options)
    results = [tuple(session.run({name: feeds[name] for name in session.input_names})) for feeds in data]
    figures = []
    for number, array in enumerate(exact[0]):
        if np.issubdtype(array.dtype, np.floating):
            reference = np.concatenate([outputs[number].reshape(-1) for outputs in exact])
            figures.append(sqnr_db(reference, np.concatenate([result[number].reshape(-1) for result in results])))
    return replace(settled, results=tuple(results)), float(np.mean(figures)) if figures else 0.0
