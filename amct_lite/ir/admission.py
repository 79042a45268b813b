"""What a model must be to be taken: looked up on the raw protobuf, before onnx-ir drops or repairs what is wrong.

Weights are not looked at. Every refusal says what is wrong, where, why, and what to do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

import onnx

from amct_lite.errors import UnsupportedModelError

MIN_OPSET = 7
_DEFAULT_DOMAINS = ("", "ai.onnx")


def admit(proto: onnx.ModelProto, what: str) -> tuple[str, ...]:
    """Check `proto`, called `what` in messages, and normalise its opset imports; returns notes for the user.

    Raises UnsupportedModelError.
    """
    _refuse_lossy(proto, what)
    _open_negative_sizes(proto)
    notes = _check_versions(proto, what)
    _check_graph(proto.graph, what, frozenset())
    for function in proto.functions:
        _check_function(function, f"function {function.domain}.{function.name} of {what}")
    _refuse_recursion(proto, what)
    return notes


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node carries as attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def nodes_from(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """`nodes`, each followed by those of the graphs that it carries."""
    for node in nodes:
        yield node
        for graph in subgraphs(node):
            yield from nodes_from(graph.node)


def is_sorted(graph: onnx.GraphProto) -> bool:
    """Whether every node, also those of subgraphs, stands behind the nodes of its own graph whose results it needs."""
    pending = {name for node in graph.node for name in node.output if name}
    for node in graph.node:
        if not pending.isdisjoint(_reads(node)) or not all(map(is_sorted, subgraphs(node))):
            return False
        pending.difference_update(node.output)
    return True


def _reads(node: onnx.NodeProto) -> set[str]:
    """Names that a node reads, also those that its subgraphs take from outside."""
    names = set(node.input)
    for graph in subgraphs(node):
        own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
        own.update(name for inner in graph.node for name in inner.output)
        names |= {name for inner in graph.node for name in _reads(inner)} - own
    return names


def _refuse_lossy(proto: onnx.ModelProto, what: str) -> None:
    """Refuse what onnx-ir would drop without a word."""
    if proto.training_info:
        raise UnsupportedModelError(
            f"{what} carries training_info, which would be lost. Export the model for inference, without training."
        )
    for graph in _graphs(proto):
        if graph.sparse_initializer:
            name = graph.sparse_initializer[0].values.name
            raise UnsupportedModelError(
                f"{what} stores the initializer {name!r} as a sparse tensor, which is not supported. "
                f"Export it with dense weights."
            )


def _refuse_recursion(proto: onnx.ModelProto, what: str) -> None:
    calls = {
        (function.domain, function.name): {(node.domain, node.op_type) for node in nodes_from(function.node)}
        for function in proto.functions
    }
    try:
        TopologicalSorter(calls).prepare()
    except CycleError as error:
        through = " → ".join(f"{domain}.{name}" for domain, name in error.args[1])
        raise UnsupportedModelError(
            f"{what} has a function that calls itself ({through}), which ONNX does not allow. Export the model again."
        ) from None


def _open_negative_sizes(proto: onnx.ModelProto) -> None:
    """Paddle's exporter and others write -1 for what they leave open, which ONNX Runtime, too, takes for that."""
    for graph in _graphs(proto):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_value < 0:
                    dim.ClearField("dim_value")


def _graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    pending = [proto.graph, *(g for function in proto.functions for node in function.node for g in subgraphs(node))]
    while pending:
        graph = pending.pop()
        yield graph
        pending.extend(g for node in graph.node for g in subgraphs(node))


def _check_versions(proto: onnx.ModelProto, what: str) -> tuple[str, ...]:
    if proto.ir_version > onnx.IR_VERSION:
        raise UnsupportedModelError(
            f"{what} has IR version {proto.ir_version}; the installed onnx {onnx.__version__} knows versions up to "
            f"{onnx.IR_VERSION}. Update onnx, or export the model for an older version."
        )
    for entry in proto.opset_import:
        entry.domain = "" if entry.domain in _DEFAULT_DOMAINS else entry.domain
    versions = [entry.version for entry in proto.opset_import if entry.domain == ""]
    if not versions:
        return _add_opset(proto, what)
    version, newest = versions[0], onnx.defs.onnx_opset_version()
    if version < MIN_OPSET:
        raise UnsupportedModelError(
            f"{what} has opset {version}; opsets from {MIN_OPSET} on are supported, since older ones broadcast "
            f"differently. Export the model again, or raise it with onnx.version_converter."
        )
    if version > newest:
        raise UnsupportedModelError(
            f"{what} has opset {version}; the installed onnx {onnx.__version__} knows opsets up to {newest}. "
            f"Update onnx and onnxruntime, or export the model for opset {newest} or older."
        )
    return ()


def _add_opset(proto: onnx.ModelProto, what: str) -> tuple[str, ...]:
    """A model of custom operators alone needs no default opset; edits do."""
    for graph in _graphs(proto):
        for node in graph.node:
            if node.domain in _DEFAULT_DOMAINS:
                raise UnsupportedModelError(
                    f"{what} does not say which opset it follows, but {_title(node)} belongs to one. Export it again."
                )
    proto.opset_import.add(domain="", version=17)
    return ("the model imports no ONNX opset (it has custom operators only); opset 17 is assumed for what is added",)


def _check_graph(graph: onnx.GraphProto, what: str, outer: Collection[str]) -> None:
    """Names: each defined once in its graph, and each that is read defined there or, for a subgraph, around it."""
    inputs = [value.name for value in graph.input]
    constants = [tensor.name for tensor in graph.initializer]
    _refuse_unnamed(constants, what)
    own = _once([*inputs, *(name for name in constants if name not in set(inputs))], what)
    _once(constants, what)
    _check_nodes(graph.node, own, what, outer)
    for value in graph.output:
        if value.name not in own:
            raise UnsupportedModelError(
                f"{what}: no node of graph {graph.name!r} produces its output {value.name!r}. Export the model again."
            )


def _check_nodes(nodes: Iterable[onnx.NodeProto], own: set[str], what: str, outer: Collection[str]) -> None:
    """Adds the results of `nodes` to `own`."""
    for node in nodes:
        for name in node.output:
            if name and name in own:
                raise UnsupportedModelError(
                    f"{what}: the value {name!r} is defined twice, the second time by {_title(node)}. Export the model again."
                )
            if name:
                own.add(name)
    visible = own if not outer else own.union(outer)
    for node in nodes:
        for name in node.input:
            if name and name not in visible:
                raise UnsupportedModelError(
                    f"{what}: {_title(node)} reads {name!r}, which nothing produces: no node, input or initializer "
                    f"has that name. The file is damaged or was cut out of a larger model; export it again."
                )
        for graph in subgraphs(node):
            _check_graph(graph, what, visible)


def _check_function(function: onnx.FunctionProto, what: str) -> None:
    own = _once(list(function.input), what)
    _check_nodes(function.node, own, what, frozenset())
    for name in function.output:
        if name not in own:
            raise UnsupportedModelError(f"{what} does not produce its output {name!r}. Export the model again.")


def _refuse_unnamed(names: Iterable[str], what: str) -> None:
    if "" in names:
        raise UnsupportedModelError(f"{what} has an initializer without a name, which nobody can read. Export it again.")


def _once(names: list[str], what: str) -> set[str]:
    found = set(names)
    if len(found) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UnsupportedModelError(f"{what}: the value {twice!r} is defined twice. Export the model again.")
    return found


def _title(node: onnx.NodeProto) -> str:
    return f"node {node.name!r} ({node.op_type})" if node.name else f"a {node.op_type} node without name"
