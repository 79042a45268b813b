"""How many values of each quantized tensor its codes cannot reach, from the sketches of a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from amct_lite import ir
from amct_lite.calibration import store
from amct_lite.errors import CalibrationError
from amct_lite.loading import fusion_of, load_prepared
from amct_lite.numerics.clipping import clipped_share
from amct_lite.ops import Layer, bind
from amct_lite.types import FUSE_ALL, QuantRecord


def saturated_shares(record: QuantRecord, calibration: str | Path, model: str | Path | ir.Model) -> Mapping[str, float]:
    """Key → share of the calibration's values that are clipped: more than half a step beyond the outermost codes.

    Exact up to 32768 values of a tensor, from a histogram beyond. Layers whose input was not observed are left out.
    Raises CalibrationError for a calibration of another model.
    """
    statistics = store.load(calibration)
    fusion = fusion_of(record, FUSE_ALL, statistics.unfused, taken_apart=statistics.taken_apart)
    prepared = load_prepared(model, fusion).prepared
    if statistics.model != ir.checksum(prepared):
        raise CalibrationError(f"{calibration} was made from another model. Give the model that was calibrated.")
    sketches = {name: sketch for (name, _), sketch in statistics.sketches.items()}
    shares: dict[str, float] = {}
    for node in prepared.graph:
        entry = record.by_key.get(str(node.name))
        layer = bind(node) if entry is not None else None
        value = layer.node.inputs[layer.data[0]] if isinstance(layer, Layer) and layer.data else None
        if entry is not None and value is not None and str(value.name) in sketches:
            shares[entry.key] = clipped_share(sketches[str(value.name)], entry.activation)
    return shares
