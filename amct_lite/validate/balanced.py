"""A balanced model computes what it was made from: both are run, before anything that was made of it is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from amct_lite import ir
from amct_lite.errors import VerificationError
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, Feeds

LEAST_DB = 80.0
"""The networks measured keep 100 dB and more; a factor that is wrong by 1 % in one channel of a hundred leaves its layer 60."""

NOISE = 1e-6
"""What cancels to nearly nothing, such as the mean of normalized values, holds little but the rounding of what cancelled."""


def verify_balanced(model: ir.Model, balanced: ir.Model, feeds: Sequence[Feeds], options: RuntimeOptions) -> None:
    """Raises VerificationError that names the first float output in which `balanced` and `model` differ by more than
    rounding on `feeds`."""
    if not feeds:
        return
    names, exact = _outputs(model, feeds, options)
    for before, after in zip(exact, _outputs(balanced, feeds, options)[1], strict=True):
        for name, expected, found in zip(names, before, after, strict=True):
            if not np.issubdtype(expected.dtype, np.floating) or not np.isfinite(expected).all():
                continue
            alike = expected.shape == found.shape
            if alike and np.abs(found - expected).max(initial=0) <= NOISE:
                continue
            decibels = sqnr_db(expected, found) if alike else -np.inf
            if not decibels >= LEAST_DB:
                raise VerificationError(
                    f"output {name!r} of the balanced model lies only {decibels:.1f} dB above its difference to the float "
                    f"model, where rounding leaves {LEAST_DB:.0f} dB and more. Calibrate without balancing, or "
                    f"check the tensor_balance_factor that were edited."
                )


def _outputs(model: ir.Model, feeds: Sequence[Feeds], options: RuntimeOptions) -> tuple[tuple[str, ...], list[list[AnyArray]]]:
    """Their names, and what they are for each of `feeds`. The session is gone then: two of large models may not fit."""
    session = open_session(model, options)
    return session.output_names, [session.run_apart(sample) for sample in feeds]
