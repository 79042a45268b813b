"""int8 accuracy on the corpus of real models and labelled data, several settings side by side.

    python tools/bench/accuracy.py [--tasks mobilenet_v1 keywords ...] [--variant "kl: --algo kl"] ... [--json]

For each task: 64 calibration samples are dumped, `amct-lite calibrate` runs on them with the variant's arguments, and
the fake-quant model (with `--target ort` the one for ONNX Runtime) is scored on the test data. The default variant passes
no arguments. Samples and float scores are kept in the --work folder for the next run. Needs the package, Pillow, and the
corpus (a folder with tasks.py).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

from process import format_table, measure

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Variant:
    """A name for the table, and what is added to the command line of `amct-lite calibrate`."""

    name: str
    arguments: tuple[str, ...] = ()

    @staticmethod
    def parse(text: str) -> Variant:
        """`"kl: --algo kl"`; a text without a colon is both name and arguments."""
        name, colon, arguments = text.partition(":")
        return Variant(name.strip(), tuple(shlex.split(arguments if colon else text)))


@dataclass(frozen=True)
class Score:
    """int8: None when no fake-quant model was written. exit_code: of `amct-lite calibrate`; message: its last lines."""

    task: str
    variant: str
    float: float
    int8: float | None
    seconds: float
    exit_code: int
    message: str = ""


def load_tasks(corpus: Path) -> ModuleType:
    """The corpus' tasks.py as a module (TASKS, evaluate, dump)."""
    spec = importlib.util.spec_from_file_location("tasks", corpus / "tasks.py")
    if spec is None or spec.loader is None or not (corpus / "tasks.py").is_file():
        sys.exit(f"{corpus} holds no tasks.py. Pass --corpus.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def calibration_data(tasks: ModuleType, name: str, work: Path, count: int) -> Path:
    """The folder with the task's first `count` samples, one .npz each; made on first use."""
    folder = work / "data" / f"{name}_{count}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        tasks.dump(tasks.TASKS[name], partial, count, raw=False)
        partial.rename(folder)
    return folder


def float_score(tasks: ModuleType, name: str, work: Path) -> float:
    """What the float model scores on this machine; measured on first use."""
    file = work / "float.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    if name not in known:
        known[name] = tasks.evaluate(tasks.TASKS[name])
        work.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(known, indent=1))
    return float(known[name])


def score(tasks: ModuleType, name: str, variant: Variant, *, work: Path, samples: int) -> Score:
    """Calibrate one task with one variant and evaluate what comes out."""
    data = calibration_data(tasks, name, work, samples)
    baseline = float_score(tasks, name, work)
    prefix = work / "out" / variant.name.replace("/", "_") / name
    own = Path(f"{prefix}_ort_model.onnx")
    model = own if "ort" in variant.arguments else Path(f"{prefix}_fake_quant_model.onnx")
    model.unlink(missing_ok=True)  # a failed run must not be scored with the last one's model
    inputs = [str(tasks.TASKS[name].model_path), "--data", str(data), "-o", str(prefix)]
    run = measure([sys.executable, "-m", "amct_lite", "calibrate", *inputs, *variant.arguments])
    Path(f"{prefix}.log").parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.log").write_text(run.output)
    int8 = tasks.evaluate(tasks.TASKS[name], model) if model.exists() else None
    message = "" if run.ok else run.output.strip()[-400:]
    return Score(name, variant.name, baseline, int8, run.seconds, run.exit_code, message)


def table(scores: Iterable[Score]) -> str:
    """A row for each task; for each variant its score and the drop from float (positive is worse)."""
    by_task: dict[str, dict[str, Score]] = {}
    for one in scores:
        by_task.setdefault(one.task, {})[one.variant] = one
    variants = list(next(iter(by_task.values())))
    header = ["task", "float", *(cell for name in variants for cell in (name, "drop"))]
    rows = []
    for task, found in by_task.items():
        row = [task, f"{next(iter(found.values())).float:.2f}"]
        for one in found.values():
            mark = "" if one.exit_code == 0 else "*"
            row += ["failed", ""] if one.int8 is None else [f"{one.int8:.2f}{mark}", f"{one.float - one.int8:.2f}"]
        rows.append(row)
    return format_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=ROOT.parent / "shared" / "corpus")
    parser.add_argument("--tasks", nargs="+", metavar="TASK", help="default: all of the corpus")
    parser.add_argument("--variant", action="append", type=Variant.parse, metavar='"NAME: ARGS"', help="may be repeated")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "amct_lite_accuracy")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    args = parser.parse_args()
    tasks = load_tasks(args.corpus)
    names = args.tasks or list(tasks.TASKS)
    if unknown := set(names) - set(tasks.TASKS):
        parser.error(f"no task {', '.join(sorted(unknown))}; there are {', '.join(tasks.TASKS)}")
    scores = []
    for name in names:
        for variant in args.variant or [Variant("default")]:
            print(f"{name}, {variant.name} ...", file=sys.stderr, flush=True)
            scores.append(score(tasks, name, variant, work=args.work, samples=args.samples))
    if args.json:
        print(json.dumps([asdict(one) for one in scores], indent=1))
        return
    print(table(scores))
    for one in scores:
        if one.exit_code:
            print(f"\n* {one.task}, {one.variant}: exit code {one.exit_code}\n{one.message}")


if __name__ == "__main__":
    main()
