"""Writes calibration images that have the spectrum of photographs: noise whose amplitude falls with frequency.

    python tools/bench/images.py OUT_DIR COUNT      # COUNT files 0000.npz …, array `input` (1, 3, 224, 224) float32

Mean 0 and deviation about 1, as after the usual ImageNet normalization, the contrast differs from image to image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

SIZE = 224


def image(index: int) -> np.ndarray:
    """(1, 3, 224, 224) float32, the same for the same index."""
    random = np.random.default_rng([20, index])
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None])
    amplitude = 1 / np.maximum(frequency, 1 / SIZE)
    noise = np.fft.rfft2(random.standard_normal((3, SIZE, SIZE))) * amplitude
    # Photographs are mostly grey: the channels share most of what they show.
    pixels = np.fft.irfft2(0.8 * noise.mean(0, keepdims=True) + 0.3 * noise, s=(SIZE, SIZE))
    contrast = random.uniform(0.5, 1.5)
    return (contrast * pixels / pixels.std() + random.normal(0, 0.3))[None].astype(np.float32)


def main() -> None:
    out, count = Path(sys.argv[1]), int(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        np.savez(out / f"{index:04d}.npz", input=image(index))


if __name__ == "__main__":
    main()
