"""Which data files a folder holds, in lexicographic order, and which input each belongs to. Opens no file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from amct_lite.calibration.feeds import InputSpec, names_of
from amct_lite.errors import DataError

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
ARRAY_SUFFIXES = frozenset({".bin", ".npy", ".npz"})
LAYOUTS = (
    ".npz files (one array an input), .npy or .bin files (models with one input), "
    "a folder of .bin or .npy files for each input, or images"
)


def kind_of(path: Path) -> str | None:
    """`.bin`, `.npy`, `.npz`, `image`, or None for anything else."""
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGE_SUFFIXES else suffix if suffix in ARRAY_SUFFIXES else None


def data_files(folder: Path) -> tuple[str, tuple[Path, ...]]:
    """The kind and the data files directly in `folder`, sorted by name; hidden and unknown files do not count.

    Raises DataError when there are none, several kinds, or one that is not a regular file.
    """
    files = [path for path in entries(folder) if kind_of(path) is not None and not path.is_dir()]
    kinds = Counter(kind for kind in map(kind_of, files) if kind)
    if not kinds:
        raise DataError(f"{folder} holds no calibration data. Expected are {LAYOUTS}.")
    if len(kinds) > 1:
        found = ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items()))
        raise DataError(f"{folder} holds files of several kinds ({found}). Leave one kind in the folder.")
    for path in files:
        check_regular(path)
    return next(iter(kinds)), tuple(files)


def holds_arrays(folder: Path) -> bool:
    """True when some .bin, .npy or .npz file lies directly in `folder`."""
    return any(path.suffix.lower() in ARRAY_SUFFIXES for path in entries(folder))


def images_below(folder: Path) -> tuple[Path, ...]:
    """All images in `folder` and its sub-folders (one a class, often), sorted by path; a linked folder is seen once."""
    found: list[Path] = []
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:  # a link that leads back to where we are
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found.extend(Path(place, name) for name in names if not name.startswith(".") and kind_of(Path(name)) == "image")
    for path in found:
        check_regular(path)
    return tuple(sorted(found))


def input_folders(folder: Path, inputs: Sequence[InputSpec]) -> dict[str, Path] | None:
    """The sub-folder of each input, or None when `folder` has none of them. Raises DataError when some are missing."""
    found = {
        spec.name: folder / spec.name
        for spec in inputs
        if not Path(spec.name).is_absolute() and ".." not in Path(spec.name).parts and os.path.isdir(folder / spec.name)
    }
    missing = [spec for spec in inputs if spec.name not in found]
    if found and missing:
        raise DataError(
            f"{folder} has no folder for input {names_of(missing)}, only for {', '.join(map(repr, found))}. "
            "Add it, or pass the folders in the order of the inputs: 'd1/;d2/'."
        )
    return found or None


def matched_files(folders: dict[str, Path]) -> tuple[str, tuple[dict[str, Path], ...]]:
    """The kind, and for each batch the file of each input: the n-th of each folder belong together.

    Raises DataError when the folders differ in kind or in number of files, or hold neither .bin nor .npy.
    """
    listed = {name: data_files(folder) for name, folder in folders.items()}
    kinds = {kind for kind, _ in listed.values()}
    if len(kinds) > 1 or not kinds <= {".bin", ".npy"}:
        found = "; ".join(f"{folders[name]}: {kind}" for name, (kind, _) in listed.items())
        raise DataError(f"a folder for each input must hold .bin files, or .npy files in all of them ({found}).")
    counts = {name: len(files) for name, (_, files) in listed.items()}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{folders[name]}: {count}" for name, count in counts.items())
        raise DataError(f"the folders of the inputs hold different numbers of files ({found}); each batch needs one of each.")
    columns = [[(name, path) for path in files] for name, (_, files) in listed.items()]
    return kinds.pop(), tuple(dict(row) for row in zip(*columns, strict=True))


def entries(folder: Path) -> Iterator[Path]:
    """What is not hidden in `folder`, sorted by name. Raises DataError when it cannot be listed."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}.") from error
    return (folder / name for name in names if not name.startswith("."))


def check_regular(path: Path) -> None:
    """Raises DataError for a broken or circular link, a pipe or a device: reading one could block for ever."""
    if not path.is_file():
        raise DataError(f"{path} cannot be read: it is not a regular file, or a link that leads nowhere. Remove it.")
