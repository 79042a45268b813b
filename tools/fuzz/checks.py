"""What must hold for every model that is calibrated: each check yields a sentence for what does not."""

from __future__ import annotations

import hashlib
import re
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from click.testing import CliRunner
from graph import Feeds, open_session

import amct_lite
from amct_lite import ir
from amct_lite.cli import group
from amct_lite.config import QuantConfig
from amct_lite.errors import AmctError
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.result import QuantizeResult
from amct_lite.validate.equivalence import verify_deploy
from amct_lite.validate.kernels import EXACT_DB, LOST_DB, SCATTER_DB

TARGETS = ("ort", "ascend", "generic")
SAME_DB = 80.0
"""So far above the noise two float models are one, in other words."""
SAME_HALF_DB = 55.0
"""The same where one of them computes in float16, and the prepared one in float32."""
_SUFFIX = {"ort": "ort_model.onnx", "ascend": "deploy_model.onnx"}
_REFUSALS = (
    "has no layer to quantize",
    "is no node, pattern or operator type of the model",
    "shapes and constants alone",
    "as with a mask of minus",
)
"""Of clear errors, those that are right for some graphs that are drawn."""


@dataclass(frozen=True)
class Finding:
    """check: its name, for counting; what: what was seen."""

    check: str
    what: str

    def __str__(self) -> str:
        return f"{self.check}: {self.what}"

    @property
    def kind(self) -> str:
        """The beginning of it, without what is of one network alone."""
        return f"{self.check}: {re.sub('[^ ]*[0-9][^ ]*', '…', self.what)[:60]}"


def findings(
    model: onnx.ModelProto, feeds: Sequence[Feeds], fresh: int, configs: Iterable[QuantConfig], folder: Path
) -> list[Finding]:
    """Everything that is wrong with `model`, calibrated on all but the last `fresh` of `feeds` as each of `configs` says."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save(model, path)
    before = digest(path)
    found = [finding for config in configs for finding in _of_target(path, feeds, fresh, folder / config.target, config)]
    if digest(path) != before:
        found.append(Finding("input", "the model file was changed"))
    return found


def attempted(
    make: Callable[[], QuantizeResult], prefix: Path, stage: str, refusals: Sequence[str]
) -> tuple[QuantizeResult | None, tuple[Finding, ...]]:
    """What `make` gives, saved; else None, and what is wrong, unless it is one of `refusals`. stage: the name of a crash."""
    try:
        result = make()
        result.save(prefix)
    except AmctError as error:
        told = Finding(f"{stage.partition('.')[0]}.refused", f"{type(error).__name__}: {error}")
        return None, () if any(text in str(error) for text in refusals) else (told,)
    except Exception as error:  # whatever it is, it is a bug
        return None, (crash(stage, error),)
    return result, ()


def _of_target(path: Path, feeds: Sequence[Feeds], fresh: int, folder: Path, config: QuantConfig) -> Iterator[Finding]:
    target = config.target
    used, unseen = feeds[: len(feeds) - fresh], feeds[len(feeds) - fresh :]
    prefix = folder / "net"
    result, found = attempted(partial(_calibrated, path, used, config), prefix, f"{target}.calibrate", _REFUSALS)
    yield from found
    if result is None:
        return
    checks: list[Callable[[], Iterator[Finding]]] = [
        partial(_same_bytes, path, used, config, prefix),
        partial(_commands, path, prefix, target, used[0]),
        partial(_prepared, path, result, unseen),
    ]
    if target == "ort":
        checks.append(partial(_agreement, path, prefix, used, "seen"))
        checks.append(partial(_agreement, path, prefix, unseen, "fresh"))
    if target == "ascend":
        checks.append(partial(_deployed, result, used[0], unseen))
    if target == "generic":
        checks.append(partial(_optimized, f"{prefix}_fake_quant_model.onnx", unseen, "fake-quant"))
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # likewise
            yield crash(f"{target}.{check.func.__name__.strip('_')}", error)


def _calibrated(path: Path, feeds: Sequence[Feeds], config: QuantConfig) -> QuantizeResult:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        return amct_lite.quantize(path, list(feeds), config)


def _same_bytes(path: Path, feeds: Sequence[Feeds], config: QuantConfig, prefix: Path) -> Iterator[Finding]:
    """A second run, and an export from the files of the first."""
    target, again = config.target, prefix.with_name("again")
    _calibrated(path, feeds, config).save(again)
    names = ["fake_quant_model.onnx", *([_SUFFIX[target]] if target in _SUFFIX else [])]
    names = [name for name in names if Path(f"{prefix}_{name}").exists()]
    for name in [*names, "record.txt", "calibration.npz", "report.json"]:
        if digest(Path(f"{prefix}_{name}")) != digest(Path(f"{again}_{name}")):
            yield Finding(f"{target}.again", f"a second run writes another {name}")
    converted = prefix.with_name("converted")
    amct_lite.export(path, f"{prefix}_record.txt", str(converted), config=config)
    for name in names:
        if digest(Path(f"{prefix}_{name}")) != digest(Path(f"{converted}_{name}")):
            yield Finding(f"{target}.convert", f"convert writes another {name}")


def _commands(path: Path, prefix: Path, target: str, sample: Feeds) -> Iterator[Finding]:
    """Whether the commands that look at a result can."""
    data = prefix.with_name("data")
    data.mkdir(exist_ok=True)
    np.savez(data / "0.npz", **sample)
    shapes = ";".join(f"{name}:{','.join(map(str, array.shape))}" for name, array in sample.items())
    exported = f"{prefix}_{_SUFFIX.get(target, 'fake_quant_model.onnx')}"
    if not Path(exported).exists():
        exported = f"{prefix}_fake_quant_model.onnx"
    for arguments in (
        ("explain", exported, "--float", str(path), "--input-shape", shapes),
        ("compare", str(path), exported, "--data", str(data)),
        ("bitops", str(path), "--record", f"{prefix}_record.txt", "--input-shape", shapes),
        ("record", "check", f"{prefix}_record.txt", str(path), "--target", target),
    ):
        done = CliRunner().invoke(group, list(arguments))
        if done.exit_code != 0:
            trace = "".join(traceback.format_exception(done.exception)[-4:]) if done.exception else ""
            yield Finding(f"{target}.{arguments[0]}", f"exit code {done.exit_code}: {done.output[-400:]} {trace}")


def _prepared(path: Path, result: QuantizeResult, feeds: Sequence[Feeds]) -> Iterator[Finding]:
    """Whether the model computes the same before anything is quantized."""
    before = result.source.unbalanced
    prepared = ir.to_bytes(result.source.prepared if before is None else before.prepared)
    for number, (left, right) in enumerate(
        zip(outputs(str(path), feeds, optimize=False), outputs(prepared, feeds, optimize=False), strict=True)
    ):
        if left.shape != right.shape or not sqnr_db(left, right) >= (SAME_HALF_DB if result.source.float_types else SAME_DB):
            yield Finding("prepared", f"output {number}: {sqnr_db(left, right):.1f} dB between")


def _deployed(result: QuantizeResult, sample: Feeds, feeds: Sequence[Feeds]) -> Iterator[Finding]:
    """The deploy model on samples that it was not compared on yet, as far as they have its sizes. Not one in float16: the run
    compares it otherwise."""
    exports = result.exports
    fitting = [one for one in feeds if all(one[name].shape == array.shape for name, array in sample.items())]
    if exports.deploy is not None and fitting and not result.source.float_types:
        verify_deploy(exports.deploy, exports.fake_quant, fitting)
    yield from ()


def _agreement(path: Path, prefix: Path, feeds: Sequence[Feeds], which: str) -> Iterator[Finding]:
    """The model for ONNX Runtime against the fake-quant model, and that against the float one."""
    paths = [str(path), f"{prefix}_fake_quant_model.onnx", f"{prefix}_ort_model.onnx"]
    exact, wanted, ours = (outputs(name, feeds, optimize=False) for name in paths)
    fast = outputs(paths[2], feeds, optimize=True)
    names = [value.name for value in onnx.load(path).graph.output]
    for name, real, model, left, right in zip(names, exact, wanted, ours, fast, strict=True):
        if not model.size == left.size == right.size:
            yield Finding(f"ort.{which}.sizes", f"{name}: {model.size}, {left.size} and {right.size} values")
            continue
        for how, reached in (("optimized", right), ("plain", left)):
            yield from quality(f"ort.{which}.{how}", name, real, model, reached)


def quality(check: str, name: str, exact: np.ndarray, model: np.ndarray, reached: np.ndarray) -> Iterator[Finding]:
    """As the run itself judges, and twice as strict between the two: they may differ by less than both do from float."""
    if exact.dtype.kind != "f":
        return
    wanted, got, between = sqnr_db(exact, model), sqnr_db(exact, reached), sqnr_db(model, reached)
    allowed = max(LOST_DB, SCATTER_DB / np.sqrt(max(reached.size, 1)))
    if not got >= min(wanted - allowed, EXACT_DB) or not between >= min(wanted - allowed + LOST_DB, EXACT_DB):
        yield Finding(
            check, f"{name}: {got:.1f} dB above the noise, the fake-quant model {wanted:.1f} dB; {between:.1f} dB between"
        )


def _optimized(name: str, feeds: Sequence[Feeds], what: str) -> Iterator[Finding]:
    plain, fast = (outputs(name, feeds, optimize=optimize) for optimize in (False, True))
    for number, (left, right) in enumerate(zip(plain, fast, strict=True)):
        if left.dtype.kind == "f" and not sqnr_db(left, right) >= 30.0:
            yield Finding("generic.optimized", f"{what}, output {number}: {sqnr_db(left, right):.1f} dB between")


def outputs(name: str | bytes, feeds: Sequence[Feeds], *, optimize: bool) -> list[np.ndarray]:
    """Of each output its values for all feeds, one behind the other."""
    session = open_session(name, optimize=optimize)
    wanted = {value.name for value in session.get_inputs()}
    runs = [session.run(None, {key: array for key, array in sample.items() if key in wanted}) for sample in feeds]
    return [np.concatenate([array.reshape(-1) for array in arrays]) for arrays in zip(*runs, strict=True)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def crash(check: str, error: BaseException) -> Finding:
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if "amct_lite" in f.filename), frames[-1])
    return Finding(f"{check}.crash", f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})")
