"""The message classes of the record file, built at import from the descriptor that tools/gen_proto.py made.

They live in a descriptor pool of their own, so that AMCT itself may be loaded in the same process.
"""

from __future__ import annotations

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import Message

from amct_lite.record.descriptor import FILE_DESCRIPTOR


def message_classes(descriptor: str) -> dict[str, type[Message]]:
    """The message classes of a file descriptor in text form, by name."""
    file = text_format.Parse(descriptor, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{file.package}.{name}")) for name in names}


_CLASSES = message_classes(FILE_DESCRIPTOR)
ScaleOffsetRecord = _CLASSES["ScaleOffsetRecord"]
FIELD_NAMES: tuple[str, ...] = tuple(field.name for message in _CLASSES.values() for field in message.DESCRIPTOR.fields)
