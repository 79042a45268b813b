"""Numbers of a record that are allowed but seldom meant. Judged from the record alone; the model may justify them."""

from __future__ import annotations

from statistics import median

from amct_lite.record.layer import UNIT_WEIGHT
from amct_lite.types import LayerRecord, QParams, QuantRecord

FAR_FROM_NEIGHBOURS = 50.0
"""Activations of neighbouring layers differ by a factor of 10 in ordinary networks (normalization, residual sums)."""
CHANNEL_RATIO = 1000.0
"""Largest to smallest weight scale of a layer: a channel this small is dead, or its scale is not that of its weights."""
_NEIGHBOURS = 4
"""Nearest layers in the order of the file; with fewer than three, one wild scale would make the others look wild."""
_FEWEST_NEIGHBOURS = 3


def suspicions(record: QuantRecord) -> dict[str, tuple[str, ...]]:
    """Key → what is odd about it, a clause each; layers without anything odd are left out."""
    with_data = tuple(layer for layer in record.layers if layer.has_data)
    far = {layer.key: _far_scale(layer, _around(with_data, place)) for place, layer in enumerate(with_data)}
    found = {layer.key: (*far.get(layer.key, ()), *_wide_channels(layer)) for layer in record.layers}
    return {key: clauses for key, clauses in found.items() if clauses}


def channel_ratio(layer: LayerRecord) -> float:
    """Largest to smallest weight scale; 1 where there is one scale or none. Channels of zeros are passed over."""
    scales = used_scales(layer.weight) if layer.weight else ()
    return max(scales) / min(scales) if scales else 1.0


def used_scales(weight: QParams) -> tuple[float, ...]:
    """Those of its channels that are not all zeros: such a channel has the scale 1 by AMCT's rule."""
    return tuple(scale for scale in weight.scale if scale != 1.0)


def distinct_scales(layer: LayerRecord) -> int:
    """How many different weight scales there are; 0 for an operator without weight."""
    return 0 if layer.weight is None or layer.weight == UNIT_WEIGHT else len(set(layer.weight.scale))


def _around(layers: tuple[LayerRecord, ...], place: int) -> list[float]:
    """scale_d of the nearest layers but the one at `place`; at an end of the record all of them lie on one side."""
    start = max(0, min(place - _NEIGHBOURS // 2, len(layers) - 1 - _NEIGHBOURS))
    near = range(start, min(start + 1 + _NEIGHBOURS, len(layers)))
    return [_eight_bit_step(layers[other]) for other in near if other != place]


def _eight_bit_step(layer: LayerRecord) -> float:
    """What scale_d would be if the same range had 256 codes, so that widths can be compared."""
    step: float = layer.activation.scale[0] * 2.0 ** (layer.activation.bits - 8)
    return step


def _far_scale(layer: LayerRecord, around: list[float]) -> tuple[str, ...]:
    if len(around) < _FEWEST_NEIGHBOURS:
        return ()
    ratio = _eight_bit_step(layer) / median(around)
    if max(ratio, 1 / ratio) <= FAR_FROM_NEIGHBOURS:
        return ()
    return (f"scale_d is {_times(ratio)} that of its neighbours",)


def _wide_channels(layer: LayerRecord) -> tuple[str, ...]:
    ratio = channel_ratio(layer)
    return (f"scale_w differs by {ratio:.3g} × between channels",) if ratio > CHANNEL_RATIO else ()


def _times(ratio: float) -> str:
    return f"{ratio:.3g} ×" if ratio > 1 else f"1/{1 / ratio:.3g} of"
