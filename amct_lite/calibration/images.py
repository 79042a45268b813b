"""Image files as arrays of the model's input. The only importer of Pillow, which comes with the extra `images`.

A pixel p in 0…255 becomes (p * scale - mean) / std, per channel, in float32. Nothing is normalised unless asked for:
whether a model wants 0…255, 0…1 or ImageNet's mean and deviation cannot be seen in the model.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from amct_lite.calibration.feeds import InputSpec, names_of
from amct_lite.calibration.readers.source import LabelledBatch, Source
from amct_lite.errors import ConfigError, DataError
from amct_lite.types import AnyArray

if TYPE_CHECKING:
    from PIL.Image import Image

Layout = Literal["NCHW", "NHWC"]
Color = Literal["RGB", "BGR"]
Fit = Literal["crop", "stretch"]

# What Pillow may try: formats that are decoded in-process. EPS and the like start other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


@dataclass(frozen=True)
class ImageOptions:
    """How an image becomes an array; Raises ConfigError for values that cannot be meant.

    size: (height, width); None: the model's. fit: "crop" resizes so that the centre `crop_fraction` of the shorter side
    fills `size` (256 → 224) and cuts it out, "stretch" ignores proportions; an image of the right size is left alone.
    mean, std: one number, or one a channel in the order of `color`. layout: None: seen from the model's input shape.
    """

    size: tuple[int, int] | None = None
    fit: Fit = "crop"
    crop_fraction: float = 0.875
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Layout | None = None
    color: Color = "RGB"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("fit", self.fit, Fit),
            ("layout", self.layout, Layout),
            ("color", self.color, Color),
        ):
            if value not in get_args(choices) and not (name == "layout" and value is None):
                raise ConfigError(f"image {name} is {value!r}; choose one of {', '.join(get_args(choices))}.")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise ConfigError(f"image size is {self.size}; give (height, width), both at least 1.")
        if not 0 < self.crop_fraction <= 1:
            raise ConfigError(f"image crop_fraction is {self.crop_fraction}; it must lie in (0, 1].")
        if not all(map(math.isfinite, (self.scale, *self.mean, *self.std))) or 0 in self.std:
            raise ConfigError(f"image scale {self.scale}, mean {self.mean}, std {self.std}: all must be finite, and std not 0.")

    @property
    def keeps_pixels(self) -> bool:
        """True when values stay the integers 0…255."""
        return self.scale == 1 and set(self.mean) == {0.0} and set(self.std) == {1.0}


@dataclass(frozen=True)
class _Recipe:
    """Options and model brought together: nothing left open."""

    size: tuple[int, int]
    channels: int
    layout: Layout
    options: ImageOptions


def image_source(
    paths: Sequence[Path],
    inputs: Sequence[InputSpec],
    description: str,
    options: ImageOptions | None,
    *,
    batch_size: int | None,
) -> Source:
    """The images in their order; a last batch that a fixed batch of the model cannot take is left out, and said.

    Raises ConfigError when size, layout or normalisation stay unknown, DataError unless the model has one image input.
    """
    spec = _image_input(inputs)
    if options is None and spec.numpy_dtype.kind == "f":
        raise ConfigError(
            f"{description} holds images, and how input {spec.name!r} wants its pixels is not known. "
            "Give mean, std and scale: --image-mean, --image-std and --image-scale (0, 1, 1 for raw values 0…255)."
        )
    recipe = _recipe(spec, options or ImageOptions())
    _pillow()  # before the first batch
    size = spec.fixed_batch or batch_size or 1
    left = len(paths) % size if spec.fixed_batch else 0
    groups = [paths[start : start + size] for start in range(0, len(paths) - left, size)]

    def read(first: int = 0) -> Iterator[LabelledBatch]:
        for group in groups[first:]:
            batch = np.stack([_array(path, recipe) for path in group])
            yield {spec.name: batch}, ", ".join(map(str, group[:2])) + (", …" if len(group) > 2 else "")

    note = f", the last {left} left out: the model's batch is {size}" if left else ""
    samples = len(paths) - left
    return Source(
        f"{description} ({len(paths)} images{note})", read, len(groups), read_from=read, samples=samples, of_images=True
    )


def _image_input(inputs: Sequence[InputSpec]) -> InputSpec:
    if len(inputs) != 1:
        raise DataError(f"images feed a model with one input, this one has {names_of(inputs)}. Write .npz files instead.")
    spec = inputs[0]
    if spec.rank not in {4, None}:
        raise DataError(f"input {spec.name!r} {spec.shape_text} is no image (4 dimensions). Write .npz files instead.")
    return spec


def _recipe(spec: InputSpec, options: ImageOptions) -> _Recipe:
    if spec.numpy_dtype.kind != "f" and not options.keeps_pixels:
        raise ConfigError(f"input {spec.name!r} is {spec.dtype}: it takes raw pixels, without mean, std or scale.")
    shape = spec.shape or (None,) * 4
    layout = options.layout or _seen_layout(spec)
    dims = shape if layout == "NCHW" else (shape[0], shape[3], shape[1], shape[2])
    channels = dims[1] if isinstance(dims[1], int) else 3
    if channels not in {1, 3}:
        raise DataError(f"input {spec.name!r} {spec.shape_text} has {channels} channels as {layout}, images have 1 or 3.")
    for name, values in (("mean", options.mean), ("std", options.std)):
        if len(values) not in {1, channels}:
            raise ConfigError(
                f"image {name} has {len(values)} values, the model has {channels} {'channel' if channels == 1 else 'channels'}."
            )
    size = options.size or (dims[2], dims[3])
    if not (isinstance(size[0], int) and isinstance(size[1], int)):
        raise ConfigError(f"input {spec.name!r} {spec.shape_text} leaves the image size open. Give the size of the images.")
    return _Recipe((size[0], size[1]), channels, layout, options)


def _seen_layout(spec: InputSpec) -> Layout:
    shape = spec.shape or (None,) * 4
    if shape[1] in {1, 3}:
        return "NCHW"
    if shape[3] in {1, 3}:
        return "NHWC"
    raise ConfigError(f"input {spec.name!r} {spec.shape_text} does not show where channels lie. Give the layout, NCHW or NHWC.")


def _array(path: Path, recipe: _Recipe) -> AnyArray:
    """(C, H, W) or (H, W, C), float32, or uint8 where pixels are kept."""
    pixels = _pixels(path, recipe)
    if recipe.channels == 3 and recipe.options.color == "BGR":
        pixels = pixels[..., ::-1]
    if not recipe.options.keeps_pixels:
        mean, std = (np.asarray(values, np.float32) for values in (recipe.options.mean, recipe.options.std))
        pixels = (pixels.astype(np.float32) * np.float32(recipe.options.scale) - mean) / std
    return pixels.transpose(2, 0, 1) if recipe.layout == "NCHW" else pixels


def _pixels(path: Path, recipe: _Recipe) -> AnyArray:
    """(H, W, C) uint8, resized."""
    module = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", module.DecompressionBombWarning)
            with module.open(path, formats=_FORMATS) as image:
                if image.mode.startswith(("I", "F")):
                    raise DataError(f"{path} has more than 8 bits a channel. Convert it, or write .npy files.")
                fitted = _fit(image.convert("L" if recipe.channels == 1 else "RGB"), recipe)
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        module.DecompressionBombError,
        module.DecompressionBombWarning,
    ) as error:
        raise DataError(f"{path} is no readable image: {error}. Remove or repair it.") from error
    height, width = recipe.size
    return np.asarray(fitted).reshape(height, width, recipe.channels)


def _fit(image: Image, recipe: _Recipe) -> Image:
    height, width = recipe.size
    bilinear = _pillow().Resampling.BILINEAR
    if image.size == (width, height):
        return image
    if recipe.options.fit == "stretch":
        return image.resize((width, height), bilinear)
    zoom = max(height / image.height, width / image.width) / recipe.options.crop_fraction
    resized = image.resize((max(width, round(image.width * zoom)), max(height, round(image.height * zoom))), bilinear)
    left, top = (resized.width - width) // 2, (resized.height - height) // 2
    return resized.crop((left, top, left + width, top + height))


def _pillow() -> ModuleType:
    """PIL.Image, imported late: most runs need no images. Raises ConfigError when Pillow is not installed."""
    try:
        import PIL.Image
    except ImportError as error:
        raise ConfigError("reading images needs Pillow: pip install 'amct-lite[images]'.") from error
    return PIL.Image
