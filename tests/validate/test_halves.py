"""The comparison of a float16 deploy model with its float32 form passes what rounds and stops what is wrong."""

from collections.abc import Callable

import numpy as np
import pytest
from test_equivalence import _FEEDS, add_at, change, exported, node

from amct_lite import ir
from amct_lite.exporters.narrow import narrow
from amct_lite.validate.halves import _share_off, half_problem


def models() -> tuple[ir.Model, ir.Model]:
    wide, _ = exported()
    return wide, narrow(wide, {})


def test_a_narrowed_model_passes_and_leaves_the_wide_one_alone() -> None:
    wide, half = models()
    assert half_problem(wide, half, [_FEEDS]) == ""
    assert {v.dtype for n in wide.graph for v in n.outputs} == {ir.DataType.FLOAT, ir.DataType.INT8, ir.DataType.INT32}
    assert node(half, "Relu_1").outputs[0].dtype == ir.DataType.FLOAT16


def other_scale(half: ir.Model) -> None:
    ir.set_attribute(node(half, "Conv_2.quant"), "scale", 17.5)


def no_relu(half: ir.Model) -> None:
    node(half, "Relu_1").op_type = "Neg"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda half: change(half, "Conv_2.weight", add_at(0, 0, 0, 0, 1)), "the accumulators of Conv_2 differ"),
        (other_scale, r"the codes of Conv_2\.quant differ by"),
        (no_relu, r"the codes of Conv_2\.quant differ by"),
        (lambda half: change(half, "Conv_2.dequant.param", add_at(0, 1 << 23)), "output 'y' differs by"),
    ],
)
def test_what_is_wrong_is_named(damage: Callable[[ir.Model], None], problem: str) -> None:
    wide, half = models()
    damage(half)
    assert problem.replace("\\", "") in half_problem(wide, half, [_FEEDS])


@pytest.mark.parametrize(
    ("exact", "other", "share"),
    [
        ([1000.0, -2000], [1000.0, -2001], 1 / 2000),
        ([0.0, 0.0], [0.0, 0.25], 0.25),  # of nothing: the difference itself
        ([8.0, np.inf, np.nan], [9.0, np.inf, np.nan], 1 / 8),
        ([8.0, 1.0], [8.0, np.nan], np.inf),
        ([], [], 0.0),
        (["a", "b"], ["a", "b"], 0.0),
        (["a", "b"], ["a", "c"], np.inf),
    ],
)
def test_differences_are_shares_of_the_largest_value(exact: list[object], other: list[object], share: float) -> None:
    with np.errstate(divide="raise"):
        assert _share_off(np.array(exact), np.array(other)) == pytest.approx(share)


def test_nan_is_no_agreement() -> None:
    wide, half = models()
    change(half, "Conv_2.dequant.param", add_at(0, 0x7FC00000))
    assert "output 'y' differs" in half_problem(wide, half, [{k: v.astype(np.float32) for k, v in _FEEDS.items()}])
