"""The descriptors that message classes are built from say what proto/ says: `tools/gen_proto.py` made them."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, text_format

ROOT = Path(__file__).resolve().parents[1]
TARGETS = runpy.run_path(str(ROOT / "tools" / "gen_proto.py"))["TARGETS"]
Field = descriptor_pb2.FieldDescriptorProto
FIELD = re.compile(r"\n +(?:(optional|repeated) )?(\w+) (\w+) = (\d+)(?: \[default = '?([\w.]+)'?\])?;")


def fields_of_proto(name: str) -> dict[str, list[tuple[str, ...]]]:
    """By message, (label, type, name, number, default) of each field; in a oneof they have no label, and are optional."""
    text = (ROOT / "proto" / name).read_text(encoding="utf-8")
    messages = re.findall(r"\nmessage (\w+) \{(.*?\n)\}", text, re.DOTALL)
    return {name: [(label or "optional", *rest) for label, *rest in FIELD.findall(body)] for name, body in messages}


def fields_of_descriptor(target: str) -> dict[str, list[tuple[str, ...]]]:
    module = importlib.import_module(target.removesuffix(".py").replace("/", "."))
    file = text_format.Parse(module.FILE_DESCRIPTOR, descriptor_pb2.FileDescriptorProto())
    return {
        message.name: [
            (
                Field.Label.Name(f.label).removeprefix("LABEL_").lower(),
                f.type_name.rpartition(".")[2] or Field.Type.Name(f.type).removeprefix("TYPE_").lower(),
                f.name,
                str(f.number),
                f.default_value,
            )
            for f in message.field
        ]
        for message in file.message_type
    }


@pytest.mark.parametrize("name", TARGETS)
def test_descriptor_says_what_the_proto_file_says(name: str) -> None:
    assert fields_of_descriptor(TARGETS[name]) == fields_of_proto(name)


@pytest.mark.parametrize("name", TARGETS)
def test_descriptor_says_how_it_is_made(name: str) -> None:
    text = (ROOT / TARGETS[name]).read_text(encoding="utf-8")
    assert text.startswith(f'"""The descriptor of proto/{name} ')
    assert "tools/gen_proto.py: edit the .proto, not this file" in text


def test_every_proto_file_has_its_descriptor() -> None:
    assert {path.name for path in (ROOT / "proto").iterdir()} == set(TARGETS)


@pytest.mark.skipif(find_spec("grpc_tools") is None, reason="grpcio-tools is not installed")
def test_descriptors_are_what_protoc_makes() -> None:
    subprocess.run([sys.executable, str(ROOT / "tools" / "gen_proto.py"), "--check"], check=True)
