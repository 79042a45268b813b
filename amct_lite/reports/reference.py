"""A model that came with its scales is compared with itself: the fake-quant model must compute what the QDQ model computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from amct_lite import ir, qat
from amct_lite.build import Exports
from amct_lite.calibration.data import CalibrationData, random_data
from amct_lite.calibration.feeds import InputSpec
from amct_lite.calibration.runner import keep
from amct_lite.errors import DataError
from amct_lite.reports.checks import Checked, check_exports, compared
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import AnyArray, Feeds, QuantRecord

GIVEN, RANDOM = "the model given", "the model given, on random numbers"
_RANDOM_BATCHES = 2


def check_trained(
    reference: ir.Model,
    prepared: ir.Model,
    record: QuantRecord,
    exports: Exports,
    stream: CalibrationData | None,
    inputs: Sequence[InputSpec],
    shapes: Mapping[str, tuple[int, ...]],
    options: RuntimeOptions,
) -> tuple[Checked, str, Feeds | None]:
    """Execute both exports and `reference`, the QDQ model; returns what was found, what the outputs were compared with, and a
    sample of the stream.

    stream: None for random numbers; nothing is compared where a dimension is open that nobody has told.
    `reference` has float weights behind its Q and DQ, so it is run as it stands: ONNX Runtime's optimizations would quantize
    them.
    Raises VerificationError when the deploy model and the fake-quant model differ.
    """
    if stream is not None:
        feeds, outputs = keep(reference, stream, options, optimize=False)
        return check_exports(prepared, record, exports, feeds, outputs, inputs, options), GIVEN, next(iter(feeds), None)
    checked = check_exports(prepared, record, exports, (), (), inputs, options)
    try:
        noise = list(random_data(inputs, _RANDOM_BATCHES, shapes=shapes))
    except DataError:
        return checked, "nothing: a dimension is open; pass --data or --input-shape", None
    bounds = qat.input_bounds(reference)
    spread = [{name: _within(array, bounds.get(name)) for name, array in feeds.items()} for feeds in noise]
    feeds, outputs = keep(reference, spread, options, optimize=False)
    errors, samples = compared(exports, feeds, outputs, options)
    return replace(checked, outputs=errors, samples=samples), RANDOM, None


def _within(noise: AnyArray, bounds: tuple[float, float] | None) -> AnyArray:
    """Standard normal numbers spread over what the model can tell apart: three standard deviations to either end."""
    if bounds is None:
        return noise
    low, high = bounds
    return np.asarray((low + high) / 2 + noise * (high - low) / 6, noise.dtype)
