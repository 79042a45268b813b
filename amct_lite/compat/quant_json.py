"""`<prefix>_quant.json`: which original nodes each node of the deploy model stands for, for accuracy-comparison tools."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping

from amct_lite import ir
from amct_lite.balance.graph import FACTOR
from amct_lite.loading import SourceModel
from amct_lite.passes.channel_affine import LAYERS

Names = Mapping[str, tuple[str, ...]]
"""Node → the nodes of the user's model that it was made of, where that is more than itself."""

_ADDED = frozenset({"AscendQuant", "AscendAntiQuant"})
"""Operators that stand for no node of the user's model; an AscendDequant stands for what is in front of it."""
_SCALINGS = frozenset({"Mul", "Div", "Add", "Sub", "Identity", "Dropout"})
_MAPS = _SCALINGS | {"BatchNormalization"}
_TAKES = {**dict.fromkeys(LAYERS, _MAPS), "BatchNormalization": _SCALINGS}
"""Operator → the operators behind it that can become part of it."""


def original_names(source: SourceModel) -> Names:
    """Layers, and normalizations that stayed, with what was folded into them from behind, or from in front."""
    kept = {str(node.name) for node in source.prepared.graph}
    names = {
        str(node.name): (str(node.name), *_taken_behind(node, kept))
        for node in source.original.graph
        if node.op_type in _TAKES and str(node.name) in kept
    }
    behind = {name for chain in names.values() for name in chain}
    for node in source.original.graph:
        if node.op_type == "Conv" and str(node.name) in kept:
            names[str(node.name)] = (*_taken_in_front(node, kept | behind), *names[str(node.name)])
    return {name: chain for name, chain in names.items() if len(chain) > 1}


def _taken_behind(node: ir.Node, kept: Container[str]) -> Iterator[str]:
    """The nodes that are there no more, each the only reader of the one before it."""
    taken = _TAKES[node.op_type]
    while (reader := _sole_reader(node)) is not None and reader.op_type in taken and str(reader.name) not in kept:
        yield str(reader.name)
        node = reader


def _taken_in_front(conv: ir.Node, elsewhere: Container[str]) -> tuple[str, ...]:
    """The nodes that are there no more, in their order. elsewhere: those that are, and those that another layer took."""
    chain: list[str] = []
    node = _producer(conv)
    while node is not None and node.op_type in _MAPS and str(node.name) not in elsewhere:
        chain.append(str(node.name))
        node = _producer(node)
    return tuple(reversed(chain))


def _producer(node: ir.Node) -> ir.Node | None:
    """Of the data, where that is read by this node alone."""
    makers = [maker for value in node.inputs if value is not None and (maker := value.producer()) is not None]
    makers = [maker for maker in makers if maker.op_type != "Constant"]
    return makers[0] if len(makers) == 1 and _sole_reader(makers[0]) is node else None


def _sole_reader(node: ir.Node) -> ir.Node | None:
    readers = ir.uses(node.outputs[0])
    return readers[0].node if len(readers) == 1 else None


def quant_json(deploy: ir.Model, names: Names, title: str) -> str:
    """The file's text; a node that stands for itself is listed with its own name."""
    operators = [_operator(node, names) for node in deploy.graph if node.op_type != "Constant"]
    return json.dumps({"name": title, "graph": [{"op": operators}]}, indent=2) + "\n"


def _operator(node: ir.Node, names: Names) -> dict[str, object]:
    name = str(node.name)
    stands_for = _layer_of(node) if node.op_type == "AscendDequant" else name
    originals = [] if node.op_type in _ADDED or _balances(node) else list(names.get(stands_for, (stands_for,)))
    return {
        "name": name,
        "type": node.op_type,
        "attr": [
            {"key": "_datadump_original_op_names", "value": {"list": {"val_type": 1, "s": originals}}},
        ],
        "output_desc": [
            {"attr": _output(originals[-1] if originals else "", index)}
            for index, value in enumerate(node.outputs)
            if value.name  # an optional output may be absent
        ],
    }


def _layer_of(dequant: ir.Node) -> str:
    """The node in front of it: a layer, or the Add of its bias."""
    value = dequant.inputs[0]
    maker = ir.producer_of(value)
    assert maker is not None, f"{dequant.name} reads a layer"
    return str(maker.name)


def _balances(node: ir.Node) -> bool:
    """Whether it is the Mul in front of a balanced layer, not one of the user's model."""
    names = [str(value.name) for value in node.inputs if value is not None]
    return node.op_type == "Mul" and f"{str(node.name).removesuffix('.mul')}.{FACTOR}" in names


def _output(origin: str, index: int) -> list[dict[str, object]]:
    return [
        {"key": "_datadump_origin_format", "value": {"s": "NCHW"}},
        {"key": "_datadump_data_type", "value": {"s": "DT_FLOAT"}},
        {"key": "_datadump_origin_output_index", "value": {"i": index}},
        {"key": "_datadump_origin_name", "value": {"s": origin}},
    ]
