"""The calibration file (`<prefix>_calibration.npz`): sketches and what else a later decision needs, never activations.

Plain arrays only (no pickles), written with fixed time stamps: the same calibration gives the same bytes. What the sketches
hold lies in columns: one array for each of their fields, with that of all tensors behind one another, and one of its shapes.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from amct_lite.errors import CalibrationError
from amct_lite.files import file_meant
from amct_lite.numerics.sketch import Outlier, Sketch
from amct_lite.types import AnyArray, Balance, FloatArray
from amct_lite.weights import Rounding

FORMAT = 2
FEW_SAMPLES = 8
_LEVEL = 1
_MAX_RATIO = 500
_COLUMN = "tensors/"
_SHAPES = ".shapes"
_SUFFIX = "calibration.npz"
Sketches = dict[tuple[str, int | None], Sketch]
Dims = tuple[int, ...]


@dataclass(frozen=True)
class Statistics:
    """What calibration knows. sketches: of all data; model: checksum of the prepared model they belong to.

    shapes: the shape of each input where all batches agreed, else None; differing: then the first and the next one.
    random: made from random data. bias_shifts: layer → (Cout,) measured output errors, where bias correction was `full`;
    bias_record: digest of the record they were measured with. runs: inference runs they were collected in, where somebody
    else's loop made them. unfused: the layers that were kept apart from their normalizations when the model was prepared.
    roundings: layer → what was learned about rounding its weight. balance: how the model was balanced before. halves: the
    layers left in float that compute in float16. taken_apart: whether operators of the model became several, see `Fusion`.
    task: what tells the runs of AMCT's flow from those for another record.
    """

    sketches: Sketches
    samples: int
    model: str
    shapes: dict[str, tuple[int, ...] | None]
    data: str = ""
    random: bool = False
    trusted: bool = False
    bias_correction: str = "analytic"
    bias_shifts: dict[str, FloatArray] | None = None
    bias_record: str = ""
    runs: int = 0
    unfused: tuple[str, ...] = ()
    differing: dict[str, tuple[Dims, Dims]] = field(default_factory=dict)
    roundings: dict[str, Rounding] = field(default_factory=dict)
    balance: Balance | None = None
    halves: tuple[str, ...] = ()
    taken_apart: bool = False
    task: str = ""

    def usable(self) -> tuple[Sketches, dict[str, tuple[Outlier, ...]]]:
        """The sketches to decide from, and what was left out of them, by tensor: wild samples unless data is trusted."""
        return (self.sketches, {}) if self.trusted else self.robust()

    def robust(self) -> tuple[Sketches, dict[str, tuple[Outlier, ...]]]:
        """`usable`, whether or not the data are trusted."""
        robust = {key: sketch.robust() for key, sketch in self.sketches.items()}
        return (
            {key: sketch for key, (sketch, _) in robust.items()},
            {key[0]: outliers for key, (_, outliers) in robust.items() if outliers},
        )

    def with_shapes(self, seen: Mapping[str, Dims]) -> Statistics:
        """After a batch whose inputs had the shapes `seen`."""
        agreed = {name: dims if self.shapes.get(name, dims) == dims else None for name, dims in seen.items()}
        differing = dict(self.differing)
        for name, dims in seen.items():
            before = self.shapes.get(name)
            if before is not None and before != dims:
                differing[name] = before, dims
        return replace(self, shapes=agreed, differing=differing)

    def followed_by(self, later: Statistics) -> Statistics:
        """These, then `later`: of the same model, its samples numbered from 0, its batches behind these."""
        if not later.samples:
            return self
        sketches = dict(self.sketches)
        for key, sketch in later.sketches.items():
            moved = sketch.renumbered(self.samples)
            sketches[key] = sketches[key].merge(moved) if key in sketches else moved
        told = replace(self, sketches=sketches, samples=self.samples + later.samples)
        for seen in later.seen_shapes():
            told = told.with_shapes(seen)
        return told

    def seen_shapes(self) -> tuple[dict[str, Dims], dict[str, Dims]]:
        """What to tell `with_shapes` so that it knows what these statistics know: the first shapes, and others."""
        agreed = {name: dims for name, dims in self.shapes.items() if dims is not None}
        first = {name: self.differing[name][0] for name in self.differing}
        then = {name: self.differing[name][1] for name in self.differing}
        return {name: (agreed | first)[name] for name in self.shapes}, {name: (agreed | then)[name] for name in self.shapes}

    @property
    def shape_remark(self) -> str:
        """A sentence about inputs whose shape changed from batch to batch; empty when none did."""
        told = [f"{name!r} had {before} first, {then} later" for name, (before, then) in self.differing.items()]
        return f" The batches of the calibration differ: input {'; '.join(told)}." if told else ""

    def warnings(self) -> tuple[str, ...]:
        """What makes these statistics doubtful."""
        if self.random:
            return ("calibrated with random numbers: the ranges mean nothing for real data. Use it to try the flow only.",)
        return ()

    def notes(self) -> tuple[str, ...]:
        """Where they come from."""
        text = f"calibrated with {self.samples} {'sample' if self.samples == 1 else 'samples'} from {self.data or 'memory'}"
        few = "; so few may miss what real data do, 32 or more are better" if self.samples < FEW_SAMPLES else ""
        return (f"{text}{few}",)


def to_bytes(statistics: Statistics) -> bytes:
    """The file's content."""
    keys = list(statistics.sketches)
    shifts = statistics.bias_shifts or {}
    meta = {
        "format": FORMAT,
        "samples": statistics.samples,
        "model": statistics.model,
        "shapes": {name: None if dims is None else list(dims) for name, dims in statistics.shapes.items()},
        "data": statistics.data,
        "random": statistics.random,
        "trusted": statistics.trusted,
        "bias_correction": statistics.bias_correction,
        "tensors": [list(key) for key in keys],
        "bias_record": statistics.bias_record,
        "runs": statistics.runs,
        "unfused": list(statistics.unfused),
        "differing": statistics.differing,
        "bias_shifts": list(shifts) if statistics.bias_shifts is not None else None,
    }
    if statistics.task:
        meta["task"] = statistics.task
    if statistics.roundings:
        meta["roundings"] = [[name, r.weight, r.method, r.before, r.after] for name, r in statistics.roundings.items()]
    if statistics.halves:
        meta["halves"] = list(statistics.halves)
    if statistics.taken_apart:
        meta["taken_apart"] = True
    if statistics.balance is not None:
        meta["balance"] = {"strengths": dict(statistics.balance.strengths), "fold": statistics.balance.fold}
    arrays: dict[str, AnyArray] = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    arrays |= _columns([statistics.sketches[key].to_arrays() for key in keys])
    for number, shift in enumerate(shifts.values()):
        arrays[f"bias{number}"] = shift
    for number, rounding in enumerate(statistics.roundings.values()):
        arrays[f"rounding{number}"] = rounding.moves
    if (balance := statistics.balance) is not None:
        factors = {f"balance{i}": balance.factors[layer] for i, layer in enumerate(balance.strengths)}
        arrays |= {name: np.array(values, dtype=np.float32) for name, values in factors.items()}
    return _archive(arrays)


def _columns(rows: Sequence[Mapping[str, AnyArray]]) -> dict[str, AnyArray]:
    """What `_rows` takes apart; a name has as many axes in each row. An archive of many small arrays takes twice as long."""
    columns: dict[str, AnyArray] = {}
    for name in rows[0] if rows else ():
        columns[_COLUMN + name] = np.concatenate([row[name].reshape(-1) for row in rows])
        columns[_COLUMN + name + _SHAPES] = np.array([row[name].shape for row in rows], dtype=np.int64)
    return columns


def _rows(archive: Any) -> list[dict[str, AnyArray]]:
    """Raises ValueError where columns and shapes contradict each other."""
    names = [name for name in archive.files if name.startswith(_COLUMN) and not name.endswith(_SHAPES)]
    rows: list[dict[str, AnyArray]] = []
    for name in names:
        column, shapes = archive[name], archive[name + _SHAPES]
        rows = rows or [{} for _ in shapes]
        ends = np.cumsum(shapes.prod(axis=1)).tolist()
        for row, shape, piece in zip(rows, shapes.tolist(), np.split(column, ends[:-1]), strict=True):
            row[name.removeprefix(_COLUMN)] = piece.reshape(shape)
    return rows


def _archive(arrays: Mapping[str, AnyArray]) -> bytes:
    """An .npz file. `np.savez_compressed` takes twice as long, for files that are a twentieth smaller."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asanyarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED, _LEVEL)
    return buffer.getvalue()


def beside(record: str | Path) -> Path | None:
    """The calibration file of a record: `<prefix>_calibration.npz` beside `<prefix>_record.txt`, after AMCT's flow
    `<record>.calibration.npz`; None when there is neither."""
    text = str(record)
    own = [f"{text.removesuffix('record.txt')}{_SUFFIX}"] if text.endswith("record.txt") else []
    return next((path for path in map(Path, (*own, f"{text}.calibration.npz")) if path.is_file()), None)


def load(path: str | Path) -> Statistics:
    """Read a calibration file. Raises CalibrationError when it is missing, damaged or of another format."""
    try:
        return from_bytes(Path(path).read_bytes(), str(path))
    except FileNotFoundError:
        meant = file_meant(path, _SUFFIX)
        raise CalibrationError(f"there is no calibration file {path}{meant}. `amct-lite calibrate` writes one.") from None
    except OSError as error:
        reason = f"{error.strerror}{file_meant(path, _SUFFIX)}"
        raise CalibrationError(f"the calibration file {path} cannot be read: {reason}. Check the path.") from error


def from_bytes(content: bytes, path: str) -> Statistics:
    """What `to_bytes` gave. path: where it comes from, for messages. Raises CalibrationError as `load` does."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as members, np.load(io.BytesIO(content), allow_pickle=False) as archive:
            _check_size(members, len(content))  # before anything is unpacked
            meta = json.loads(archive["meta"].tobytes())
            if meta["format"] != FORMAT:
                raise CalibrationError(
                    f"{path} has calibration format {meta['format']}, this version reads {FORMAT}. Calibrate again."
                )
            return _statistics(meta, archive)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise CalibrationError(
            f"{path} is not a calibration file written by amct-lite ({error}). Calibrate again, or check the path"
            f"{file_meant(path, _SUFFIX)}."
        ) from error


def _check_size(members: zipfile.ZipFile, size: int) -> None:
    """Sketches shrink well, but not a thousandfold: that is an archive made to fill the memory."""
    unpacked = sum(member.file_size for member in members.infolist())
    if unpacked > _MAX_RATIO * size:
        raise ValueError(f"it would unpack to {unpacked >> 20} MiB, over {_MAX_RATIO} times its size")


def _statistics(meta: dict[str, Any], archive: Any) -> Statistics:
    tensors = [(str(name), axis) for name, axis in meta["tensors"]]
    sketches = {key: Sketch.from_arrays(row) for key, row in zip(tensors, _rows(archive), strict=True)}
    shifts = meta["bias_shifts"]
    return Statistics(
        sketches,
        samples=int(meta["samples"]),
        model=str(meta["model"]),
        shapes={name: None if dims is None else tuple(dims) for name, dims in meta["shapes"].items()},
        data=str(meta["data"]),
        random=bool(meta["random"]),
        trusted=bool(meta["trusted"]),
        bias_correction=str(meta["bias_correction"]),
        bias_shifts=None if shifts is None else {layer: archive[f"bias{i}"] for i, layer in enumerate(shifts)},
        bias_record=str(meta["bias_record"]),
        runs=int(meta.get("runs", 0)),
        unfused=tuple(map(str, meta.get("unfused", ()))),
        differing={name: (tuple(before), tuple(then)) for name, (before, then) in meta.get("differing", {}).items()},
        roundings={
            str(name): Rounding(archive[f"rounding{i}"], str(weight), str(method), float(before), float(after))
            for i, (name, weight, method, before, after) in enumerate(meta.get("roundings", ()))
        },
        balance=_balance(meta.get("balance"), archive),
        halves=tuple(map(str, meta.get("halves", ()))),
        taken_apart=bool(meta.get("taken_apart", False)),
        task=str(meta.get("task", "")),
    )


def _balance(meta: dict[str, Any] | None, archive: Any) -> Balance | None:
    if meta is None:
        return None
    strengths = {str(layer): float(strength) for layer, strength in meta["strengths"].items()}
    factors = {layer: tuple(archive[f"balance{number}"].tolist()) for number, layer in enumerate(strengths)}
    return Balance(factors, strengths, bool(meta["fold"]))
