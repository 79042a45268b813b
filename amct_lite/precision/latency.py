"""How long models take on ONNX Runtime's CPU, measured in turns so that a busy machine slows down all of them alike."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter

import numpy as np

from amct_lite import ir
from amct_lite.runtime import RuntimeOptions, is_heavy, open_session
from amct_lite.types import Feeds

_ROUNDS = 11
_SECONDS = 3.0
"""After so long no further round begins."""


def latencies(models: Mapping[str, ir.Model], feeds: Feeds, runtime: RuntimeOptions) -> dict[str, float]:
    """Milliseconds of one run of each model on `feeds`, the lower quartile. Large models run one after the other."""
    if len(models) > 1 and is_heavy(*models.values()):
        return {name: found for one in models for name, found in latencies({one: models[one]}, feeds, runtime).items()}
    sessions = {name: open_session(model, runtime) for name, model in models.items()}
    given = {name: {key: feeds[key] for key in session.input_names} for name, session in sessions.items()}
    for name, session in sessions.items():
        session.run(given[name])
    times: dict[str, list[float]] = {name: [] for name in models}
    begin = perf_counter()
    for _ in range(_ROUNDS):
        for name, session in sessions.items():
            start = perf_counter()
            session.run(given[name])
            times[name].append(1e3 * (perf_counter() - start))
        if perf_counter() - begin > _SECONDS:
            break
    return {name: float(np.percentile(found, 25)) for name, found in times.items()}
