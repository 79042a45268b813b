""".npy and .npz files. A header is believed only as far as the file's size bears it out; nothing is ever unpickled."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from amct_lite.calibration.feeds import InputSpec, names_of
from amct_lite.calibration.readers.stacks import Shape, Stack
from amct_lite.errors import DataError
from amct_lite.types import AnyArray, Feeds

# Samples never shrink a hundredfold; only archives made to fill the memory do, and those are large.
_MAX_RATIO = 100
_MAX_SUSPECT_BYTES = 1 << 30

# What numpy's header parser and zipfile raise for bytes they cannot make sense of.
_DAMAGE = (
    ValueError,
    SyntaxError,
    TypeError,
    EOFError,
    KeyError,
    RuntimeError,
    OverflowError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)


_UNNAMED = "arr_0"
"""How numpy calls an array that is saved without a name."""


def npy_stack(files: Mapping[str, Path]) -> Stack:
    """The .npy file of each input; arrays stay on disk and are mapped when read. Raises DataError for a bad header."""
    shapes = {name: _npy_shape(path) for name, path in files.items()}
    return Stack(", ".join(map(str, files.values())), shapes, partial(_map_npy, files))


def npz_stack(path: Path, inputs: Sequence[InputSpec]) -> Stack:
    """An .npz file whose arrays are named by input; for a model with one input the only array may have any name, which is told.

    Raises DataError for what is not an archive of plain arrays, or would unpack to far more than its size.
    """
    with _archive(path) as (_, shapes):
        pass
    keys, remark = {name: name for name in shapes}, ""
    if len(inputs) == len(shapes) == 1 and shapes.keys() != {inputs[0].name}:
        name, (key,) = inputs[0].name, shapes
        keys, remark = {name: key}, f"array {key!r} taken as input {name!r}" if key != _UNNAMED else ""
    label = f"{path}, {remark}" if remark else str(path)
    return Stack(label, {name: shapes[key] for name, key in keys.items()}, partial(_load_npz, path, keys), remark)


def only_input(inputs: Sequence[InputSpec], kind: str) -> str:
    """The name of the model's input when it has just one. Raises DataError: `kind` files hold one array each."""
    if len(inputs) == 1:
        return inputs[0].name
    raise DataError(
        f"{kind} files hold one array each, the model has {len(inputs)} inputs ({names_of(inputs)}). "
        "Make a folder for each input, pass the folders as 'd1/;d2/', or write .npz files."
    )


def _npy_shape(path: Path) -> Shape:
    with _reading(path), path.open("rb") as stream:
        return _checked_shape(stream, path.stat().st_size, str(path))


def _map_npy(files: Mapping[str, Path]) -> Feeds:
    arrays: Feeds = {}
    for name, path in files.items():
        with _reading(path):
            shape = _npy_shape(path)  # again: the file may have changed
            arrays[name] = np.load(path, mmap_mode=None if 0 in shape else "r", allow_pickle=False)  # nothing to map
    return arrays


@contextmanager
def _archive(path: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Shape]]]:
    """The archive, and the shapes of its arrays, when it holds nothing but arrays that its size bears out."""
    with _reading(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > _MAX_SUSPECT_BYTES and unpacked > _MAX_RATIO * path.stat().st_size:
            raise DataError(
                f"{path} would unpack to {unpacked >> 20} MiB, over {_MAX_RATIO} times its size; "
                "refused as a zip bomb. Save the samples as .npy files."
            )
        names = [member.filename for member in members]
        strange = [name for name in names if not name.endswith(".npy")]
        if strange or len(set(names)) != len(names):
            raise DataError(f"{path} holds more than named arrays ({(strange or names)[0]!r}). Write it with numpy.savez.")
        yield archive, {member.filename.removesuffix(".npy"): _member_shape(archive, member, path) for member in members}


def _member_shape(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> Shape:
    with archive.open(member) as stream:
        return _checked_shape(stream, member.file_size, f"{path}, array {member.filename.removesuffix('.npy')!r}")


def _load_npz(path: Path, keys: Mapping[str, str]) -> Feeds:
    arrays: Feeds = {}
    with _archive(path) as (archive, _):  # checked again: the file may have changed
        for name, key in keys.items():
            with archive.open(f"{key}.npy") as stream:
                array: AnyArray = npy_format.read_array(stream, allow_pickle=False)
            arrays[name] = array
    return arrays


def _checked_shape(stream: IO[bytes], size: int, where: str) -> Shape:
    """The shape that the header claims, when `size` bytes hold it. Raises DataError for objects and false claims."""
    version = npy_format.read_magic(stream)
    if version not in {(1, 0), (2, 0)}:
        raise DataError(f"{where}: .npy version {version} is not for plain numbers. Save a plain array with numpy.save.")
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject or dtype.kind == "V":
        raise DataError(f"{where} holds Python objects or records, which are never loaded. Save a plain array of numbers.")
    needed = prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or needed > size - stream.tell():
        raise DataError(
            f"{where} claims shape {shape} of {dtype} ({needed} bytes), the file holds {size - stream.tell()}. "
            "It is cut off or damaged: write it again."
        )
    return tuple(shape)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What goes wrong inside a damaged or unreadable file is a DataError that names it."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    except _DAMAGE as error:
        raise DataError(f"{path} is no valid {path.suffix} file: {error}. Write it again with numpy.") from error
