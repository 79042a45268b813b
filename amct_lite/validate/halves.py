"""Whether a float16 deploy model computes what its float32 form computes, which has been compared with the fake-quant model.

Both are executed. The float16 model continues in front of every layer from the codes of the float32 one, so the accumulators of
every layer must be equal to the last bit; codes and outputs may be off by what float16 (11 bits) makes of the float operators
between two layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from amct_lite import ir
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, Feeds
from amct_lite.validate.lowering import Lowered, lower

_TAKING_CASTS = ("LayerNormFusionL1", "LayerNormFusionL2")
"""Of ONNX Runtime (1.31): it takes the Casts around a normalization in parts along, and then refuses its own node."""
TOLERANCE = 2.0**-6
"""Share of the largest value: float16 rounds to 2^-11, so this is some thirty roundings one way, or a few that a subtraction
enlarges."""


def half_problem(wide: ir.Model, half: ir.Model, data: Iterable[Feeds], options: RuntimeOptions | None = None) -> str:
    """What speaks against `half` instead of `wide` (both deploy models) on `data`; empty when nothing does."""
    asked = options or RuntimeOptions()
    chosen = replace(asked, disabled_optimizers=(*asked.disabled_optimizers, *_TAKING_CASTS))
    exact, narrow = lower(wide), lower(half)
    given = _guide(narrow)
    reference, candidate = open_session(exact.model, chosen), open_session(narrow.model, chosen)
    outputs = [str(value.name) for value in wide.graph.outputs]
    for feeds in data:
        theirs = dict(zip(reference.output_names, reference.run(feeds), strict=True))
        codes = {given[quant]: theirs[name] for quant, name in exact.codes.items()}
        ours = dict(zip(candidate.output_names, candidate.run({**feeds, **codes}), strict=True))
        for quant, name in exact.codes.items():
            if (off := _share_off(theirs[name], ours[narrow.codes[quant]], least=1.0)) > TOLERANCE:
                return f"the codes of {quant} differ by {100 * off:.2g} % of the largest"
        for one, other in zip(exact.layers, narrow.layers, strict=True):
            if not np.array_equal(theirs[one.accumulators], ours[other.accumulators]):
                return f"the accumulators of {one.name} differ"
        for name in outputs:
            if (off := _share_off(theirs[name], ours[name])) > TOLERANCE:
                return f"output {name!r} differs by {100 * off:.2g} % of the largest value"
    return ""


def _guide(lowered: Lowered) -> dict[str, str]:
    """Let the layers read given codes instead of the ones computed. AscendQuant → name of the new input."""
    graph = lowered.model.graph
    values = {str(value.name): value for value in graph.outputs}
    names = {}
    for quant, name in lowered.codes.items():
        computed = values[name]
        assert computed.dtype is not None
        given = ir.new_input(lowered.model, f"{name}.given", computed.dtype, ir.dims_of(computed))
        for usage in ir.uses(computed):
            ir.replace_input(usage.node, usage.idx, given)
        names[quant] = str(given.name)
    return names


def _share_off(exact: AnyArray, other: AnyArray, least: float = 0.0) -> float:
    """The largest difference beyond `least`, of the largest value; NaN counts as infinite, where both have one as 0."""
    if exact.dtype.kind not in "fi" or not exact.size:
        return 0.0 if np.array_equal(exact, other) else np.inf
    a, b = exact.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore"):  # of infinity and infinity, which are equal
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
    finite = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    worst = float(np.nan_to_num(difference, nan=np.inf).max())
    return 0.0 if worst <= least else worst / (float(finite) or 1.0)
