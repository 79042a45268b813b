"""What became of nodes that are no longer there, or another operator, when a model is prepared: for who names them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping

from amct_lite import ir
from amct_lite.types import Gone

_CONSTANT = "is computed beforehand, as it reads constants and fixed sizes alone: leave it out"
_FOLDED = "is folded into the layer beside it: name that layer, or keep both apart by skip_fusion in a configuration file"
_BECAME = {
    "inline_functions": "calls a function of the model: name the nodes of that, as `amct-lite inspect` does",
    "unfuse": "stands apart in operators of ONNX: name these, as `amct-lite inspect` does",
    "remove_dead": "gives nothing that the outputs need: leave it out",
    "lift_constants": "is a constant: leave it out",
    "fold_constants": _CONSTANT,
    "fold_shapes": _CONSTANT,
    "take_branches": "is an If of known condition: name the nodes of the branch that is taken, as `amct-lite inspect` does",
    "remove_identity": "hands its input on unchanged: leave it out",
    "remove_expand": "repeats what its readers repeat themselves: leave it out",
    "spell_einsum": "is a MatMul of that name: leave out its type, or name MatMul",
    "name_bounds": "is a Relu or Clip, of the name of the last of them: leave out its type, or name that",
    "add_before_reshape": "is the bias of the MatMul in front of it: name that",
    "spell_batch_norm": "is part of a BatchNormalization: name that, as `amct-lite inspect` does",
    "take_apart": "is part of a HardSigmoid, or of its product, for ONNX Runtime: name these, as `amct-lite inspect` does",
    "fold_decomposed_batch_norm": _FOLDED,
    "fold_batch_norm": _FOLDED,
    "bound_parts": "stands in front of the Concat or Transpose before it, in parts: name these, as `amct-lite inspect` does",
}
"""By the pass that takes nodes away."""
_OTHERWISE = "is put in other words: leave it out"


def operators(model: ir.Model) -> dict[str, str]:
    """Name → operator type of each node of the graph."""
    return {str(node.name): node.op_type for node in model.graph}


def gone_in(step: str, before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Gone, ...]:
    """What the pass `step` took away of the nodes `before` it."""
    became = _BECAME.get(step, _OTHERWISE)
    return tuple(Gone(name, op_type, became) for name, op_type in before.items() if after.get(name) != op_type)


def renamed(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Gone, ...]:
    """The nodes that have another operator type in a newer opset."""
    return tuple(
        Gone(name, op_type, f"is a {after[name]} in newer opsets, to which the model is raised: name that")
        for name, op_type in before.items()
        if name in after and after[name] != op_type
    )


def not_there_any_more(pattern: str, gone: Iterable[Gone]) -> str:
    """What to answer who names `pattern`; empty where it means none of `gone`."""
    became = what_became(pattern, gone)
    return f"{pattern!r} is not there any more when the model is prepared: {became}." if became else ""


def what_became(pattern: str, gone: Iterable[Gone]) -> str:
    """What to say of those of `gone` that `pattern` means, a name, pattern or operator type; empty where it means none."""
    meant: dict[str, list[str]] = {}
    for node in gone:
        if pattern in (node.name, node.op_type) or fnmatch.fnmatchcase(node.name, pattern):
            meant.setdefault(node.became, []).append(node.name)
    return "; ".join(
        f"{names[0]}{f' (the first of {len(names)})' if len(names) > 1 else ''} {became}" for became, names in meant.items()
    )
