"""Which candidates a search will ask for next: found by running it on answers that are assumed.

For searches that are functions of the answers alone. What is found serves to have answers ready; the search itself is not
changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key")
_RUNS = 8
"""So often the search is run for each candidate that is wanted: branches may meet in the same one."""


class _AskedError(Exception, Generic[Key]):
    """Inside of a search on assumed answers: it asks for what is not assumed."""

    def __init__(self, key: Key) -> None:
        super().__init__()
        self.key = key


def upcoming(search: Callable[[Callable[[Key], bool]], object], known: Mapping[Key, bool], count: int) -> list[Key]:
    """Up to `count` candidates: the next one, then those after it, each for either answer, the nearest first.

    search: runs on a function candidate → whether it is acceptable. known: the answers so far.
    """
    found: dict[Key, None] = {}
    assumptions: deque[dict[Key, bool]] = deque([dict(known)])
    for _ in range(_RUNS * count):
        if not assumptions or len(found) >= count:
            break
        assumed = assumptions.popleft()
        key = _next(search, assumed)
        if key is not None:
            found[key] = None
            assumptions += ({**assumed, key: True}, {**assumed, key: False})
    return list(found)


def _next(search: Callable[[Callable[[Key], bool]], object], known: Mapping[Key, bool]) -> Key | None:
    """None where the search comes to its end."""

    def answer(key: Key) -> bool:
        if key not in known:
            raise _AskedError(key)
        return known[key]

    try:
        search(answer)
    except _AskedError as asked:
        found: Key = asked.key
        return found
    return None
