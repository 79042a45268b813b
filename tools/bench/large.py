"""Memory and time of `amct-lite calibrate` on a model whose weights lie in an external file of several gigabytes.

    python tools/bench/large.py [--gigabytes 3] [--width 2048] [--samples 4] [--work DIR]

Makes a stack of residual MatMul pairs (width -> 4 width -> width) with random weights, then measures, each in a process of
its own: onnxruntime alone (open the file, run the samples), and `amct-lite calibrate` on the same samples. Memory is
sampled 50 times a second from /proc (Linux): what the process holds for itself, and pages of mapped files, which the
kernel takes back when it needs them. The bar: at most 3 times the largest layer and 500 MB more than onnxruntime needs.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper
from process import format_table

_ALONE = """
import sys, glob, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
for file in sorted(glob.glob(sys.argv[2] + "/*.npz")):
    with numpy.load(file) as feeds:
        session.run(None, dict(feeds))
"""
_TOKENS = 16


@dataclass(frozen=True)
class Peak:
    """seconds on the clock and of processor time, and the largest of what was sampled, in MB of 10^6 bytes: own (anonymous)
    memory, mapped files, both."""

    seconds: float
    processor: float
    own: float
    mapped: float
    both: float


def make(path: Path, gigabytes: float, width: int) -> None:
    """Write the model and, beside it, one data file; no more than one weight is in memory at a time."""
    random = np.random.default_rng(0)
    layer_bytes = 16 * width * width
    blocks = max(1, round(gigabytes * 1e9 / (2 * layer_bytes)))
    nodes, tensors, source, offset = [], [], "input", 0
    with open(f"{path}.data", "wb") as data:
        for block in range(blocks):
            for name, shape in (("up", (width, 4 * width)), ("down", (4 * width, width))):
                weight = random.standard_normal(shape, np.float32) * np.float32((2 if name == "down" else 1) / shape[0]) ** 0.5
                tensor = TensorProto(name=f"block{block}.{name}.weight", dims=shape, data_type=TensorProto.FLOAT)
                tensor.data_location = TensorProto.EXTERNAL
                entries = {"location": f"{path.name}.data", "offset": offset, "length": weight.nbytes}
                for key, value in entries.items():
                    tensor.external_data.add(key=key, value=str(value))
                data.write(weight.tobytes())
                offset += weight.nbytes
                tensors.append(tensor)
            up, active, down, out = (f"block{block}.{n}" for n in ("up", "relu", "down", "add"))
            nodes += [
                helper.make_node("MatMul", [source, f"{up}.weight"], [f"{up}.out"], name=up),
                helper.make_node("Relu", [f"{up}.out"], [f"{active}.out"], name=active),
                helper.make_node("MatMul", [f"{active}.out", f"{down}.weight"], [f"{down}.out"], name=down),
                helper.make_node("Add", [source, f"{down}.out"], [f"{out}.out"], name=out),
            ]
            source = f"{out}.out"
    nodes[-1].output[0] = "output"
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", _TOKENS, width]) for n in ("input", "output")]
    graph = helper.make_graph(nodes, "large", values[:1], values[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    print(f"{path}: {2 * blocks} MatMul, {offset / 1e9:.2f} GB of weights, the largest {layer_bytes / 1e6:.0f} MB")


def samples(folder: Path, count: int, width: int) -> None:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        random = np.random.default_rng([7, index])
        np.savez(folder / f"{index}.npz", input=random.standard_normal((1, _TOKENS, width), np.float32))


def measure(command: list[str], log: Path) -> Peak:
    """Run `command` to its end, watching its memory; exits with its output if it fails."""
    own = mapped = both = 0.0
    start, processor = time.perf_counter(), _processor_seconds()
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL) as process:
        while process.poll() is None:
            now_own, now_mapped = _memory(process.pid)
            own, mapped, both = max(own, now_own), max(mapped, now_mapped), max(both, now_own + now_mapped)
            time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}:\n{log.read_text()[-3000:]}")
    return Peak(time.perf_counter() - start, _processor_seconds() - processor, own, mapped, both)


def _processor_seconds() -> float:
    """Of all processes started here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(pid: int) -> tuple[float, float]:
    """(own, mapped) in MB; zeros for a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Rss")}
    return sizes.get("RssAnon", 0.0), sizes.get("RssFile", 0.0) + sizes.get("RssShmem", 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--work", type=Path, help="folder that keeps model and outputs (default: a temporary one)")
    parser.add_argument("arguments", nargs="*", help="added to `amct-lite calibrate` (after --)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="amct_large_") as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        model = work / f"large_{args.gigabytes:g}_{args.width}.onnx"
        if not model.exists():
            make(model, args.gigabytes, args.width)
        data = work / f"samples_{args.width}"
        samples(data, args.samples, args.width)
        runtime = measure([sys.executable, "-c", _ALONE, str(model), str(data)], work / "runtime.log")
        command = [sys.executable, "-m", "amct_lite", "calibrate", str(model), "--data", str(data)]
        ours = measure([*command, "-o", str(work / "out" / "large"), *args.arguments], work / "calibrate.log")
    rows = [
        [name, *(f"{x:.1f}" for x in (p.seconds, p.processor, p.own, p.mapped, p.both))]
        for name, p in (("onnxruntime alone", runtime), ("amct-lite calibrate", ours))
    ]
    print(format_table(["", "s", "processor s", "own MB", "mapped MB", "both MB"], rows))
    allowed = 3 * 16 * args.width**2 / 1e6 + 500
    print(f"over onnxruntime: {ours.both - runtime.both:.0f} MB of own and mapped memory, allowed {allowed:.0f} MB")


if __name__ == "__main__":
    main()
