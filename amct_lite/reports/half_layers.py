"""Whether float16 holds the layers that are to compute in it.

An exported model does not show it on ONNX Runtime's CPU, which computes float16 nodes in float32 and leaves out conversions on
the way. So each layer is computed once more beside the float one, with its data, weight, bias and result rounded to float16.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from amct_lite import ir
from amct_lite.errors import VerificationError
from amct_lite.ops import Layer, bind
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds

FEWEST_DB = 40.0
"""Rounding to 11 bits leaves 60 dB and more; far below that, values overflow or vanish."""


def require_fit(prepared: ir.Model, halves: Collection[str], feeds: Sequence[Feeds], options: RuntimeOptions) -> None:
    """Raises VerificationError that names the layers of `halves` whose results on `feeds` are not what they are in float32."""
    layers = [node for node in prepared.graph if node.name in halves and isinstance(bind(node), Layer)]
    if not layers or not feeds:
        return
    from amct_lite.analysis.network_error import measure_local
    from amct_lite.analysis.variants import Variant

    variants = [Variant(str(node.name), "FP16", half=True) for node in layers]
    sums = measure_local(prepared, variants, feeds, options, lambda _done: None)
    poor = [(v.layer, found.figures().sqnr_db) for v, found in sums.items() if not found.figures().sqnr_db >= FEWEST_DB]
    if poor:
        name, worst = min(poor, key=lambda pair: pair[1])
        more = f" (and {len(poor) - 1} more)" if len(poor) > 1 else ""
        raise VerificationError(
            f"layer {name!r}{more} does not fit into float16: its output has an SQNR of {worst:.1f} dB there, float32 values "
            f"overflow or vanish. Take it out of float16, so that it computes in float32."
        )
