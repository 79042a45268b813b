"""What quantizing one layer alone does to the outputs of the network, measured: for each layer and each of its variants.

The float network is cut into pieces and run once. In the piece of a layer its variants branch off beside it; each then passes
the pieces behind that one, as long as anything differs. So the part in front of a layer is never repeated, and a session is
opened once, whatever the number of batches and variants.

In memory: sessions for about twice the weights, and once more for each variant of a layer (or, where that is much, in files);
for one batch the tensors at one border, of each variant.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from amct_lite import ir
from amct_lite.analysis.branches import Branches
from amct_lite.analysis.figures import MetricFunction, Sums, compare
from amct_lite.analysis.pieces import Network, Piece, Tensors, cut, differing, layers_a_piece
from amct_lite.analysis.variants import Variant, alone, with_variants
from amct_lite.calibration.tame import batch_size
from amct_lite.errors import DataError
from amct_lite.runtime import RuntimeOptions, beside_others, open_session
from amct_lite.types import Feeds


@dataclass(frozen=True)
class Measured:
    """Of one variant, in all batches added so far. local: at the layer's own output; outputs: at each float output of the
    network. custom: the user's metric, the mean over all samples (a batch counts as each of its samples)."""

    local: Sums = field(default_factory=Sums)
    outputs: Mapping[str, Sums] = field(default_factory=dict)
    custom: float = 0.0
    samples: int = 0

    def __add__(self, other: Measured) -> Measured:
        outputs = {name: self.outputs.get(name, Sums()) + other.outputs[name] for name in other.outputs}
        samples = self.samples + other.samples
        custom = (self.custom * self.samples + other.custom * other.samples) / samples
        return Measured(self.local + other.local, outputs, custom, samples)


def measure_local(
    model: ir.Model, variants: Sequence[Variant], feeds: Iterable[Feeds], options: RuntimeOptions, tell: Callable[[int], None]
) -> dict[Variant, Sums]:
    """The error at each layer's own output, for all variants in one pass. tell: called with 1 after each batch."""
    session = open_session(with_variants(model, variants), alone(beside_others(options, model)))
    total = np.zeros((len(variants), 4))
    for batch in feeds:
        (values,) = session.run({name: batch[name] for name in session.input_names}, session.output_names[:1])
        total += values.reshape(total.shape)
        tell(1)
    return {variant: Sums(*row) for variant, row in zip(variants, total.tolist(), strict=True)}


class NetworkError:
    """Measures variants of the layers of `model` (prepared) on one batch after the other.

    metric: the user's, called with the outputs of each variant; None for none.
    """

    def __init__(
        self, model: ir.Model, variants: Sequence[Variant], metric: MetricFunction | None, options: RuntimeOptions
    ) -> None:
        self._metric = metric
        self._options = beside_others(options, model)
        layers = {variant.layer for variant in variants}
        fewest = layers_a_piece(model.graph.num_nodes(), len(layers), len(variants))
        self.network = Network(model, cut(model, layers, fewest), self._options)
        self.variants = tuple(variants)
        self._variants = [[v for v in variants if v.layer in piece.layers] for piece in self.network.pieces]
        self._branches: dict[int, Branches] = {}

    @property
    def steps(self) -> int:
        """How often `measure` tells for one batch."""
        count = len(self.network.pieces)
        return sum((count - number) * len(found) for number, found in enumerate(self._variants))

    def measure(self, feeds: Feeds, tell: Callable[[int], None] = lambda _done: None) -> dict[Variant, Measured]:
        """What one batch gives for each variant. tell: called with the number of variants that have passed one more piece."""
        exact: Tensors = dict(feeds)
        local: dict[Variant, Sums] = {}
        changed: dict[Variant, Tensors] = {}
        for number, piece in enumerate(self.network.pieces):
            gives, sums, beside = self._through(number, piece, exact)
            exact |= gives
            needed = self.network.read_behind(number)
            for tensors in changed.values():
                if not tensors.keys().isdisjoint(piece.reads):
                    tensors |= differing(self.network.run(piece, {**exact, **tensors}), exact)
                _keep(tensors, needed)
                tell(1)
            changed |= {variant: differing(tensors, exact) for variant, tensors in beside.items()}
            local |= sums
            tell(len(beside))
            _keep(exact, needed)
        return {variant: self._measured(variant, local[variant], exact, changed[variant], feeds) for variant in self.variants}

    def _through(
        self, number: int, piece: Piece, exact: Tensors
    ) -> tuple[Tensors, Mapping[Variant, Sums], Mapping[Variant, Tensors]]:
        """A piece with the variants of its layers."""
        variants = self._variants[number]
        if not variants:
            return self.network.run(piece, exact), {}, {}
        if number not in self._branches:
            self._branches[number] = Branches(piece, variants, self._options)
        return self._branches[number].run(exact)

    def _measured(self, variant: Variant, local: Sums, exact: Tensors, changed: Tensors, feeds: Feeds) -> Measured:
        reference = {name: exact[name] for name in self.network.outputs}
        disturbed = {name: changed.get(name, array) for name, array in reference.items()}
        outputs = {name: compare(reference[name], array) for name, array in disturbed.items() if array.dtype.kind == "f"}
        custom = 0.0 if self._metric is None else _checked(self._metric(reference, disturbed), variant)
        return Measured(local, outputs, custom, batch_size(feeds))


def _keep(tensors: Tensors, names: Collection[str]) -> None:
    for name in tensors.keys() - names:
        del tensors[name]


def _checked(damage: object, variant: Variant) -> float:
    try:
        number = float(damage)  # type: ignore[arg-type]  # or TypeError; numpy's and torch's scalars are numbers too
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise DataError(
            f"the metric returned {damage!r} for {variant.layer} as {variant.candidate}; it must return a finite number, "
            "0 where the outputs are the same. Correct the metric."
        )
    return number
