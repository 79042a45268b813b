"""What every reader gives: a description, a way to read the batches, and how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

LabelledBatch = tuple[Mapping[str, object], str]


@dataclass(frozen=True)
class Source:
    """read: a fresh iterator over (arrays by input name, label); the label tells where a batch came from, or is empty.

    count: number of batches, None when only reading tells. repeatable: `read` may be called again and gives the same.
    """

    description: str
    read: Callable[[], Iterator[LabelledBatch]]
    count: int | None = None
    repeatable: bool = True
