"""Turns proto/*.proto into the descriptors the package builds its message classes from at import.

    pip install grpcio-tools && python tools/gen_proto.py [--check]

The result is a descriptor in text form, not generated message code: such code is refused by protobuf runtimes older
than the generator. `--check` writes nothing and fails when a committed file differs.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2, text_format

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {
    "scale_offset_record_onnx.proto": "amct_lite/record/descriptor.py",
    "calibration_config_onnx.proto": "amct_lite/compat/cfg_descriptor.py",
    "mixed_precision_config.proto": "amct_lite/compat/mixed_descriptor.py",
}
TEMPLATE = '''"""The descriptor of proto/{name} in protobuf text form.

Made by tools/gen_proto.py: edit the .proto, not this file.
"""

FILE_DESCRIPTOR = """\\
{text}"""
'''


def compile_proto(name: str) -> descriptor_pb2.FileDescriptorProto:
    """The descriptor of proto/`name`, by the protoc inside grpcio-tools."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "descriptors.binpb"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={ROOT / 'proto'}"]
        subprocess.run([*command, f"--descriptor_set_out={output}", name], check=True)
        (file,) = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")  # said by the name already
    return file


def generate(name: str) -> str:
    """The text of the Python file that stands for proto/`name`."""
    text = text_format.MessageToString(compile_proto(name))
    return TEMPLATE.format(name=name, text=text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare with the committed files")
    check = parser.parse_args().check
    stale = []
    for name, target in TARGETS.items():
        path, text = ROOT / target, generate(name)
        if check:
            stale += [target] if not path.exists() or path.read_text(encoding="utf-8") != text else []
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"{', '.join(stale)} differs from proto/: run python tools/gen_proto.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
