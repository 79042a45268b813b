"""A mean whose last window ends behind the image and its pads (`ceil_mode`).

If it counts the pads, what lies behind these does not count; ONNX Runtime's kernel for integers counts it.
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.ir.windows import is_same_padded, pads_of


def counts_too_much(pool: ir.Node) -> bool:
    """Whether the integer kernel for `pool`, an AveragePool, might count what it must not."""
    counted = ir.attribute(pool, "ceil_mode", 0) and ir.attribute(pool, "count_include_pad", 0)
    return bool(counted) and not is_same_padded(pool)


def count_no_pads(pool: ir.Node) -> None:
    """Where there are no pads, do not count any: so the kernel for integers is right."""
    if counts_too_much(pool) and not any(pads_of(pool)):
        ir.set_attribute(pool, "count_include_pad", 0)
