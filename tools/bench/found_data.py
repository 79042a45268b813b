"""What the networks of found.py look at and listen to: drawn pages and lines of text, speech and notes made of sines, files.

Each function gives sample `index`, the same for the same index. Needs Pillow.
"""

from __future__ import annotations

import sysconfig
from functools import cache
from pathlib import Path

import numpy as np
from images import image
from PIL import Image, ImageDraw, ImageFont

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


@cache
def _files() -> tuple[Path, ...]:
    """Of Python itself: sources, tables, libraries."""
    return tuple(sorted(path for path in Path(sysconfig.get_paths()["stdlib"]).glob("*/*") if path.is_file()))


@cache
def _words() -> tuple[str, ...]:
    return tuple(word for path in _files()[:40] for word in path.read_text(errors="ignore").split() if word.isalnum())[:4000]


def page(index: int, height: int, width: int) -> np.ndarray:
    """(height, width, 3), 0 to 255: lines of text of many sizes, on paper or on something like a photograph."""
    random = np.random.default_rng([1, index])
    paper = np.full((height, width, 3), random.uniform(200, 255))
    if random.random() < 0.4:
        paper = np.resize(150 + 40 * image(index)[0].transpose(1, 2, 0), (height, width, 3)).clip(0, 255)
    drawn = Image.fromarray(paper.astype(np.uint8))
    draw, top = ImageDraw.Draw(drawn), random.uniform(5, 40)
    while top < height - 20:
        size = int(random.choice([12, 14, 18, 24, 36]))
        text = " ".join(random.choice(_words(), random.integers(2, 9)))
        draw.text((random.uniform(5, width / 5), top), text, "black", ImageFont.load_default(size))
        top += size * random.uniform(1.2, 2.5)
    return np.asarray(drawn, np.float64)


def line(index: int, height: int, width: int) -> np.ndarray:
    """(height, width, 3), 0 to 255: a few words, dark on light or light on dark, with noise."""
    random = np.random.default_rng([2, index])
    light, dark = random.integers(160, 256, 3), random.integers(0, 90, 3)
    ground, ink = (light, dark) if random.random() < 0.7 else (dark, light)
    drawn = Image.new("RGB", (width, height), tuple(map(int, ground)))
    text = " ".join(random.choice(_words(), random.integers(1, 5)))
    font = ImageFont.load_default(height * random.uniform(0.45, 0.7))
    ImageDraw.Draw(drawn).text((4, height * random.uniform(0.05, 0.25)), text, tuple(map(int, ink)), font)
    return (np.asarray(drawn) + random.normal(0, random.uniform(0, 8), (height, width, 3))).clip(0, 255)


def speech(index: int, samples: int, rate: int = 16000) -> np.ndarray:
    """(samples,): voiced and voiceless syllables with three formants, pauses, and noise of many strengths."""
    random = np.random.default_rng([3, index])
    sound, start = np.zeros(samples), 0
    while start < samples:
        length = min(int(rate * random.uniform(0.08, 0.35)), samples - start)
        times = np.arange(length) / rate
        kind = random.random()
        if kind > 0.25:
            pitch, formants = random.uniform(90, 240), random.uniform([250, 850, 2300], [850, 2500, 3500])
            voices = pitch * np.arange(1, 30)
            strength = (1 / (1 + ((voices[:, None] - formants) / [80, 120, 200]) ** 2)).sum(1)
            syllable = (strength[:, None] * np.sin(2 * np.pi * voices[:, None] * times)).sum(0)
            sound[start : start + length] = (syllable if kind > 0.4 else random.normal(0, 0.3, length)) * np.hanning(length)
        start += length
    sound *= random.uniform(0.1, 0.9) / np.abs(sound).max(initial=1e-6)
    return (sound + random.normal(0, random.choice([1e-4, 1e-3, 1e-2]), samples)).astype(np.float32)


def notes(index: int, samples: int, rate: int = 22050) -> np.ndarray:
    """(samples,): some strings, plucked one after the other."""
    random = np.random.default_rng([4, index])
    sound, times = np.zeros(samples), np.arange(samples) / rate
    for _ in range(random.integers(3, 9)):
        pitch, start = 440 * 2 ** (random.integers(-24, 24) / 12), random.integers(0, samples // 2)
        string = sum(np.sin(2 * np.pi * pitch * overtone * times) / overtone for overtone in range(1, 7))
        sound[start:] += (string * np.exp(-times * random.uniform(2, 6)))[: samples - start]
    return (sound / np.abs(sound).max() * random.uniform(0.2, 0.9)).astype(np.float32)


def file_bytes(index: int) -> np.ndarray:
    """(2048,): the first and the last kilobyte of a file; 256 where there is none."""
    files = _files()
    content = files[index * 997 % len(files)].read_bytes()
    first, last = list(content[:1024]), list(content[-1024:])
    return np.array([*first, *[256] * (2048 - len(first) - len(last)), *last], np.int32)


def pixels(colours: np.ndarray, *, mean: np.ndarray | float = 0.0, deviation: np.ndarray | float = 1.0) -> np.ndarray:
    """(1, 3, height, width) float32 of colours from 0 to 255, which are 0 to 1 before `mean` and `deviation`."""
    return ((colours / 255 - mean) / deviation).transpose(2, 0, 1)[None].astype(np.float32)
