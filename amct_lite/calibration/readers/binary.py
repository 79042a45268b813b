""".bin files in AMCT's layout: the bare values of one batch of one input, little-endian, no header.

The type is the model's; the shape is the model's, completed by `--input-shape`, and by the file's size where one
dimension is still open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path

import numpy as np

from amct_lite.calibration.feeds import InputSpec, known_sizes
from amct_lite.calibration.readers.stacks import Shape, Stack
from amct_lite.errors import DataError
from amct_lite.types import Feeds

ShapeHints = Mapping[str, Sequence[int | None]]


def bin_stack(files: Mapping[str, Path], inputs: Sequence[InputSpec], hints: ShapeHints) -> Stack:
    """The .bin file of each input.

    hints: `--input-shape`, by input name; only dimensions the model leaves open are taken.
    Raises DataError when a shape stays unknown or the size of the file does not fit it.
    """
    specs = {spec.name: spec for spec in inputs}
    shapes = {name: _shape(path, specs[name], hints.get(name)) for name, path in files.items()}
    return Stack(", ".join(map(str, files.values())), shapes, partial(_load, files, specs, shapes))


def _load(files: Mapping[str, Path], specs: Mapping[str, InputSpec], shapes: Mapping[str, Shape]) -> Feeds:
    arrays: Feeds = {}
    for name, path in files.items():
        stored = specs[name].numpy_dtype.newbyteorder("<")
        try:
            values = np.fromfile(path, stored)
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
        if values.size != prod(shapes[name]):
            raise DataError(f"{path} has changed while it was in use. Calibrate again.")
        arrays[name] = values.reshape(shapes[name])
    return arrays


def _shape(path: Path, spec: InputSpec, hint: Sequence[int | None] | None) -> Shape:
    dims = _known_dims(spec, hint, path)
    size = path.stat().st_size
    dtype = spec.numpy_dtype
    if dtype.hasobject:
        raise DataError(f"input {spec.name!r} holds strings, which .bin files cannot. Pass .npz files.")
    unit = prod(dim for dim in dims if dim is not None) * dtype.itemsize
    unknown = dims.count(None)
    if unknown > 1:
        raise DataError(
            f"{path} has no shape, and the model leaves {unknown} dimensions of input {spec.name!r} "
            f'{spec.shape_text} open. Pass --input-shape "{_example(spec, dims)}" with their sizes.'
        )
    if (unknown == 0 and size != unit) or (unknown == 1 and (size == 0 or unit == 0 or size % unit)):
        text = "(" + ", ".join("?" if dim is None else str(dim) for dim in dims) + ")"
        times = "a multiple of " if unknown else ""
        raise DataError(
            f"{path} has {size} bytes, input {spec.name!r} of shape {text} in {spec.dtype} takes {times}{unit}. "
            "Check the type and the shape the files were written with, or pass --input-shape."
        )
    return tuple(size // unit if dim is None else dim for dim in dims)


def _known_dims(spec: InputSpec, hint: Sequence[int | None] | None, path: Path) -> list[int | None]:
    """The model's dimensions; open ones from `hint`, the batch last: a file may hold another number of samples."""
    if spec.shape is None:
        if hint is None:
            raise DataError(
                f'{path} has no shape, nor has input {spec.name!r} in the model. Pass --input-shape "{spec.name}:…".'
            )
        return known_sizes(hint)
    dims = [dim if isinstance(dim, int) else None for dim in spec.shape]
    if hint is None:
        return dims
    if len(hint) != len(dims):
        raise DataError(
            f"--input-shape gives input {spec.name!r} {len(hint)} dimensions, the model has {len(dims)}: {spec.shape_text}."
        )
    wanted = known_sizes(hint)
    filled = [
        have if have is not None or axis == 0 else want for axis, (have, want) in enumerate(zip(dims, wanted, strict=True))
    ]
    if filled.count(None) > 1 or 0 in filled:  # of an empty file the size says nothing of the batch
        filled[0] = filled[0] if filled[0] is not None else wanted[0]
    return filled


def _example(spec: InputSpec, dims: Sequence[int | None]) -> str:
    return f"{spec.name}:" + ",".join("1" if axis == 0 and dim is None else str(dim or "?") for axis, dim in enumerate(dims))
