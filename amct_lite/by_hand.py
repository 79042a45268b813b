"""Scale and zero point of one array: the way to check a single number by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from amct_lite.errors import ConfigError, DataError
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.observers import make_observer
from amct_lite.types import QuantSpec


def qparams(
    array: ArrayLike, method: str = "ifmr", *, bits: int = 8, symmetric: bool = False, **options: Any
) -> tuple[float, int]:
    """(scale, zero_point) that calibration would choose for a tensor with these values, taken as one sample.

    array: numbers of any shape and real dtype, taken as float32. method, options: a range method and its options.
    Beyond 32768 values the decision rests on a histogram, as it does in a calibration.

    Raises ConfigError for an unknown method, option or width, DataError for an array that is empty or not of numbers,
    NumericsError for NaN and infinite values.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not 4 <= bits <= 16:
        raise ConfigError(f"bits = {bits!r} is not supported (choose a whole number from 4 to 16).")
    observer = make_observer(method, options)
    values = np.asarray(array)
    if values.dtype.kind not in "biuf":
        raise DataError(f"an array of dtype {values.dtype} has no scale; give real numbers.")
    if values.size == 0:
        raise DataError(f"an array of shape {values.shape} has no values, so it has no scale.")
    # float64 beyond float32's range becomes infinite here, and is refused as that.
    with np.errstate(over="ignore"):
        sample = values.astype(np.float32).reshape(1, -1)
    sketch = Sketch(1)
    sketch.observe(Observation.of(sample, None), 0)
    decided = observer.qparams(sketch, QuantSpec(bits, symmetric))
    return decided.scale[0], decided.zero_point[0]
