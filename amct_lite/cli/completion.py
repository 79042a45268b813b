"""What the shell completes behind an option: the names that the package knows or that stand in the model or record of the same
command line, and files. Where there is no answer nothing is offered, and nothing is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from amct_lite.errors import AmctError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from amct_lite.record import LayerFacts

Names: TypeAlias = Callable[[click.Context], Iterable[str]]
Completer: TypeAlias = "Callable[[click.Context, click.Parameter, str], list[CompletionItem]]"


def paths(_ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """Files and folders, for an option that is not always the path of one."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(begun, type="file")]


def one_of(names: Names, *, or_file: bool = False) -> Completer:
    """One of the names, or a file where none begins like this."""

    def complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
        return _beginning(names(ctx), begun) or (paths(ctx, param, begun) if or_file else [])

    return complete


def list_of(names: Names) -> Completer:
    """Some of the names, with commas in between."""

    def complete(ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
        return _some(names(ctx), begun)

    return complete


def limits(ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """`LAYER=`, and behind it a list of widths."""
    layer, equals, widths = begun.rpartition("=")
    if not equals:
        return _beginning((f"{name}=" for name in _layers_of(ctx)), begun)
    return _some(width_names(ctx), widths, before=layer + equals)


def _some(names: Iterable[str], begun: str, *, before: str = "") -> list[CompletionItem]:
    head, comma, last = begun.rpartition(",")
    return _beginning(names, last, before=before + head + comma)


def _beginning(names: Iterable[str], begun: str, *, before: str = "") -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(before + name) for name in names if name.startswith(begun)]


def range_methods(_ctx: click.Context) -> Iterable[str]:
    """Of --algo."""
    from amct_lite.observers import OBSERVERS

    return OBSERVERS.names()


def weight_methods(_ctx: click.Context) -> Iterable[str]:
    """Of --weight-algo."""
    from amct_lite.weights import WEIGHT_QUANTIZERS

    return WEIGHT_QUANTIZERS.names()


def roundings(_ctx: click.Context) -> Iterable[str]:
    """Of a search's --rounding."""
    return (*weight_methods(_ctx), "none")


def rankings(_ctx: click.Context) -> Iterable[str]:
    """What auto calibration ranks layers by."""
    from amct_lite.analysis.ranking import SENSITIVITIES

    return SENSITIVITIES


def measures(_ctx: click.Context) -> Iterable[str]:
    """How a search measures losses."""
    from amct_lite.precision.losses import MEASURES

    return MEASURES


def damages(_ctx: click.Context) -> Iterable[str]:
    """What `sensitivity` ranks layers by."""
    from amct_lite.analysis.figures import METRICS

    return METRICS


def candidates(_ctx: click.Context) -> Iterable[str]:
    """How `sensitivity` quantizes layers."""
    from amct_lite.analysis.candidates import CUSTOMARY

    return (*CUSTOMARY, "all")


def width_names(_ctx: click.Context) -> Iterable[str]:
    """What layers choose from in a search."""
    from amct_lite.precision.widths import DEFAULT, FLOATS

    return (*DEFAULT, *FLOATS)


def providers(_ctx: click.Context) -> Iterable[str]:
    """Those of this installation of ONNX Runtime, by their short names."""
    from amct_lite.runtime import available_providers

    return available_providers()


def layers(ctx: click.Context) -> Iterable[str]:
    """Of MODEL, those that can be quantized, and their operators."""
    found = _layers_of(ctx)
    return (*found, *sorted(set(found.values())))


def tensors(ctx: click.Context) -> Iterable[str]:
    """Of MODEL, the inputs of float nodes that can be quantized on their own."""
    from amct_lite.record import mistake

    facts, layers = _facts(ctx), _layers_of(ctx)
    return (
        f"{name}:{index}"
        for name, fact in facts.items()
        for index in range(len(fact.reads.inputs))
        if not mistake(fact.reads, index, layers)
    )


def entries(ctx: click.Context) -> Iterable[str]:
    """The layers of RECORD."""
    from amct_lite.record import read_record

    with suppress(AmctError):
        return [layer.key for layer in read_record(_given(ctx, "record")).layers]
    return ()


def _layers_of(ctx: click.Context) -> Mapping[str, str]:
    """Layer → operator."""
    return {name: fact.op_type for name, fact in _facts(ctx).items() if fact.quantizable}


def _facts(ctx: click.Context) -> Mapping[str, LayerFacts]:
    """Of the nodes of the model that the command line has; of none where it has none, or one that cannot be read."""
    from amct_lite.loading import load_prepared
    from amct_lite.plan import layer_facts

    with suppress(AmctError):
        return layer_facts(ctx.params.get("target") or "ascend", load_prepared(_given(ctx, "model")).prepared)
    return {}


def _given(ctx: click.Context, name: str) -> Path:
    """The option called so, else the first argument: with an option at its end that has no value yet, click does not get as far
    as giving arguments their names."""
    return ctx.params.get(name) or Path(next(iter(ctx.args), ""))
