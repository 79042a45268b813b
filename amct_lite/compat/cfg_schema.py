"""The message classes of the simplified configuration, built at import from the descriptor that tools/gen_proto.py made."""

from __future__ import annotations

from amct_lite.compat.cfg_descriptor import FILE_DESCRIPTOR
from amct_lite.record.schema import message_classes

_CLASSES = message_classes(FILE_DESCRIPTOR)
AMCTConfig = _CLASSES["AMCTConfig"]
FIELD_NAMES: dict[str, tuple[str, ...]] = {
    name: tuple(field.name for field in message.DESCRIPTOR.fields) for name, message in _CLASSES.items()
}
"""Of every message type, the names of its fields."""
