"""A ConvTranspose that enlarges by its stride is a Conv of all its phases, exactly; for others there is a reason."""

from __future__ import annotations

import numpy as np
import pytest
from small_nets import net

from amct_lite import ir
from amct_lite.ops.phases import Phases, phases_of
from amct_lite.runtime import open_session

GEOMETRIES = [
    ((2, 2), 2, (0, 0, 0, 0), (0, 0)),
    ((4, 4), 2, (1, 1, 1, 1), (0, 0)),
    ((3, 3), 2, (1, 1, 1, 1), (1, 1)),
    ((5, 4), 2, (2, 1, 2, 1), (1, 0)),
    ((3, 3), 2, (0, 1, 1, 0), (0, 0)),
    ((9, 9), 3, (3, 3, 3, 3), (0, 0)),
    ((1, 2), 2, (0, 0, 0, 0), (1, 0)),
    ((6, 8), 4, (1, 2, 1, 2), (0, 0)),
]


def transposed(stride: int, pads: tuple[int, ...], more: tuple[int, ...], extra: str = "") -> str:
    shape = f"strides=[{stride},{stride}], pads={list(pads)}, output_padding={list(more)}{extra}"
    return f"net (float[N,3,5,7] x) => (float[N,C,H,W] y) {{ [up] y = ConvTranspose <{shape}> (x, w) }}"


@pytest.mark.parametrize(("kernel", "stride", "pads", "more"), GEOMETRIES)
def test_the_phases_give_what_the_transposed_convolution_gives(
    kernel: tuple[int, int], stride: int, pads: tuple[int, ...], more: tuple[int, ...]
) -> None:
    """Of integers, which float32 sums exactly."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 10, (3, 4, *kernel)).astype(np.float32)
    x = rng.integers(-9, 10, (2, 3, 5, 7)).astype(np.float32)
    model = ir.load_bytes(net(transposed(stride, pads, more), w=weight).SerializeToString())
    phases = phases_of(next(iter(model.graph)), kernel)
    assert isinstance(phases, Phases)
    text = f"""net (float[N,3,5,7] x) => (float[N,C,H,W] y) {{
      h = Conv <pads={list(phases.pads)}> (x, w) y = DepthToSpace <blocksize={stride}, mode="DCR"> (h) }}"""
    unfolded = ir.load_bytes(net(text, w=phases.weight(weight)).SerializeToString())
    ((theirs,), (ours,)) = (open_session(one).run({"x": x}) for one in (model, unfolded))
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape == (2, 4, 5 * stride, 7 * stride)


@pytest.mark.parametrize(
    ("stride", "pads", "more", "extra", "why"),
    [
        (2, (0, 0, 0, 0), (0, 0), "", "other sizes than its stride"),
        (1, (1, 1, 1, 1), (0, 0), "", "strides are not equal, or 1"),
        (2, (1, 1, 1, 1), (1, 1), ", dilations=[2,2]", "dilated"),
        (2, (1, 1, 1, 1), (1, 1), ", group=3", "groups"),
        (2, (0, 0, 0, 0), (0, 0), ', auto_pad="SAME_UPPER"', "padding follows"),
    ],
)
def test_others_have_a_reason(stride: int, pads: tuple[int, ...], more: tuple[int, ...], extra: str, why: str) -> None:
    model = ir.load_bytes(net(transposed(stride, pads, more, extra), w=(3, 4, 3, 3)).SerializeToString())
    reason = phases_of(next(iter(model.graph)), (3, 3))
    assert isinstance(reason, str)
    assert why in reason


def test_signals_and_volumes_have_a_reason() -> None:
    text = "net (float[N,3,5] x) => (float[N,C,L] y) { y = ConvTranspose <strides=[2]> (x, w) }"
    model = ir.load_bytes(net(text, w=(3, 4, 2)).SerializeToString())
    assert "over one dimension" in str(phases_of(next(iter(model.graph)), (2,)))
