"""The samples of calibration runs, on disk beside the record, for what must be learned from them later, in whatever process.

Each run that counts has a file of its own in the folder `<record>.samples`: the first MOST_KEPT runs, until KEPT_BYTES are
reached, as in every other calibration. The next `quantize_model` for the record removes them.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np

from amct_lite.calibration.observing import KEPT_BYTES, MOST_KEPT
from amct_lite.errors import CalibrationError
from amct_lite.types import AnyArray, Feeds


def samples_path(record: str | os.PathLike[str]) -> Path:
    """The folder."""
    path = Path(record)
    return path.with_name(f"{path.name}.samples")


def next_sample(record: Path, runs: int) -> Path | None:
    """The file for the sample of the run after `runs` ones; None when enough are kept. A run that failed left none behind."""
    kept = [path for path in _files(record) if int(path.stem) < runs]
    enough = runs >= MOST_KEPT or _bytes(kept) >= KEPT_BYTES
    return None if enough else samples_path(record) / f"{runs:03}.npz"


def to_bytes(feeds: Feeds) -> bytes:
    """The content of a file: plain arrays, no pickles."""
    names = np.frombuffer(json.dumps(list(feeds)).encode(), np.uint8)
    arrays = {f"input{number}": np.asarray(array) for number, array in enumerate(feeds.values())}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, names=names, **arrays)
    return buffer.getvalue()


def read_samples(record: str | os.PathLike[str], runs: int) -> list[Feeds]:
    """The samples that `runs` runs for `record` left, in their order.

    Raises CalibrationError when some are missing or damaged.
    """
    files = _files(Path(record))[:runs]
    wanted = max(1, min(runs, MOST_KEPT))
    numbers = [int(path.stem) for path in files]
    if numbers != list(range(len(files))) or (len(files) < wanted and _bytes(files) < KEPT_BYTES):
        raise CalibrationError(
            f"{samples_path(record)} holds {len(files)} of the {wanted} batches that the calibration model was run with; what "
            f"is learned needs them. Keep the folder beside the record; now call quantize_model and run the model again."
        )
    return [_read(path) for path in files]


def remove_samples(record: str | os.PathLike[str]) -> None:
    """The folder, if there is one."""
    shutil.rmtree(samples_path(record), ignore_errors=True)


def _files(record: Path) -> list[Path]:
    return sorted(path for path in samples_path(record).glob("*.npz") if path.stem.isdecimal())


def _bytes(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files)


def _read(path: Path) -> Feeds:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            names = json.loads(archive["names"].tobytes())
            arrays: list[AnyArray] = [archive[f"input{number}"] for number in range(len(names))]
            return dict(zip(map(str, names), arrays, strict=True))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CalibrationError(
            f"{path} is not what a run of the calibration model left ({error}). Call quantize_model and run the model again."
        ) from error
