"""Memory and time of the commands of `amct-lite` on a model whose weights lie in an external file of several gigabytes.

    python tools/bench/large.py [--gigabytes 3] [--width 2048] [--samples 4] [--one-file] [--work DIR]
        [--commands calibrate workers …]

Makes a stack of residual MatMul pairs (width -> 4 width -> width) with random weights, then measures, each in a process of
its own: onnxruntime alone (open the file, run the samples), and the commands in the order in which they are given; those that
read a record take that of the last `calibrate`. Memory is sampled 50 times a second from /proc (Linux): what a process holds
for itself, and pages of mapped files, which the kernel takes back when it needs them. The bar: of its own at most 3 times the
largest layer and 500 MB more than onnxruntime needs.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
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

_CALIBRATE = "calibrate {model} --data {data} -o {out}"
_MEASURED = "{model} --record {out}_record.txt --data {data}"
COMMANDS = {
    "calibrate": _CALIBRATE,
    "ort": f"{_CALIBRATE}_ort --target ort",
    "workers": f"{_CALIBRATE}_workers --workers 2",
    "balance": f"{_CALIBRATE}_balance --balance",
    "fold": f"{_CALIBRATE}_fold --balance --balance-fold",
    "gptq": f"{_CALIBRATE}_gptq --weight-algo gptq",
    "ada": f"{_CALIBRATE}_ada --weight-algo ada",
    "full": f"{_CALIBRATE}_full --bias-correction full",
    "bits4": f"{_CALIBRATE}_bits4 --weight-bits 4",
    "from": f"{_CALIBRATE}_from --from {{out}}_calibration.npz",
    "autocalibrate": "autocalibrate {model} --data {data} --evaluator {evaluator} --max-loss 1 -o {out}_auto",
    "search": "search {model} --data {data} --budget bitops=0.2 --rounding none -o {out}_search",
    "search_gptq": "search {model} --data {data} --budget bitops=0.2 -o {out}_search_gptq",
    "convert": "convert {model} --record {out}_record.txt -o {out}_convert",
    "inspect": "inspect {model}",
    "bitops": "bitops {model} --record {out}_record.txt --input-shape input:1,16,{width}",
    "check": "record check {out}_record.txt {model}",
    "compare": "compare {model} {out}_fake_quant_model.onnx --data {data}",
    "deploy": "compare {model} {out}_deploy_model.onnx --data {data}",
    "estimate": f"sensitivity {_MEASURED} --estimate",
    "exact": f"sensitivity {_MEASURED} --exact",
    "exact_workers": f"sensitivity {_MEASURED} --exact --workers 2",
    "explain": "explain {out}_fake_quant_model.onnx --float {model} --input-shape input:1,16,{width}",
    "report": "report {out} -o {out}.html --model {model}",
}
_EVALUATOR = """
def evaluate(path):
    return 1.0
"""
"""What is measured is the way there."""


@dataclass(frozen=True)
class Peak:
    """seconds on the clock and of processor time, and the largest of what was sampled, in MB of 10^6 bytes: own (anonymous)
    memory, mapped files, both; and own memory of the process and those it started together."""

    seconds: float
    processor: float
    own: float
    mapped: float
    both: float
    family: float


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


def _in_one_file(model: Path) -> Path:
    path = model.with_stem(f"{model.stem}_one_file")
    if not path.exists():
        onnx.save(onnx.load(model), path)
    return path


def samples(folder: Path, count: int, width: int) -> None:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        random = np.random.default_rng([7, index])
        np.savez(folder / f"{index}.npz", input=random.standard_normal((1, _TOKENS, width), np.float32))


def measure(command: list[str], log: Path) -> Peak:
    """Run `command` to its end, watching its memory; exits with its output if it fails."""
    own = mapped = both = family = 0.0
    start, processor = time.perf_counter(), _processor_seconds()
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL) as process:
        while process.poll() is None:
            now_own, now_mapped = _memory(process.pid)
            own, mapped, both = max(own, now_own), max(mapped, now_mapped), max(both, now_own + now_mapped)
            family = max(family, now_own + sum(_memory(child)[0] for child in _children(process.pid)))
            time.sleep(0.02)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed with exit code {process.returncode}:\n{log.read_text()[-3000:]}")
    return Peak(time.perf_counter() - start, _processor_seconds() - processor, own, mapped, both, family)


def _processor_seconds() -> float:
    """Of all processes started here that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _children(pid: int) -> list[int]:
    """The processes that this one started and that are still there."""
    found: list[int] = []
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += map(int, listed.read_text().split())
    return found


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
    named = {"choices": COMMANDS, "default": ["calibrate"], "metavar": "NAME", "help": ", ".join(COMMANDS)}
    parser.add_argument("--commands", nargs="+", **named)
    parser.add_argument("--one-file", action="store_true", help="weights in the model's file (below 2 GB)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="amct_large_") as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        model = work / f"large_{args.gigabytes:g}_{args.width}.onnx"
        if not model.exists():
            make(model, args.gigabytes, args.width)
        if args.one_file:
            model = _in_one_file(model)
        data = work / f"samples_{args.width}"
        samples(data, args.samples, args.width)
        evaluator = work / "evaluator.py"
        evaluator.write_text(_EVALUATOR)
        places = {"model": model, "data": data, "out": work / "out" / "large", "evaluator": evaluator, "width": args.width}
        runtime = measure([sys.executable, "-c", _ALONE, str(model), str(data)], work / "runtime.log")
        rows = [_row("onnxruntime alone", runtime, runtime)]
        for name in args.commands:
            command = [word.format(**places) for word in COMMANDS[name].split()]
            rows.append(_row(name, measure([sys.executable, "-m", "amct_lite", *command], work / f"{name}.log"), runtime))
            print(*rows[-1], flush=True)
    print(format_table(["", "s", "processor s", "own MB", "over MB", "mapped MB", "both MB", "with workers MB"], rows))
    allowed = 3 * 16 * args.width**2 / 1e6 + 500
    print(f"over: own memory beyond that of onnxruntime alone, allowed {allowed:.0f} MB; with workers: own memory")


def _row(name: str, peak: Peak, runtime: Peak) -> list[str]:
    figures = (peak.seconds, peak.processor, peak.own, peak.own - runtime.own, peak.mapped, peak.both, peak.family)
    return [name, *(f"{figure:.{int(number < 2)}f}" for number, figure in enumerate(figures))]


if __name__ == "__main__":
    main()
