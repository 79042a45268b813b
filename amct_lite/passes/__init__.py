"""Preparing a model: graph → graph, one file a pass, in one explicit order.

A pass is `run(model) -> PassReport`: it edits the main graph in place, changes nothing when run again, keeps the names
of the inputs and outputs of the model, and gives a Skip with a reason for each place it refuses. Bodies of If, Loop and
Scan are left as they are where they are not known to run, and what they capture keeps its meaning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from amct_lite import ir
from amct_lite.passes import (
    add_before_reshape,
    bound_parts,
    drop_subnormal,
    fold_batch_norm,
    fold_constants,
    fold_decomposed_batch_norm,
    fold_shapes,
    forget_wrong_shapes,
    infer_shapes,
    inline_functions,
    lift_constants,
    merge_matmul_bias,
    name_bounds,
    name_cast_types,
    normalize_gemm,
    remove_dead,
    remove_expand,
    remove_identity,
    round_down,
    spell_batch_norm,
    spell_einsum,
    take_apart,
    take_branches,
    unfuse,
    widen_float16,
)
from amct_lite.passes.fusion import resolved
from amct_lite.passes.gone import gone_in, operators
from amct_lite.types import FUSE_ALL, Fusion, Gone, PassReport

Pass = Callable[[ir.Model], PassReport]


def passes_with(fusion: Fusion) -> tuple[Pass, ...]:
    """All passes in their order; `fusion` (resolved) says which folds are left out, and whether operators are taken apart."""
    return (
        forget_wrong_shapes.run,  # before anybody asks for one
        inline_functions.run,  # before all that look at nodes, not at calls
        remove_dead.run,  # a dead reader would forbid folds
        round_down.run,  # before sizes are inferred, which some passes do
        unfuse.run,  # the others do not look at what is fused
        name_cast_types.run,  # makes constants of what is cast
        lift_constants.run,  # before all that ask whether an input is constant
        widen_float16.run,  # before computing: constants are to be folded in float32
        fold_constants.run,  # makes weights of what constant subgraphs compute
        fold_shapes.run,  # constants of its own, for which the passes behind look
        take_branches.run,  # sizes may decide
        infer_shapes.run,  # shapes are known best now; the next passes ask for types and ranks
        remove_identity.run,  # after folding: whether a Dropout or Pad does nothing may be a computed constant
        remove_expand.run,  # asks for shapes
        spell_einsum.run,  # asks for types
        name_bounds.run,  # asks for types, too
        *((take_apart.run,) if fusion.take_apart else ()),  # before the folds, which would take the parts that they know
        normalize_gemm.run,  # before the folds into Gemm, which then see plain weights and biases
        # before fold_batch_norm: Mul and Add behind a BatchNormalization go with it
        partial(fold_decomposed_batch_norm.run, fusion=fusion),
        partial(spell_batch_norm.run, fusion=fusion),  # of what no layer in front took, and before the layer behind may take it
        partial(fold_batch_norm.run, fusion=fusion),
        add_before_reshape.run,  # makes biases for the next
        merge_matmul_bias.run,
        bound_parts.run,  # behind the folds: what stood between a Concat and its bound may be gone
        drop_subnormal.run,  # behind the folds, whose products may be as small
        remove_dead.run,  # last: what the folds left behind
        infer_shapes.run,  # for all later stages
    )


@dataclass(frozen=True)
class Prepared:
    """A model ready to be planned and quantized, what was done to it, and what is gone of its nodes."""

    model: ir.Model
    reports: tuple[PassReport, ...]
    gone: tuple[Gone, ...]


def prepare(model: ir.Model, fusion: Fusion = FUSE_ALL) -> Prepared:
    """A prepared copy of `model`, which stays as it is.

    Raises UnsupportedModelError (see `widen_float16`), ConfigError for names in `fusion` that the model does not have.
    """
    copy = ir.clone(model)
    wanted = resolved(fusion, copy)
    reports: list[PassReport] = []
    gone: list[Gone] = []
    nodes = operators(copy)
    for run in passes_with(wanted):
        reports.append(run(copy))
        before, nodes = nodes, operators(copy)
        gone += gone_in(reports[-1].name, before, nodes)
    given = operators(model)
    return Prepared(copy, tuple(reports), tuple(node for node in gone if given.get(node.name) == node.op_type))
