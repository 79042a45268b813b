"""`<prefix>_quant.json`: which original nodes each node of the deploy model stands for, for accuracy-comparison tools."""

from __future__ import annotations

import json
from collections.abc import Mapping

from amct_lite import ir
from amct_lite.balance.graph import FACTOR
from amct_lite.loading import SourceModel

Names = Mapping[str, tuple[str, ...]]
"""Node → the nodes of the user's model that it was made of, where that is more than itself."""

_ADDED = frozenset({"AscendQuant", "AscendAntiQuant"})
"""Operators that stand for no node of the user's model; an AscendDequant stands for the layer in front of it."""


def original_names(source: SourceModel) -> Names:
    """Layers that took in normalizations: a BatchNormalization behind a layer, or in front of it, that is there no more."""
    kept = {str(node.name) for node in source.prepared.graph}
    names: dict[str, tuple[str, ...]] = {}
    for node in source.original.graph:
        if str(node.name) in kept:
            before = _gone(_producer(node), kept)
            chain = [*(before,) * bool(before), str(node.name)]
            behind = _sole_reader(node)
            while (name := _gone(behind, kept)) and behind is not None:
                chain.append(name)
                behind = _sole_reader(behind)
            if len(chain) > 1:
                names[str(node.name)] = tuple(chain)
    return names


def _gone(node: ir.Node | None, kept: set[str]) -> str:
    folded = node is not None and node.op_type == "BatchNormalization" and str(node.name) not in kept
    return str(node.name) if node is not None and folded else ""


def _producer(node: ir.Node) -> ir.Node | None:
    """Of the data, where that is read by this node alone."""
    source = node.inputs[0] if node.inputs else None
    maker = None if source is None else source.producer()
    return maker if maker is not None and _sole_reader(maker) is node and not _follows_a_layer(maker) else None


def _follows_a_layer(norm: ir.Node) -> bool:
    source = norm.inputs[0] if norm.inputs else None
    maker = None if source is None else source.producer()
    return maker is not None and maker.op_type in {"Conv", "ConvTranspose", "Gemm"}


def _sole_reader(node: ir.Node) -> ir.Node | None:
    readers = ir.uses(node.outputs[0])
    return readers[0].node if len(readers) == 1 else None


def quant_json(deploy: ir.Model, names: Names, title: str) -> str:
    """The file's text; a node that stands for itself is listed with its own name."""
    operators = [_operator(node, names) for node in deploy.graph if node.op_type != "Constant"]
    return json.dumps({"name": title, "graph": [{"op": operators}]}, indent=2) + "\n"


def _operator(node: ir.Node, names: Names) -> dict[str, object]:
    name = str(node.name)
    layer = name.removesuffix(".dequant") if node.op_type == "AscendDequant" else name
    originals = [] if node.op_type in _ADDED or _balances(node) else list(names.get(layer, (layer,)))
    return {
        "name": name,
        "type": node.op_type,
        "attr": [
            {"key": "_datadump_original_op_names", "value": {"list": {"val_type": 1, "s": originals}}},
        ],
        "output_desc": [{"attr": _output(originals[-1] if originals else "", index)} for index in range(len(node.outputs))],
    }


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
