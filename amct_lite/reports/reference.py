"""A model that came with its scales is compared with itself: the fake-quant model must compute what the QDQ model computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from amct_lite import ir, qat
from amct_lite.build import Exports
from amct_lite.calibration.data import random_data
from amct_lite.calibration.feeds import InputSpec
from amct_lite.calibration.runner import keep
from amct_lite.errors import DataError
from amct_lite.reports.checks import Checked, compared
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import AnyArray

GIVEN = "the model given"
_RANDOM_BATCHES = 2


def compared_on_noise(
    checked: Checked,
    reference: ir.Model,
    exports: Exports,
    inputs: Sequence[InputSpec],
    shapes: Mapping[str, tuple[int, ...]],
    options: RuntimeOptions,
) -> Checked:
    """`checked`, of a run without samples, with the errors of the fake-quant model against `reference`, the QDQ model, on
    random numbers; with none where a dimension is open that nobody has told.

    `reference` has float weights behind its Q and DQ, so it is run as it stands: ONNX Runtime's optimizations would quantize
    them.
    """
    try:
        noise = list(random_data(inputs, _RANDOM_BATCHES, shapes=shapes))
    except DataError:
        return replace(checked, reference="nothing: a dimension is open; pass --data or --input-shape")
    bounds = qat.input_bounds(reference)
    spread = [{name: _within(array, bounds.get(name)) for name, array in feeds.items()} for feeds in noise]
    feeds, outputs = keep(reference, spread, options, optimize=False)
    found = compared(exports, feeds, outputs, options)
    return replace(
        checked,
        outputs=found.errors,
        samples=found.samples,
        remarks=found.remarks,
        reference=f"{GIVEN}, on random numbers",
    )


def _within(noise: AnyArray, bounds: tuple[float, float] | None) -> AnyArray:
    """Standard normal numbers spread over what the model can tell apart: three standard deviations to either end."""
    if bounds is None:
        return noise
    low, high = bounds
    return np.asarray((low + high) / 2 + noise * (high - low) / 6, noise.dtype)
