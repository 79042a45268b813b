"""Tensors between the layers of which rounding would leave too little stay float: the sketches show it beforehand."""

from __future__ import annotations

from dataclasses import replace

from amct_lite import ir
from amct_lite.decide import Sketches, activation_qparams, sketch_of
from amct_lite.flow.reads import narrowed_flow
from amct_lite.numerics.rounding import vanishing_share
from amct_lite.plan import ORT
from amct_lite.types import QuantPlan, Skip

MOST_VANISHING = 0.5
"""On the corpus at most a sixth of a tensor between layers vanishes. In the squares of a LayerNorm or in a power spectrum, with
a few huge values beside many small ones, nearly everything does, and what follows is ruined."""


def spare(plan: QuantPlan, model: ir.Model, sketches: Sketches) -> QuantPlan:
    """`plan` without the reads of tensors that 8 bits cannot hold, which become skips. What layers read is not touched."""
    if plan.target != ORT:
        return plan
    tensors = {read.tensor.name: read.tensor for read in plan.reads if read.passed_on}
    ranges = {name: activation_qparams(tensor, sketches) for name, tensor in tensors.items()}  # says what the sketches lack
    shares = {name: vanishing_share(sketch_of(tensor, sketches), ranges[name]) for name, tensor in tensors.items()}
    lost = {name: share for name, share in shares.items() if share > MOST_VANISHING}
    if not lost:
        return plan
    narrowed = narrowed_flow(plan, model, lost)
    kept = {read.key for read in narrowed.reads}
    spared = tuple(
        Skip(read.key, read.op_type, _reason(lost.get(read.tensor.name))) for read in plan.reads if read.key not in kept
    )
    return replace(narrowed, skips=(*narrowed.skips, *spared))


def _reason(share: float | None) -> str:
    if share is None:
        return "the integers would come from, or go to, a tensor that stays float"
    return f"8 bits would turn {100 * share:.0f} % of its values into zero: it is passed on as float"
