"""Whether a configuration is one for this model: what it names is there, and the shapes it gives agree with the model's."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from amct_lite import ir
from amct_lite.config import QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.observers import make_observer
from amct_lite.ops import OPS
from amct_lite.passes.gone import not_there_any_more
from amct_lite.passes.take_apart import whole_of
from amct_lite.registry import did_you_mean, pattern_meant
from amct_lite.types import Gone
from amct_lite.weights import make_weight_quantizer


def require_known_names(config: QuantConfig, model: ir.Model, gone: Sequence[Gone] = ()) -> None:
    """Raises ConfigError, with all problems at once, for names, patterns, operator types and methods of `config` that do not
    exist. gone: what preparing took away of the user's model."""
    problems = unknown_names(config, config.layer_patterns, model, gone)
    for use in config.algorithms():
        problems += _problem(use.place, partial(make_observer, use.name, use.options))
    for use in config.weight_algorithms():
        problems += _problem(use.place, partial(make_weight_quantizer, use.name, use.options))
    if problems:
        raise ConfigError("\n".join(problems))


def unknown_names(config: QuantConfig, patterns: Iterable[str], model: ir.Model, gone: Sequence[Gone] = ()) -> list[str]:
    """What to say of each of `patterns` of `config` that is no node, pattern or operator type of `model`."""
    wholes = [whole for node in model.graph if (whole := whole_of(node)) is not None]
    nodes = [*wholes, *((str(node.name), node.op_type) for node in model.graph.all_nodes())]
    names = [name for name, _ in nodes]
    known = {*names, *(op_type for _, op_type in nodes), *OPS.names()}
    return [
        f"{config.place_of(pattern)}: {_missing(pattern, names, known, gone)}"
        for pattern in patterns
        if pattern not in known and not any(fnmatch.fnmatchcase(name, pattern) for name in names)
    ]


def _missing(pattern: str, names: Sequence[str], known: Iterable[str], gone: Iterable[Gone]) -> str:
    if sentence := not_there_any_more(pattern, gone):
        return sentence
    hint = pattern_meant(pattern, names) or did_you_mean(pattern, known)
    return f"{pattern!r} is no node, pattern or operator type of the model{hint}. `amct-lite inspect` lists the names."


def _problem(place: str, make: Callable[[], object]) -> list[str]:
    try:
        make()
    except ConfigError as error:
        return [f"{place}: {error}"]
    return []


def require_input_shapes(config: QuantConfig, model: ir.Model) -> None:
    """Raises ConfigError when an input shape of `config` names no input, or contradicts what the model says of it."""
    declared = {str(value.name): ir.dims_of(value) for value in model.graph.inputs}
    known = ", ".join(f"{name} ({_dims(dims)})" for name, dims in declared.items())
    problems = []
    for name, wanted in config.input_shapes.items():
        dims = declared.get(name)
        if name not in declared:
            problems.append(f"input shape {name!r}: the model has no such input{did_you_mean(name, declared)}. It has {known}.")
        elif not ir.shape_fits(wanted, dims):
            problems.append(f"input shape {name!r}: ({_dims(wanted)}) does not fit the model, which says ({_dims(dims)}).")
    if problems:
        raise ConfigError("\n".join(problems))


def _dims(dims: tuple[int | str | None, ...] | None) -> str:
    return "of unknown rank" if dims is None else ", ".join("?" if d is None else str(d) for d in dims)
