"""The arrays behind shared/reference/vectors.json, made by its generator text, and its cases."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from corpus import SHARED
from numpy.typing import NDArray

Array = NDArray[Any]
COUNT = 4096
SEED = 12345


def lcg(count: int, seed: int) -> Array:
    """u in [0, 1): x = (1103515245 x + 12345) mod 2^31, the first value after one step."""
    values = np.empty(count)
    x = seed
    for i in range(count):
        x = (1103515245 * x + 12345) & 0x7FFFFFFF
        values[i] = x / 2**31
    return values


def distributions(count: int = COUNT, seed: int = SEED) -> dict[str, Array]:
    """Every array of the vectors by name, float32."""
    gauss = lcg(12 * count, seed + 65).reshape(count, 12).sum(axis=1) - 6
    exponential = -2 * np.log(1 - lcg(count, seed + 7))
    outlier = gauss.copy()
    outlier[0] = 20
    single = gauss.astype(np.float32).astype(np.float64)
    wide = 4 * single
    arrays = {
        "uniform": lcg(count, seed) * 8 - 2,
        "gauss": gauss,
        "gauss_outlier": outlier,
        "relu": np.maximum(3 * single, 0),
        "exponential": exponential,
        "silu": wide / (1 + np.exp(-wide)),
        "positive_shifted": lcg(count, seed) * 5 + 1,
        "negative": -exponential,
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def document() -> dict[str, Any]:
    """vectors.json, or nothing where the shared folder is absent: the tests that need it are skipped then."""
    path = SHARED / "reference" / "vectors.json"
    content: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"cases": [], "checks": {}}
    return content


def cases(algo: str) -> list[dict[str, Any]]:
    return [case for case in document()["cases"] if case["algo"] == algo]
