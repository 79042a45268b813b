"""The share of values that codes do not reach, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from amct_lite.numerics.clipping import clipped_share
from amct_lite.numerics.sketch import Observation, Sketch
from amct_lite.types import QParams


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ([-128.0, 0, 126, 127], 0),
        ([-128.5, 0, 127.5, 1], 0),  # half a step beyond still rounds onto the last code
        ([-129.0, 0, 126, 127], 1 / 4),
        ([-128.0, 128, 129, 1000], 3 / 4),
        ([-129.0, 128, 0, 1], 2 / 4),
    ],
)
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_what_lies_more_than_half_a_step_beyond_the_last_code_is_clipped(
    values: list[float], share: float, scale: float
) -> None:
    sketch = Sketch(1)
    sketch.observe(Observation.of(np.array([values], dtype=np.float32) * np.float32(scale), None), 0)
    assert clipped_share(sketch, QParams.of(scale, 0)) == share
