"""The message classes of the simplified configuration, built at import from the descriptor that tools/gen_proto.py made."""

from __future__ import annotations

from amct_lite.compat.cfg_descriptor import FILE_DESCRIPTOR
from amct_lite.record.schema import message_classes

_CLASSES = message_classes(FILE_DESCRIPTOR)
AMCTConfig = _CLASSES["AMCTConfig"]
