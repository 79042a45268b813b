"""Protobuf text of AMCT's configurations, parsed; what is wrong with it told with its line and the fields that there are."""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message

from amct_lite.errors import ConfigError
from amct_lite.registry import did_you_mean


def parsed(text: str, source: str, message_type: type[Message]) -> Any:
    """The message of `text`, the content of the file `source`; its fields have no static types. Raises ConfigError."""
    try:
        return text_format.Parse(text, message_type())
    except text_format.ParseError as error:
        reason = re.sub(r"^\d+:\d+ : ", "", str(error)).rstrip(".").replace("amct_lite.", "")
        unknown = re.search(r'Message type "([^"]*)" has no field named "([^"]*)"', reason)
        if unknown:
            fields = [field.name for field in message_type.DESCRIPTOR.file.message_types_by_name[unknown[1]].fields]
            hint = did_you_mean(unknown[2], fields)
            reason = f"{unknown[2]} is no field of {unknown[1]}{hint}; its fields are {', '.join(fields)}"
        raise ConfigError(f"{source}:{error.GetLine() or 1}: {reason}. Nothing after this place was read.") from error
