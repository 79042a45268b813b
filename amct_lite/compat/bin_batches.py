"""The data of `amct_onnx calibration`: a folder of .bin files for each input, one file a batch, bare values.

AMCT's rules: the n-th folder, type and shape belong together; files are taken in lexicographic order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from amct_lite.calibration.feeds import InputSpec, names_of
from amct_lite.errors import ConfigError, DataError
from amct_lite.registry import did_you_mean
from amct_lite.types import AnyArray, Feeds

TYPES = (
    *("float64", "float32", "float16", "int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64", "bool"),
)


@dataclass(frozen=True)
class BinInput:
    """One input: its name, where its files lie, and what they hold."""

    name: str
    shape: tuple[int, ...]
    folder: Path
    dtype: str


def bin_inputs(shapes: Mapping[str, tuple[int, ...]], data_dir: str, data_types: str) -> tuple[BinInput, ...]:
    """What the three options say together. Raises ConfigError when they do not have as many entries, or a type is none."""
    folders, types = _parts(data_dir), _parts(data_types)
    if not len(shapes) == len(folders) == len(types):
        raise ConfigError(
            f"--input_shape has {len(shapes)} inputs, --data_dir {len(folders)} folders, --data_types {len(types)} types. "
            'Give one of each for every input, separated by ";" and in the same order.'
        )
    for dtype in types:
        if dtype not in TYPES:
            raise ConfigError(
                f"--data_types: {dtype!r} is no type{did_you_mean(dtype, TYPES)}; choose from {', '.join(TYPES)}."
            )
    pairs = zip(shapes.items(), folders, types, strict=True)
    return tuple(BinInput(name, shape, Path(folder), dtype) for (name, shape), folder, dtype in pairs)


def require_inputs(inputs: Sequence[BinInput], specs: Sequence[InputSpec]) -> None:
    """Raises ConfigError where --input_shape names others than the inputs of the model, `specs`."""
    given, wanted = [entry.name for entry in inputs], [spec.name for spec in specs]
    for name in given:
        if name not in wanted:
            raise ConfigError(
                f"--input_shape: the model has no input {name!r}{did_you_mean(name, wanted)}; it has {names_of(specs)}."
            )
    if missing := [spec for spec in specs if spec.name not in given]:
        raise ConfigError(
            f"--input_shape leaves out {names_of(missing)}. The model takes {names_of(specs)}: give a shape, a folder and a "
            "type for each."
        )


def bin_batches(inputs: Sequence[BinInput], count: int) -> Iterator[Feeds]:
    """`count` batches. Raises DataError before the first one when a folder has fewer files; and for a file of another size."""
    files = {entry.name: _files(entry, count) for entry in inputs}
    for number in range(count):
        yield {entry.name: _read(files[entry.name][number], entry) for entry in inputs}


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _files(entry: BinInput, count: int) -> list[Path]:
    if not entry.folder.is_dir():
        raise DataError(f"--data_dir: {entry.folder} for input {entry.name!r} is no folder. Check the path.")
    found = sorted(entry.folder.glob("*.bin"))
    if not found:
        raise DataError(
            f"--data_dir: {entry.folder} for input {entry.name!r} has no .bin files. Write one file a batch there: bare "
            f"values of {entry.dtype} in C order, shape {entry.shape}."
        )
    if len(found) < count:
        raise DataError(
            f"{entry.folder} has {len(found)} .bin files for input {entry.name!r}, batch_num is {count}. "
            f"Add files, or ask for --batch_num {len(found)}."
        )
    return found


def _read(path: Path, entry: BinInput) -> AnyArray:
    values = np.fromfile(path, np.dtype(entry.dtype).newbyteorder("<"))
    if values.size != prod(entry.shape):
        raise DataError(
            f"{path} holds {values.size} values of {entry.dtype}, input {entry.name!r} of shape {entry.shape} takes "
            f"{prod(entry.shape)}. Check --data_types and --input_shape."
        )
    return values.astype(entry.dtype, copy=False).reshape(entry.shape)
