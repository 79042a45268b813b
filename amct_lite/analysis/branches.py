"""A piece of a network with its layers' variants, each followed to the end of the piece, in one graph.

What a variant does not reach is computed once for all of them, and weights are there once: a branch costs what lies behind
its layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from amct_lite import ir
from amct_lite.analysis.figures import Sums
from amct_lite.analysis.pieces import Piece, Tensors
from amct_lite.analysis.variants import Variant, alone, write_variants
from amct_lite.runtime import RuntimeOptions, open_session


class Branches:
    """Of `piece`, ready to run; `variants` are those of its layers."""

    def __init__(self, piece: Piece, variants: Sequence[Variant], options: RuntimeOptions) -> None:
        model, self._sums, self._changed = _branched(piece, variants)
        self._variants = tuple(variants)
        self._gives = piece.gives
        self._session = open_session(model, alone(options))

    def run(self, tensors: Mapping[str, np.ndarray]) -> tuple[Tensors, dict[Variant, Sums], dict[Variant, Tensors]]:
        """What the piece gives; for each variant the error at its layer's output, and what the piece gives with it where that
        depends on it."""
        results = self._session.run_inside({name: tensors[name] for name in self._session.input_names})
        found = dict(zip(self._session.output_names, results, strict=True))
        rows = found[self._sums].astype(np.float64).reshape(-1, 4).tolist()
        return (
            {name: found[name] for name in self._gives},
            {variant: Sums(*row) for variant, row in zip(self._variants, rows, strict=True)},
            {
                variant: {name: found[output] for name, output in changed.items()}
                for variant, changed in zip(self._variants, self._changed, strict=True)
            },
        )


def _branched(piece: Piece, variants: Sequence[Variant]) -> tuple[ir.Model, str, list[dict[str, str]]]:
    """The graph, the name of its sums, and for each variant what it changes: name → output that has it instead."""
    model = ir.clone(piece.model)
    nodes = [(node, ir.reads(node)) for node in model.graph]
    written = write_variants(model, variants)
    changed = []
    outputs = [written.sums, *model.graph.outputs]
    for number, own in enumerate(written.replaced):
        replaced = _follow(nodes, own, f".branch{number}")
        branch = {str(value.name): replaced[value] for value in model.graph.outputs if value in replaced}
        outputs += branch.values()
        changed.append({name: str(value.name) for name, value in branch.items()})
    model.graph.outputs.clear()
    model.graph.outputs.extend(outputs)
    ir.remove_unused(model)
    return model, str(written.sums.name), changed


def _follow(
    nodes: Sequence[tuple[ir.Node, Sequence[ir.Value]]], own: Mapping[ir.Value, ir.Value], suffix: str
) -> dict[ir.Value, ir.Value]:
    """Everything that is computed from the keys of `own` → the same computed from its values. nodes: with what they read."""
    replaced = dict(own)
    for node, reads in nodes:
        if not replaced.keys().isdisjoint(reads):
            copy = ir.copy_node(node, suffix, replaced)
            replaced.update(zip(node.outputs, copy.outputs, strict=True))
    return replaced
