"""What Reshapes and Transposes do to the axes of a tensor: several of them as one move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Move:
    """A Reshape to `apart`, a Transpose by `perm`, and a Reshape to what is wanted."""

    apart: tuple[int, ...]
    perm: tuple[int, ...]

    @property
    def block(self) -> int:
        """So many neighbours stay together."""
        last = len(self.perm) - 1
        return self.apart[last] if self.perm and self.perm[last] == last else 1


class Axes:
    """A tensor of known sizes on its way through Reshapes and Transposes, its axes cut as finely as these need it.

    Parts are numbers of `_sizes`; `_before` are those of each axis of the tensor that came in, `_now` of what became of it.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = list(sizes)
        self._before = [[axis] for axis in range(len(sizes))]
        self._now = [[axis] for axis in range(len(sizes))]

    def transpose(self, perm: Sequence[int] | None) -> None:
        """None: in reverse."""
        self._now = [self._now[axis] for axis in perm or range(len(self._now))[::-1]]

    def reshape(self, sizes: Sequence[int]) -> bool:
        """Whether the axes can be cut and joined to these sizes (all > 0, as many values in all)."""
        parts = [part for axis in self._now for part in axis if self._sizes[part] > 1]
        joined: list[list[int]] = []
        for size in sizes:
            axis: list[int] = []
            while size > 1 and parts:
                part = parts.pop(0)
                if size % self._sizes[part]:
                    if self._sizes[part] % size:
                        return False
                    parts.insert(0, self._cut(part, size))
                axis.append(part)
                size //= self._sizes[part]
            joined.append(axis)
        self._now = joined
        return True

    def _cut(self, part: int, size: int) -> int:
        """Leave the first `size` of `part`; a new part for what is inside each of these."""
        inner = len(self._sizes)
        self._sizes.append(self._sizes[part] // size)
        self._sizes[part] = size
        for axis in self._before:
            if part in axis:
                axis.insert(axis.index(part) + 1, inner)
        return inner

    def move(self, front: Sequence[int], behind: Sequence[int]) -> Move:
        """What leads from one to the other, where the axes lie in the orders `front` before and `behind` now."""
        source = self._parts(self._before, front)
        target = self._parts(self._now, behind)
        runs: list[list[int]] = []
        for part in target:
            if runs and source.index(runs[-1][-1]) + 1 == source.index(part):
                runs[-1].append(part)
            else:
                runs.append([part])
        ordered = sorted(runs, key=lambda run: source.index(run[0]))
        return Move(tuple(prod(self._sizes[part] for part in run) for run in ordered), tuple(map(ordered.index, runs)))

    def _parts(self, axes: list[list[int]], order: Sequence[int]) -> list[int]:
        return [part for axis in order for part in axes[axis] if self._sizes[part] > 1]
