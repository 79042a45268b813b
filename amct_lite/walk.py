"""Running a model piece by piece, from one tensor to the next, so that each piece may depend on what came before it.

All pieces together cost one inference pass over the samples. What a later piece reads is held for each sample, and let go
after its last reader.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from amct_lite import ir
from amct_lite.runtime import RuntimeOptions, apart, open_session
from amct_lite.types import AnyArray, Feeds

Change = Callable[[ir.Model], ir.Model]


class Walk:
    """From cut to cut of `model`: `cuts` are names of tensors, each behind those that it is computed from."""

    def __init__(self, model: ir.Model, cuts: Sequence[str], data: Sequence[Feeds], options: RuntimeOptions) -> None:
        self._model = model
        self._cuts = cuts
        self._options = options
        self._reads = [_reads(self._piece(number)) for number in range(len(cuts))]
        self._last_reader = {name: number for number, names in enumerate(self._reads) for name in names}
        self._values = [dict(feeds) for feeds in data]

    def run(self, number: int, change: Change = lambda piece: piece) -> list[AnyArray]:
        """The value at cut `number` for each sample. change: what is done to the piece in front of the cut first."""
        reads = self._reads[number]
        session = open_session(change(self._piece(number)), self._options)
        results = [apart(session.run_inside({name: values[name] for name in reads})[0]) for values in self._values]
        for values in self._values:
            for name in [name for name in values if self._last_reader.get(name, -1) <= number]:
                del values[name]
        return results

    def go_on(self, number: int, change: Change = lambda piece: piece) -> list[AnyArray]:
        """As `run`; the pieces behind continue from what it gives."""
        results = self.run(number, change)
        self.keep(number, results)
        return results

    def held(self, name: str) -> list[AnyArray]:
        """The value of a graph input or cut that some later piece reads, for each sample."""
        return [values[name] for values in self._values]

    def keep(self, number: int, arrays: Sequence[AnyArray]) -> None:
        """Let the pieces after `number` continue from `arrays`."""
        if self._last_reader.get(self._cuts[number], -1) > number:
            for values, array in zip(self._values, arrays, strict=True):
                values[self._cuts[number]] = array

    def _piece(self, number: int) -> ir.Model:
        return ir.extract(self._model, [self._cuts[number]], self._cuts[:number])


def _reads(piece: ir.Model) -> tuple[str, ...]:
    return tuple(str(value.name) for value in piece.graph.inputs)
