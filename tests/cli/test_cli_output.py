"""How the end of a run is worded."""

from __future__ import annotations

from io import StringIO
from math import inf

import pytest
from rich.console import Console

from amct_lite.cli.output import print_kernels
from amct_lite.validate.kernels import Kernels


@pytest.mark.parametrize(("sqnr_db", "told"), [(inf, "2 batches: no difference\n"), (61.04, "2 batches: SQNR 61.0 dB\n")])
def test_kernels_that_reproduce_the_fake_quant_model_exactly_have_no_decibels(sqnr_db: float, told: str) -> None:
    text = StringIO()
    kernels = Kernels(layers=3, integer=3, in_float=(), quantize=1, dequantize=1, samples=2, sqnr_db=sqnr_db)
    print_kernels(Console(file=text, width=300), kernels)
    assert text.getvalue().endswith(told)


def test_layers_in_float_come_with_the_command_that_says_why() -> None:
    text = StringIO()
    kernels = Kernels(layers=3, integer=1, in_float=("a", "b"), quantize=1, dequantize=1, samples=2, sqnr_db=50.0)
    print_kernels(Console(file=text, width=300), kernels)
    assert text.getvalue().endswith("in float: a, b (`amct-lite explain` says why)\n")
