"""What a calibration model keeps of the user's model for the `save_model` that comes later, perhaps in another process.

It is the model's own metadata, as JSON, and no longer in what is exported. What was float16 in it says `loading`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from amct_lite import ir
from amct_lite.compat.quant_json import Names, original_names
from amct_lite.loading import SourceModel, state_float_types

_KEY = "amct_lite.origin"


@dataclass(frozen=True)
class Origin:
    """names: of the user's nodes. ir_version: the prepared model's, which the calibration nodes raise."""

    names: Names = field(default_factory=dict)
    ir_version: int | None = None


def write_origin(model: ir.Model, source: SourceModel) -> None:
    """Keep it in a calibration model, in place."""
    kept = {"names": original_names(source), "ir_version": source.prepared.ir_version}
    model.metadata_props[_KEY] = json.dumps(kept)
    state_float_types(model, source)


def take_origin(model: ir.Model) -> Origin:
    """What `write_origin` kept, taken out of the model; nothing when somebody dropped it on the way."""
    try:
        kept = json.loads(model.metadata_props.pop(_KEY, "{}"))
        names = {str(name): tuple(map(str, chain)) for name, chain in kept.get("names", {}).items()}
        return Origin(names, kept.get("ir_version"))
    except (ValueError, AttributeError, TypeError):
        return Origin()
