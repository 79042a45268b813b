"""Speed and memory of calibration, side by side with plain inference and with onnxruntime.quantization.

    python tools/bench/calibration.py [--model resnet50|mobilenetv2] [--images 32 128] [--repeat 3] [--peers PYTHON] [--json]

Three measurements; wherever tools are compared they take turns, and medians over the repeats are shown:
  pass    our calibration pass against plain inference of the same images (see pass_cost.py)
  command `amct-lite calibrate`, from the file to all its outputs, against onnxruntime's quantizer
          (see ort_quantize.py): seconds and peak memory, every run in a process of its own;
          --peers PYTHON, of the environment that peers/requirements.txt describes, adds NNCF and onnxsim
  memory  peak memory of `amct-lite calibrate` at 32, 128 and 512 images
Needs the package, and sympy for onnxruntime's pre-processing: pip install sympy. Close other programs first.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from process import Run, format_table, measure, median

HERE = Path(__file__).resolve().parent
OURS = "amct-lite"
PEERS = ("nncf", "onnxsim")
ORT_METHODS = ("MinMax", "Percentile", "Entropy")
MEMORY_COUNTS = (32, 128, 512)


class Workplace:
    """A temporary folder with the model and one folder of images for each count asked for (links to one set)."""

    def __init__(self, root: Path, model: str) -> None:
        self.root = root
        self.model = root / f"{model}.onnx"
        must(measure([sys.executable, str(HERE / "models.py"), model, str(self.model), "--keep-bn"]), "models.py")

    def images(self, count: int) -> Path:
        folder, pool = self.root / f"images{count}", self.root / "pool"
        if not folder.exists():
            if len(list(pool.glob("*.npz"))) < count:
                must(measure([sys.executable, str(HERE / "images.py"), str(pool), str(count)]), "images.py")
            folder.mkdir()
            for file in sorted(pool.glob("*.npz"))[:count]:
                (folder / file.name).hardlink_to(file)
        return folder

    def ours(self, count: int) -> list[str]:
        arguments = [str(self.model), "--data", str(self.images(count)), "-o", str(self.root / "out" / "ours")]
        return [sys.executable, "-m", "amct_lite", "calibrate", *arguments]

    def ort(self, count: int, method: str, limit: float) -> list[str]:
        arguments = [str(self.model), str(self.images(count)), str(self.root / "ort.onnx"), "--method", method]
        return [sys.executable, str(HERE / "ort_quantize.py"), *arguments, "--memory-limit", str(limit)]

    def peer(self, count: int, tool: str, python: str) -> list[str]:
        arguments = [tool, str(self.model), str(self.images(count)), str(self.root / "peer.onnx")]
        return [python, str(HERE / "peers" / "quantize.py"), *arguments]


def must(run: Run, what: str) -> Run:
    if not run.ok:
        sys.exit(f"{what} failed with exit code {run.exit_code}:\n{run.output[-3000:]}")
    return run


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure_pass(place: Workplace, images: int, repeat: int) -> dict[str, float]:
    command = [sys.executable, str(HERE / "pass_cost.py"), str(place.model), str(place.images(images))]
    times = json.loads(must(measure([*command, "--repeat", str(repeat)]), "pass_cost.py").output.splitlines()[-1])
    plain, ours = median(times["plain"]), median(times["calibration"])
    return {"images": images, "plain_ms": 1e3 * plain, "calibration_ms": 1e3 * ours, "ratio": ours / plain}


def commands_of(place: Workplace, images: int, methods: Sequence[str], peers: str | None, limit: float) -> dict[str, list[str]]:
    others = {tool: place.peer(images, tool, peers) for tool in PEERS} if peers else {}
    return {OURS: place.ours(images)} | {f"ORT {m}": place.ort(images, m, limit) for m in methods} | others


def measure_commands(commands: dict[str, list[str]], images: int, repeat: int) -> dict[str, dict[str, float] | None]:
    """Seconds and peak MiB of each tool; None for a tool that did not finish (out of its memory limit)."""
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for turn in range(repeat):
        for name, command in commands.items():
            if runs[name] and not runs[name][-1].ok:
                continue
            note(f"{name}, {images} images, {turn + 1} of {repeat} ...")
            runs[name].append(measure(command))
            if not runs[name][-1].ok:
                note(f"{name} failed:\n{runs[name][-1].output[-1500:]}")
    must(runs[OURS][-1], OURS)
    return {
        name: {"seconds": median([r.seconds for r in done]), "peak_mib": median([r.peak_mib for r in done])}
        if done[-1].ok
        else None
        for name, done in runs.items()
    }


def measure_memory(place: Workplace, counts: Sequence[int]) -> dict[int, float]:
    peaks = {}
    for count in counts:
        note(f"{OURS}, memory at {count} images ...")
        peaks[count] = must(measure(place.ours(count)), OURS).peak_mib
    return peaks


def show(result: dict[str, object]) -> None:
    """Tables of what was measured, each followed by an empty line."""
    if costs := result.get("pass"):
        rows = [[f"{c['images']} images", *(f"{c[k]:.2f}" for k in ("plain_ms", "calibration_ms", "ratio"))] for c in costs]
        print(format_table(["pass", "inference ms", "calibration ms", "ratio"], rows), end="\n\n")
    for images, tools in result.get("command", {}).items():
        ours, rows = tools[OURS], []
        for name, tool in tools.items():
            if tool is None:
                rows.append([name, "out of memory", "", "", ""])
                continue
            seconds, peak = tool["seconds"], tool["peak_mib"]
            ratios = [f"{seconds / ours['seconds']:.2f}", f"{peak / ours['peak_mib']:.2f}"]
            rows.append([name, f"{seconds:.2f}", f"{peak:.0f}", *ratios])
        print(format_table([f"command, {images} images", "s", "peak MiB", "s / ours", "peak / ours"], rows), end="\n\n")
    if peaks := result.get("memory"):
        first = next(iter(peaks.values()))
        rows = [[f"{count} images", f"{peak:.0f}", f"{100 * (peak / first - 1):+.1f} %"] for count, peak in peaks.items()]
        print(format_table(["memory", "peak MiB", "growth"], rows), end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("resnet50", "mobilenetv2"), default="mobilenetv2")
    parser.add_argument("--images", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=("pass", "command", "memory"), nargs="+", default=["pass", "command", "memory"])
    parser.add_argument("--methods", choices=ORT_METHODS, nargs="*", default=list(ORT_METHODS))
    parser.add_argument("--memory-limit", type=float, default=16, metavar="GIB", help="address space of onnxruntime's runs")
    parser.add_argument("--peers", metavar="PYTHON", help="Python of an environment with peers/requirements.txt")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    args = parser.parse_args()
    result: dict[str, object] = {"model": args.model, "repeat": args.repeat}
    with tempfile.TemporaryDirectory(prefix="amct_bench_") as folder:
        place = Workplace(Path(folder), args.model)
        if "pass" in args.only:
            result["pass"] = [measure_pass(place, min(args.images), args.repeat)]
        if "command" in args.only:
            result["command"] = {
                n: measure_commands(commands_of(place, n, args.methods, args.peers, args.memory_limit), n, args.repeat)
                for n in args.images
            }
        if "memory" in args.only:
            result["memory"] = measure_memory(place, MEMORY_COUNTS)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print(f"{args.model}, median of {args.repeat}\n")
        show(result)


if __name__ == "__main__":
    main()
