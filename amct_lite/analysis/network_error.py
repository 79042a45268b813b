"""What quantizing one layer alone does to the outputs of the network, measured: for each layer and each of its variants.

The float network is cut into pieces and run once, which leaves the tensors between them. In the piece of a layer its variants
are computed beside it; from there on the rest of the piece and the pieces behind it are run, as long as anything differs. So
the part in front of a layer is never repeated, and a session is opened once, whatever the number of batches and variants.

In memory: sessions for about four times the weights, and once more for each variant of a layer; of the tensors between the
pieces, and of the variants in one piece, one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from amct_lite import ir
from amct_lite.analysis.figures import MetricFunction, Sums, compare
from amct_lite.analysis.pieces import Network, Piece, Tensors, cut, extract_open
from amct_lite.analysis.variants import Variant, with_variants
from amct_lite.calibration.tame import batch_size
from amct_lite.errors import DataError
from amct_lite.ops import Layer, bind
from amct_lite.runtime import RuntimeOptions, Session, open_session
from amct_lite.types import AnyArray, Feeds


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
    session = open_session(with_variants(model, variants), options)
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
        self._model = model
        self._metric = metric
        self._options = options
        names = {variant.layer for variant in variants}
        self.network = Network(model, cut(model, names), options)
        self._variants = [[v for v in variants if v.layer in piece.layers] for piece in self.network.pieces]
        self._beside: dict[int, Session] = {}
        self._rests: dict[str, _Rest] = {}

    @property
    def effort(self) -> dict[Variant, int]:
        """Variant → how many pieces it takes."""
        count = len(self.network.pieces)
        return {variant: count - number for number, found in enumerate(self._variants) for variant in found}

    def measure(self, feeds: Feeds, wanted: Collection[Variant]) -> Iterator[list[tuple[Variant, Measured]]]:
        """What one batch gives for the variants that are `wanted`, piece by piece."""
        exact = self.network.run(feeds)
        samples = batch_size(feeds)
        for number, piece in enumerate(self.network.pieces):
            variants = [variant for variant in self._variants[number] if variant in wanted]
            if not variants:
                continue
            sums, outputs = self._beside_layers(number, piece, exact)
            yield [
                (variant, Measured(sums[variant], *self._effect(number, piece, variant, outputs[variant], exact), samples))
                for variant in variants
            ]

    def _beside_layers(self, number: int, piece: Piece, exact: Tensors) -> tuple[dict[Variant, Sums], dict[Variant, AnyArray]]:
        variants = self._variants[number]
        if number not in self._beside:
            self._beside[number] = open_session(with_variants(piece.model, variants), self._options)
        session = self._beside[number]
        sums, *outputs = session.run({name: exact[name] for name in session.input_names})
        rows = (Sums(*row) for row in sums.astype(np.float64).reshape(-1, 4).tolist())
        return dict(zip(variants, rows, strict=True)), dict(zip(variants, outputs, strict=True))

    def _effect(
        self, number: int, piece: Piece, variant: Variant, output: AnyArray, exact: Tensors
    ) -> tuple[dict[str, Sums], float]:
        """At the outputs of the network, and the user's metric."""
        if variant.layer not in self._rests:
            given = {name for earlier in self.network.pieces[:number] for name in earlier.gives}
            self._rests[variant.layer] = _Rest(self._model, piece, variant.layer, given, self._options)
        changed = self._rests[variant.layer].run(output, exact)
        disturbed = self.network.follow(exact, changed, number + 1)
        reference = {name: exact[name] for name in disturbed}
        outputs = {name: compare(reference[name], array) for name, array in disturbed.items() if array.dtype.kind == "f"}
        return outputs, 0.0 if self._metric is None else _checked(self._metric(reference, disturbed), variant)


class _Rest:
    """What a piece computes behind one of its layers."""

    def __init__(self, model: ir.Model, piece: Piece, layer: str, given: set[str], options: RuntimeOptions) -> None:
        node = next(node for node in piece.model.graph if node.name == layer)
        bound = bind(node)
        assert isinstance(bound, Layer), "a layer is one in its piece, too"
        self._output = str(bound.output.name)
        self._gives = _depending(piece, self._output)
        self._session: Session | None = None
        if behind := [name for name in self._gives if name != self._output]:
            self._session = open_session(extract_open(model, behind, {*given, self._output}), options)

    def run(self, output: AnyArray, exact: Tensors) -> Tensors:
        """What the piece gives when the layer gives `output`."""
        changed = {self._output: output} if self._output in self._gives else {}
        if self._session is not None:
            values = {**exact, self._output: output}
            results = self._session.run({name: values[name] for name in self._session.input_names})
            changed.update(zip(self._session.output_names, results, strict=True))
        return changed


def _depending(piece: Piece, name: str) -> list[str]:
    """What the piece gives that depends on the value `name`."""
    reached = {name}
    for node in piece.model.graph:
        if any(value.name in reached for value in ir.reads(node)):
            reached.update(str(value.name) for value in node.outputs)
    return [given for given in piece.gives if given in reached]


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
