"""The message classes of the package are those of proto/."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2, text_format

from amct_lite.record.descriptor import FILE_DESCRIPTOR

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto" / "scale_offset_record_onnx.proto"
Field = descriptor_pb2.FieldDescriptorProto
FIELD = re.compile(r"(optional|repeated) (\w+) (\w+) = (\d+)(?: \[default = '?(\w+)'?\])?;")


def fields_of_proto() -> dict[str, list[tuple[str, ...]]]:
    messages = re.findall(r"message (\w+) \{(.*?)\n\}", PROTO.read_text(encoding="utf-8"), re.DOTALL)
    return {name: FIELD.findall(body) for name, body in messages}


def fields_of_descriptor() -> dict[str, list[tuple[str, ...]]]:
    file = text_format.Parse(FILE_DESCRIPTOR, descriptor_pb2.FileDescriptorProto())
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


def test_descriptor_says_what_the_proto_file_says() -> None:
    assert fields_of_descriptor() == fields_of_proto()


def test_numbers_are_those_of_the_contract() -> None:
    numbers = {name: int(number) for _, _, name, number, _ in fields_of_descriptor()["SingleLayerRecord"]}
    contract = {
        "scale_d": 1,
        "offset_d": 2,
        "scale_w": 3,
        "offset_w": 4,
        "shift_bit": 5,
        "skip_fusion": 6,
        "is_tensor_quantize": 10,
        "tensor_balance_factor": 13,
        "op_data_type": 15,
        "act_type": 20,
        "wts_type": 21,
    }
    assert contract.items() <= numbers.items()
    assert len(set(numbers.values())) == len(numbers)


@pytest.mark.skipif(find_spec("grpc_tools") is None, reason="grpcio-tools is not installed")
def test_committed_descriptor_is_what_protoc_makes() -> None:
    subprocess.run([sys.executable, str(ROOT / "tools" / "gen_proto.py"), "--check"], check=True)
