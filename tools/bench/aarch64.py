"""Runs Python as on an ARM machine, under emulation: what ONNX Runtime's ARM kernels make of a model.

    python tools/bench/aarch64.py prepare FOLDER                       # once, as root: Debian's Python, the wheels; 400 MB
    python tools/bench/aarch64.py run --cpu neoverse-n1 FOLDER -m amct_lite convert net.onnx \\
        --record net_record.txt --data samples/ --target ort -o arm/net

What is run is this checkout. Results are those of the machine; times say nothing. Needs qemu-user-static and debootstrap
(`apt-get install`), and a pip that reaches the wheels. The processors stand for three kinds of integer kernels: cortex-a72 has
neither dot products nor matrix products of int8, neoverse-n1 has the first, max both (and SVE, which is slow to emulate).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BASE = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_LATER = f"{_BASE} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
CPUS = {"cortex-a72": ("0xd08", _BASE), "neoverse-n1": ("0xd0c", _LATER), "max": ("0xd49", f"{_LATER} sve i8mm bf16")}
"""Processor → its part number and features as the kernel would tell them. ONNX Runtime reads them there and crashes on those
of the emulating machine."""
PACKAGES = ("onnxruntime", "numpy", "onnx", "onnx-ir", "protobuf", "click", "rich", "sympy")
_PYTHON = "usr/bin/python3.11"


def prepare(folder: Path, release: str, mirror: str) -> None:
    """Everything that `run` needs, below `folder`; nothing is installed on this machine."""
    system, site, wheels = folder / "system", folder / "site", folder / "wheels"
    include = "--include=python3,libstdc++6,libgomp1"
    first = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", include, release, str(system), mirror]
    subprocess.run(first, check=True)
    for package in sorted((system / "var/cache/apt/archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(system)], check=True)
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (28, 27, 26, 17)]
    kinds = ["--python-version=311", "--implementation=cp", "--abi=cp311", "--abi=abi3", "--abi=none", "--only-binary=:all:"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", *platforms, *kinds, "-d", str(wheels), *PACKAGES]
    subprocess.run(pip, check=True)
    for wheel in sorted(wheels.glob("*.whl")):
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)], check=True)
    for cpu, (part, features) in CPUS.items():
        view = folder / cpu
        (view / "proc").mkdir(parents=True, exist_ok=True)
        lines = (
            f"Features\t: {features}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {part}\n"
        )
        (view / "proc/cpuinfo").write_text("".join(f"processor\t: {n}\n{lines}CPU revision\t: 1\n\n" for n in range(2)))
        for entry in system.iterdir():
            if entry.name not in {"proc", "sys", "dev", "tmp"}:
                (view / entry.name).symlink_to(entry.resolve())


def run(folder: Path, cpu: str, arguments: list[str]) -> int:
    """The exit code of Python with these arguments."""
    python = (folder / "system" / _PYTHON).resolve()
    if not python.is_file():
        sys.exit(f"{folder} is not prepared: run `{sys.argv[0]} prepare {folder}` first.")
    path = f"{ROOT}:{(folder / 'site').resolve()}"
    variables = os.environ | {"PYTHONPATH": path, "PYTHONHOME": str(python.parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    emulator = ["qemu-aarch64-static", "-cpu", cpu, "-L", str((folder / cpu).resolve())]
    return subprocess.run([*emulator, str(python), *arguments], env=variables, check=False).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    first = actions.add_parser("prepare")
    first.add_argument("folder", type=Path)
    first.add_argument("--release", default="bookworm", help="of Debian, one with Python 3.11")
    first.add_argument("--mirror", default="http://deb.debian.org/debian")
    second = actions.add_parser("run")
    second.add_argument("folder", type=Path)
    second.add_argument("--cpu", choices=CPUS, default="neoverse-n1")
    second.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if args.action == "prepare":
        prepare(args.folder, args.release, args.mirror)
    else:
        sys.exit(run(args.folder, args.cpu, args.arguments))


if __name__ == "__main__":
    main()
