"""The extremes of single samples, by number: of all samples while they are few, of some when they are many.

Beyond 16,384 samples only the first 1,024 of each stratum stay (those with the lowest numbers): 16 KiB a stratum, however
many samples there are. What is kept is a function of the multiset of samples alone, so merging is associative and
commutative, and samples may be renumbered before or after.

No decision depends on what is dropped: how many samples each stratum has, the stratum knows itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from amct_lite.numerics.stratum import LongArray, exponents_of
from amct_lite.types import AnyArray, FloatArray

EVERY = 1 << 14
"""So many samples are all kept."""
FIRST = 1 << 10
"""So many of each stratum are kept beyond that."""

_RECORD = np.dtype([("index", np.int64), ("low", np.float32), ("high", np.float32)])


class Extremes:
    """Only `add` changes it, in place. samples: how many there were, kept or not."""

    def __init__(self, pieces: Sequence[AnyArray] = (), samples: int = 0) -> None:
        self.samples = samples
        self._pieces = [piece for piece in pieces if piece.size]  # never changed themselves: copies share them
        self._held = sum(piece.size for piece in self._pieces)

    def add(self, low: FloatArray, high: FloatArray, first: int) -> None:
        """low, high: (N,) of the samples from number `first` on."""
        piece = np.empty(low.size, dtype=_RECORD)
        piece["index"] = np.arange(first, first + low.size)
        piece["low"], piece["high"] = low + np.float32(0), high + np.float32(0)  # -0.0 made 0.0: equal values, equal bytes
        self._pieces.append(piece)
        self._held += piece.size
        self.samples += piece.size
        self._settle()

    def merged(self, other: Extremes) -> Extremes:
        """Of the samples of both."""
        both = Extremes((*self._pieces, *other._pieces), self.samples + other.samples)
        both._settle()
        return both

    def renumbered(self, first: int) -> Extremes:
        """The same with `first` added to the number of each sample."""
        moved = self._ordered()
        moved["index"] += first
        return Extremes((moved,), self.samples)

    def without(self, limit: int, dropped: int) -> Extremes:
        """Of the samples whose stratum is `limit` at most; `dropped` are of higher ones."""
        records = self._ordered()
        return Extremes((records[strata_of(records) <= limit],), self.samples - dropped)

    @property
    def complete(self) -> bool:
        """Whether those of every sample are known."""
        return self.samples <= EVERY

    def above(self, limit: int) -> tuple[LongArray, FloatArray]:
        """(numbers ascending, magnitudes) of the samples known whose stratum is higher than `limit`."""
        records = self._ordered()
        wild = records[strata_of(records) > limit]
        return wild["index"], _magnitudes(wild)

    def magnitudes(self, low: int, high: int) -> FloatArray:
        """Of the samples known with strata from `low` to `high`."""
        records = self._ordered()
        strata = strata_of(records)
        return _magnitudes(records[(low <= strata) & (strata <= high)])

    def ends(self) -> FloatArray:
        """The minimum and the maximum of each sample; none where not all are known."""
        records = self._ordered() if self.complete else np.empty(0, dtype=_RECORD)
        return np.concatenate([records["low"], records["high"]])

    def to_arrays(self) -> dict[str, AnyArray]:
        """As plain numeric arrays; equal content gives equal arrays."""
        records = self._ordered()
        return {f"sample_{name}": records[name].copy() for name in ("index", "low", "high")}

    @staticmethod
    def from_arrays(arrays: Mapping[str, AnyArray], samples: int) -> Extremes:
        """The inverse. Raises KeyError or ValueError where arrays are missing or do not fit."""
        index = arrays["sample_index"]
        if index.size > samples:
            raise ValueError(f"there are {index.size} extremes of {samples} samples")
        records = np.empty(index.shape, dtype=_RECORD)
        records["index"], records["low"], records["high"] = index, arrays["sample_low"], arrays["sample_high"]
        return Extremes((records,), samples)

    def _settle(self) -> None:
        """Lets go of what is not kept, now and then: it costs a sort."""
        if not self.complete and self._held > 2 * EVERY:
            self._pieces = [self._ordered()]
            self._held = self._pieces[0].size

    def _ordered(self) -> AnyArray:
        """What is kept, a fresh array, in order of number."""
        records = np.concatenate(self._pieces) if self._pieces else np.empty(0, dtype=_RECORD)
        records = records[np.lexsort((records["high"], records["low"], records["index"]))]
        return records if self.complete else records[_first_of_each(strata_of(records))]


def strata_of(records: AnyArray) -> LongArray:
    """The exponent of each record's stratum."""
    return np.array(exponents_of(_magnitudes(records)), dtype=np.int64)


def _magnitudes(records: AnyArray) -> FloatArray:
    found: FloatArray = np.maximum(records["high"], -records["low"])
    return found


def _first_of_each(keys: LongArray) -> NDArray[np.bool_]:
    """(N,) whether fewer than `FIRST` before it have the same key."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    kept = np.empty(keys.size, dtype=np.bool_)
    kept[order] = np.arange(keys.size) - np.searchsorted(ordered, ordered) < FIRST
    return kept
