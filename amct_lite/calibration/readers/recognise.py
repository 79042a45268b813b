"""Which reader a source belongs to: by its type, its suffix, or what its folder holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amct_lite.calibration.feeds import InputSpec, names_of
from amct_lite.calibration.images import ImageOptions, image_source
from amct_lite.calibration.readers import folders
from amct_lite.calibration.readers.binary import ShapeHints, bin_stack
from amct_lite.calibration.readers.in_memory import array_stack, function_source, iterable_source
from amct_lite.calibration.readers.numpy_files import npy_stack, npz_stack, only_input
from amct_lite.calibration.readers.script import script_source
from amct_lite.calibration.readers.source import Source
from amct_lite.calibration.readers.stacks import Stack, source_of
from amct_lite.errors import ConfigError, DataError


@dataclass(frozen=True)
class Opening:
    """What `open_data` was asked for, beside the source itself."""

    inputs: tuple[InputSpec, ...]
    batches: int | None
    batch_size: int | None
    shapes: ShapeHints
    images: ImageOptions | None

    @property
    def _rows(self) -> int | None:
        """Of a batch, where one array holds many samples: one unless told; None where it is a sample itself, having one axis as
        the inputs have."""
        return self.batch_size or (None if all(spec.rank in {0, 1} for spec in self.inputs) else 1)

    def open(self, source: object) -> Source:
        """Raises DataError when no reader takes `source`, ConfigError for options of images where there are none."""
        found = self._recognised(source)
        if self.images is not None and not found.of_images:
            raise ConfigError(
                f"{found.description} gives arrays, no image files: they are taken as they are. Prepare them as for the float "
                "model, and leave out how images become arrays (--image-mean and the like)."
            )
        return found

    def _recognised(self, source: object) -> Source:
        if isinstance(source, str) and ";" in source:
            return self._folders(source)
        if isinstance(source, str | os.PathLike):
            path = Path(os.fspath(source))
            if path.is_dir():
                return self._folder(path)
            if not os.path.lexists(path):
                raise DataError(f"there is no file or folder {path}. Check the path of the calibration data.")
            folders.check_regular(path)
            return self._file(path)
        return self._value(source)

    def _value(self, source: object) -> Source:
        if isinstance(source, Mapping) or hasattr(source, "__array__"):
            return self._stacks([array_stack(source, self.inputs)], "arrays in memory", batch_size=self._rows)
        if isinstance(source, Iterable):
            return iterable_source(source, self.inputs)
        if callable(source):
            return function_source(source, self.inputs)
        raise DataError(
            f"calibration data of type {type(source).__name__} cannot be read. Give a path, an iterable of feeds, "
            "a function that returns one, or arrays."
        )

    def _file(self, path: Path) -> Source:
        kind = folders.kind_of(path)
        if path.suffix.lower() == ".py":
            return script_source(path, self.inputs)
        if kind == "image":
            return self._images((path,), str(path))
        if kind is None:
            raise DataError(f"{path} is no calibration data. Expected is a .npz, .npy, .bin, .py or image file, or a folder.")
        # a lone .bin is one batch, as in AMCT; a lone .npy or .npz holds samples
        size = self.batch_size if kind == ".bin" else self._rows
        return self._stacks(self._each(kind, (path,)), str(path), batch_size=size)

    def _folder(self, folder: Path) -> Source:
        by_input = folders.input_folders(folder, self.inputs)
        if by_input is not None:
            return self._matched(by_input, str(folder))
        images = folders.images_below(folder) if not folders.holds_arrays(folder) else ()
        if images:
            return self._images(images, str(folder))
        kind, files = folders.data_files(folder)
        return self._stacks(self._each(kind, files), f"{folder} ({_files(files, kind)})", batch_size=self.batch_size)

    def _images(self, paths: Sequence[Path], description: str) -> Source:
        if not takes_encoded(self.inputs):
            return image_source(paths, self.inputs, description, self.images, batch_size=self.batch_size)
        if self.images is not None:
            raise ConfigError(
                f"input {self.inputs[0].name!r} {self.inputs[0].shape_text} takes the bytes of image files, which the model "
                "decodes itself. Leave out how images become arrays (--image-mean and the like)."
            )
        described = f"{description} ({len(paths)} images, as the bytes of their files)"
        return self._stacks(self._each(".bin", paths), described, batch_size=None)

    def _folders(self, text: str) -> Source:
        paths = [Path(part.strip()) for part in text.split(";") if part.strip()]
        if len(paths) != len(self.inputs):
            raise DataError(
                f"{text!r} names {len(paths)} folders, the model has {len(self.inputs)} inputs "
                f"({names_of(self.inputs)}). Give a folder for each, in this order."
            )
        for path in paths:
            if not path.is_dir():
                raise DataError(f"{path} is not a folder. Check the paths in {text!r}.")
        return self._matched({spec.name: path for spec, path in zip(self.inputs, paths, strict=True)}, text)

    def _matched(self, by_input: dict[str, Path], description: str) -> Source:
        kind, rows = folders.matched_files(by_input)
        stacks = (self._stack(kind, row) for row in rows)
        return self._stacks(stacks, f"{description} ({_files(rows, kind)} for each input)", batch_size=self.batch_size)

    def _each(self, kind: str, files: Iterable[Path]) -> Iterator[Stack]:
        if kind == ".npz":
            return (npz_stack(path, self.inputs) for path in files)
        name = only_input(self.inputs, kind)
        return (self._stack(kind, {name: path}) for path in files)

    def _stack(self, kind: str, files: dict[str, Path]) -> Stack:
        return bin_stack(files, self.inputs, self.shapes) if kind == ".bin" else npy_stack(files)

    def _stacks(self, stacks: Iterable[Stack], description: str, *, batch_size: int | None) -> Source:
        return source_of(stacks, self.inputs, description=description, batch_size=batch_size, batches=self.batches)


def takes_encoded(inputs: Sequence[InputSpec]) -> bool:
    """Whether the model takes the bytes of one image file, any number of them, and decodes it itself."""
    return len(inputs) == 1 and inputs[0].dtype == "uint8" and inputs[0].rank == 1 and inputs[0].fixed_batch is None


def _files(found: Sequence[object], kind: str) -> str:
    return f"{len(found)} {kind} file{'' if len(found) == 1 else 's'}"
