"""Where outputs go, and how they appear: all of them at once, or none.

Files are written under their final names into a hidden directory beside the target (an ONNX file refers to its external
data by name, so the name must be right while it is written) and moved into place together at the end.
This module never writes outside the folder of the target, never replaces an input and leaves nothing behind on failure; what a
killed process leaves is removed by the next one that writes there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from amct_lite.errors import ExportError
from amct_lite.held import LOCK, HeldFolder

_HIDDEN = ".amct-lite-"

_TRIAL_BYTES = 4096
"""A full disk may still take an empty file."""


def output_path(prefix: str | os.PathLike[str], suffix: str) -> Path:
    """`<prefix>_<suffix>`; a prefix that is empty or ends with a separator names a folder only: `<folder>/<suffix>`.

    AMCT's rule for `save_path`. The text decides, never what happens to exist: the same command gives the same names.
    """
    text = os.fspath(prefix)
    path = Path(text)
    if path.suffix == ".onnx":
        raise ExportError(
            f"{text} is the name of a model, not a prefix: several files are written, such as <prefix>_record.txt. "
            f"Choose one like {path.with_suffix('')}."
        )
    if text.endswith(("/", os.sep)) or path.name in {"", ".."}:
        return path / suffix
    return path.with_name(f"{path.name}_{suffix}")


def file_meant(given: str | os.PathLike[str], *suffixes: str) -> str:
    """` (did you mean 'out/net_record.txt'?)` for who names a prefix, a folder or another file of a run and means the file that
    it wrote with one of `suffixes`; empty where there is none."""
    path = Path(given)
    stems = [stem for stem in (path.name, path.name.rpartition("_")[0]) if stem]
    near = (
        *(path.with_name(f"{stem}_{suffix}") for stem in stems for suffix in suffixes),
        *(path / suffix for suffix in suffixes),
        *(file for suffix in suffixes for file in sorted(path.glob(f"*_{suffix}"))),
    )
    found = next((file for file in near if file.is_file()), None)
    return f" (did you mean {str(found)!r}?)" if found else ""


def replace_file(final: Path, content: bytes) -> None:
    """Put `content` at `final`, whole or not at all, also when the machine stops in the middle; for what a run keeps of itself.

    Raises ExportError when it cannot be written.
    """
    draft = final.with_name(f".{final.name}-{os.getpid()}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, final)
    except OSError as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise ExportError(f"cannot write {final}: {error.strerror}. Choose another output (-o).") from error


class OutputSet:
    """The files of one run while they are being written; made by `staged_outputs`."""

    def __init__(self, inputs: Iterable[Path]) -> None:
        self._inputs = tuple(inputs)
        self._folders: dict[Path, HeldFolder] = {}  # final folder -> hidden folder
        self._staged: dict[Path, Path] = {}  # final path -> path to write to
        self._created: list[Path] = []  # folders made here, outermost first

    def stage(self, final: str | os.PathLike[str]) -> Path:
        """The path to write to so that `final` appears when the block ends well.

        Files written beside it (external data) are moved along under their own names.
        Raises ExportError when `final` is an input, a folder or staged already, or its folder cannot be written to.
        """
        path = Path(final)
        self._refuse(path)
        if any(_same_file(path, other) for other in self._staged):
            raise ExportError(f"{final} is to hold two results at once. Give them different names.")
        folder = self._folders.get(path.parent) or self._open_folder(path.parent)
        self._staged[path] = folder.path / path.name
        return self._staged[path]

    def _refuse(self, final: Path) -> None:
        for source in self._inputs:
            if _same_file(final, source):
                raise ExportError(f"{final} would overwrite the input {source}. Choose another output (-o).")
        if final.is_dir():
            raise ExportError(f"{final} is a folder, a file of this name cannot be written. Choose another output (-o).")

    def _open_folder(self, parent: Path) -> HeldFolder:
        try:
            for folder in reversed((parent, *parent.parents)):
                if not folder.exists():
                    folder.mkdir(exist_ok=True)
                    self._created.append(folder)
            self._folders[parent] = HeldFolder(parent, _HIDDEN)
        except OSError as error:
            raise ExportError(f"cannot write to {parent}: {error.strerror}. Choose another output (-o).") from error
        return self._folders[parent]

    def explained(self, error: OSError | ExportError) -> Exception:
        """What to raise when writing has failed: it names the final path, not the hidden one. `error` itself when it is about
        something else."""
        if isinstance(error, ExportError):
            text = str(error)
            for final, hidden in self._folders.items():
                text = text.replace(str(hidden.path), str(final))
            return error if text == str(error) else ExportError(text)
        if error.filename is None:  # of `write`, which knows no names; what is being written is what was staged last
            path = None if isinstance(error, ConnectionError) else next(reversed(self._staged), None)
        else:
            there = Path(os.fsdecode(error.filename))
            path = next((final / there.name for final, hidden in self._folders.items() if there.parent == hidden.path), None)
        if path is None:
            return error
        return ExportError(f"cannot write {path}: {error.strerror or error}. Make room there, or choose another output prefix.")

    def publish(self) -> None:
        """Move everything that was written to its final place; when one move fails, all are taken back."""
        unwritten = [final for final, path in self._staged.items() if not path.exists()]
        if unwritten:
            raise RuntimeError(f"staged but never written: {', '.join(map(str, unwritten))}")
        moves = [
            (new, final / new.name)
            for final, hidden in self._folders.items()
            for new in sorted(hidden.path.iterdir())
            if new.name != LOCK
        ]
        for _, final in moves:
            self._refuse(final)
        _move_all(moves)

    def discard(self, *, keep_folders: bool) -> None:
        """Remove the hidden folders; unless `keep_folders`, also the output folders made here that are still empty."""
        for hidden in self._folders.values():
            hidden.remove()
        for folder in reversed(self._created):
            if not keep_folders:
                with suppress(OSError):  # not empty: somebody else writes there too
                    folder.rmdir()


@contextmanager
def staged_outputs(*, inputs: Iterable[str | os.PathLike[str]] = ()) -> Iterator[OutputSet]:
    """A set of output files that appear together when the block ends well, and not at all when it does not.

    inputs: files that must never be replaced (the model, its external data, the record, the data).
    Any exception, Ctrl-C included, removes all that was written. Raises ExportError as `OutputSet.stage` does, and when a file
    cannot be written.
    """
    outputs = OutputSet(Path(source) for source in inputs)
    published = False
    try:
        yield outputs
        try:
            outputs.publish()
        except OSError as error:
            raise ExportError(f"cannot write {error.filename2 or error.filename}: {error.strerror}.") from error
        published = True
    except (OSError, ExportError) as error:
        explained = outputs.explained(error)
        if explained is error:
            raise
        raise explained from error
    finally:
        outputs.discard(keep_folders=published)


def require_writable(prefix: str | os.PathLike[str]) -> None:
    """Before a long run whose files go under `prefix`: a file is written there, and nothing of it left behind.

    Raises ExportError when that fails.
    """
    outputs = OutputSet(())
    try:
        outputs.stage(output_path(prefix, "trial")).write_bytes(bytes(_TRIAL_BYTES))
    except OSError as error:
        raise outputs.explained(error) from error
    finally:
        outputs.discard(keep_folders=False)


def _same_file(final: Path, source: Path) -> bool:
    """True for one file behind two names as well: links, `..`, file systems without case."""
    with suppress(OSError):
        return os.path.samefile(final, source)
    return os.path.abspath(final) == os.path.abspath(source)


def _move_all(moves: Iterable[tuple[Path, Path]]) -> None:
    undo: list[tuple[Path, Path | None]] = []
    try:
        for new, final in moves:
            previous = new.with_name(f"{new.name}.previous-{os.getpid()}") if os.path.lexists(final) else None
            undo.append((final, previous))  # before the moves: an interrupt between them must be undone too
            if previous is not None:
                os.replace(final, previous)
            os.replace(new, final)
    except BaseException:
        for final, previous in reversed(undo):
            if previous is None:
                final.unlink(missing_ok=True)
            elif previous.exists():
                os.replace(previous, final)
        raise
