"""What must hold for every model that is converted with the scales it brings: as in checks.py, which calibrates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from checks import Finding, attempted, crash, digest, outputs
from click.testing import CliRunner
from graph import Feeds

import amct_lite
from amct_lite import ir
from amct_lite.cli import group
from amct_lite.config import QuantConfig
from amct_lite.converting import convert_qdq
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.result import QuantizeResult
from amct_lite.trained import unrounded
from amct_lite.validate.kernels import LOST_DB, SCATTER_DB
from amct_lite.validate.steps import STEPS

_ENOUGH_DB = 45.0
"""What 8 bits reach at best: a model given that is better has most of its values where an activation saturates."""
_FEWEST = 100
"""Of fewer values it is luck how near they are."""
_DECIDING = STEPS - {"Cast"}
_REFUSALS = ("has no layer whose scales can be taken",)


def findings(
    model: onnx.ModelProto, feeds: Sequence[Feeds], fresh: int, configs: Iterable[QuantConfig], folder: Path
) -> list[Finding]:
    """Everything that is wrong with `model`, converted for the target of each of `configs`. It needs no data; all but the last
    `fresh` of `feeds` are compared by the run itself, too."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    onnx.save(model, path)
    targets = [config.target for config in configs]
    return [finding for target in targets for finding in _of_target(path, feeds, fresh, folder / target, target)]


def _of_target(path: Path, feeds: Sequence[Feeds], fresh: int, folder: Path, target: str) -> Iterator[Finding]:
    config, prefix = QuantConfig(target=target), folder / "net"
    used = list(feeds[: len(feeds) - fresh])
    made = partial(convert_qdq, path, config=config, data=used)
    result, found = attempted(made, prefix, f"{target}.converted", _REFUSALS)
    yield from found
    if result is None:
        return
    checks: list[Callable[[], Iterator[Finding]]] = [
        partial(_same_bytes, path, feeds, config, prefix),
        partial(_checked, path, prefix, target),
        partial(_given, path, result, feeds, target),
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:  # likewise
            yield crash(f"{target}.{check.func.__name__.strip('_')}", error)


def _same_bytes(path: Path, feeds: Sequence[Feeds], config: QuantConfig, prefix: Path) -> Iterator[Finding]:
    """An export from the record of the first run."""
    again = prefix.with_name("again")
    amct_lite.export(path, f"{prefix}_record.txt", str(again), config=config, data=list(feeds[:1]))
    for written in sorted(prefix.parent.glob(f"{prefix.name}_*_model.onnx")):
        other = again.with_name(written.name.replace(prefix.name, again.name, 1))
        if other.exists() and digest(other) != digest(written):  # a deploy model has the sizes of the samples
            yield Finding(f"{config.target}.again", f"its record gives another {written.name}")


def _checked(path: Path, prefix: Path, target: str) -> Iterator[Finding]:
    done = CliRunner().invoke(group, ["record", "check", f"{prefix}_record.txt", str(path), "--target", target])
    if done.exit_code != 0:
        yield Finding(f"{target}.record", f"exit code {done.exit_code}: {done.output[-400:]} {done.exception!r}")


def _given(path: Path, result: QuantizeResult, feeds: Sequence[Feeds], target: str) -> Iterator[Finding]:
    """The models that are made are as near to the float model as the one that was given, which rounds more. Not where the last
    bit decides something, nor of a few values."""
    if any(node.op_type in _DECIDING for node in onnx.load(path).graph.node):
        return
    exact = outputs(ir.to_bytes(unrounded(result.source).prepared), feeds, optimize=False)
    given = outputs(str(path), feeds, optimize=False)
    made = {"fake-quant": outputs(ir.to_bytes(result.exports.fake_quant), feeds, optimize=False)}
    if target == "ort" and result.exports.deploy is not None:
        made["ort"] = outputs(ir.to_bytes(result.exports.deploy), feeds, optimize=True)
    names = [value.name for value in onnx.load(path).graph.output]
    for what, arrays in made.items():
        for name, real, model, reached in zip(names, exact, given, arrays, strict=True):
            if {real.dtype.kind, model.dtype.kind, reached.dtype.kind} == {"f"}:
                yield from _quality(f"{target}.{what}", name, real, model, reached)


def _quality(check: str, name: str, exact: np.ndarray, given: np.ndarray, reached: np.ndarray) -> Iterator[Finding]:
    if not exact.size == given.size == reached.size:
        yield Finding(check, f"{name}: {exact.size}, {given.size} and {reached.size} values")
        return
    if exact.size < _FEWEST:
        return
    wanted, got = sqnr_db(exact, given), sqnr_db(exact, reached)
    allowed = max(LOST_DB, SCATTER_DB / np.sqrt(max(reached.size, 1)))
    if not got >= min(wanted - allowed, _ENOUGH_DB):
        yield Finding(check, f"{name}: {got:.1f} dB above the noise, the model given {wanted:.1f} dB")
