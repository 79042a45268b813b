"""What a calibration keeps of itself while it runs, so that one that was killed goes on where it was.

`<prefix>_calibration.partial`: a line of JSON that says whose it is and how far it is, then the bytes of the statistics so far.
It is replaced as a whole every minute. What lies in it is never used for another model, plan, or other data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from amct_lite.calibration.store import Statistics, from_bytes, to_bytes
from amct_lite.errors import CalibrationError
from amct_lite.files import output_path, replace_file

FORMAT = 1
EVERY = 60.0
_STAGES = ("balance", "calibration")
_WHAT = {
    "model": "of another model (or of this one, prepared otherwise)",
    "plan": "of other settings, for which other tensors are observed",
    "data": "of other data (or these have changed since)",
    "runtime": "of a run with other execution providers",
}


@dataclass(frozen=True)
class Checkpoint:
    """prefix: that of the outputs, beside which the partial files lie. resume: go on from them. stage: which pass it is.
    on_resume: told of a pass that goes on: its stage, how many batches are done, and of how many, None when unknown."""

    prefix: str
    resume: bool = False
    stage: str = "calibration"
    on_resume: Callable[[str, int, int | None], None] = lambda _stage, _done, _total: None

    @property
    def path(self) -> Path:
        return output_path(self.prefix, f"{self.stage}.partial")

    def found(self) -> tuple[Path, ...]:
        """The partial files that lie there, of whatever run."""
        return tuple(path for path in self._paths() if path.is_file())

    def discard(self) -> None:
        """Remove the partial files; for when the results are written."""
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> tuple[Path, ...]:
        return tuple(output_path(self.prefix, f"{stage}.partial") for stage in _STAGES)


class Saving:
    """One pass that saves itself. owner: what it depends on, by the keys of `_WHAT`, each as a digest.

    begun: whether there is a partial file of this pass.
    """

    def __init__(self, checkpoint: Checkpoint, owner: dict[str, str]) -> None:
        self._checkpoint = checkpoint
        self._owner = owner
        self._last = monotonic()
        self.begun = False

    def read(self) -> tuple[Statistics, int] | None:
        """The statistics so far and how many batches they are of; None when there are none or they are not wanted.

        Raises CalibrationError when they cannot be read, or belong to something else.
        """
        path = self._checkpoint.path
        if not self._checkpoint.resume or not path.is_file():
            return None
        try:
            line, _, body = path.read_bytes().partition(b"\n")
            header = json.loads(line)
            batches, owner, digest = int(header["batches"]), dict(header["owner"]), str(header["sha256"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"{path} is damaged ({error}). Remove it, or calibrate without --resume.") from error
        if header.get("format") != FORMAT or hashlib.sha256(body).hexdigest() != digest:
            raise CalibrationError(f"{path} is damaged or of another version. Remove it, or calibrate without --resume.")
        other = [text for key, text in _WHAT.items() if owner.get(key) != self._owner[key]]
        if other:
            raise CalibrationError(
                f"{path} is {' and '.join(other)}: this run cannot go on from its {batches} batches. Run the command that was "
                "interrupted, or leave --resume out to begin anew."
            )
        self.begun = True
        return from_bytes(body, str(path)), batches

    @property
    def due(self) -> bool:
        return monotonic() - self._last >= EVERY

    def write(self, statistics: Statistics, batches: int) -> None:
        """Raises ExportError when it cannot be written."""
        body = to_bytes(statistics)
        header = {"format": FORMAT, "batches": batches, "owner": self._owner, "sha256": hashlib.sha256(body).hexdigest()}
        replace_file(self._checkpoint.path, json.dumps(header).encode() + b"\n" + body)
        self._last = monotonic()
        self.begun = True
