"""What every reader gives: a description, a way to read the batches, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

LabelledBatch = tuple[Mapping[str, object], str]


@dataclass(frozen=True)
class Source:
    """read: a fresh iterator over (arrays by input name, label); the label tells where a batch came from, or is empty.

    count: number of batches, None when only reading tells. repeatable: `read` may be called again and gives the same.
    read_from: the same from a batch on, counted from 0, where that takes less than reading what lies before it.
    samples: how many there are in all batches, where the last one may hold fewer than the first. of_images: whether files of
    images became arrays as `ImageOptions` say.
    """

    description: str
    read: Callable[[], Iterator[LabelledBatch]]
    count: int | None = None
    repeatable: bool = True
    read_from: Callable[[int], Iterator[LabelledBatch]] | None = None
    samples: int | None = None
    of_images: bool = False

    def batches(self, first: int = 0) -> Iterator[LabelledBatch]:
        """A fresh iterator that begins with batch `first`."""
        if not first:
            return self.read()
        return self.read_from(first) if self.read_from else islice(self.read(), first, None)
