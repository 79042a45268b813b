"""The smallest part of a network that still fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx

Fails = Callable[[onnx.ModelProto], bool]


def shrink(model: onnx.ModelProto, fails: Fails) -> onnx.ModelProto:
    """`model` without all outputs and nodes that can be left out while `fails` says yes."""
    smallest = _cleaned(model)
    while (smaller := next((found for found in _smaller(smallest) if _still(found, fails)), None)) is not None:
        smallest = smaller
    return smallest


def _still(model: onnx.ModelProto, fails: Fails) -> bool:
    try:
        onnx.checker.check_model(model, full_check=True)
        return fails(model)
    except Exception:  # no model any more
        return False


def _smaller(model: onnx.ModelProto) -> Iterator[onnx.ModelProto]:
    """With one output less, with the tensor in front of it as output, or with a node's first input in place of its output."""
    outputs = [value.name for value in model.graph.output]
    if len(outputs) > 1:
        for name in outputs:
            yield _with_outputs(model, [name])
            yield _with_outputs(model, [other for other in outputs if other != name])
    if len(outputs) == 1:
        for node in model.graph.node:
            for name in node.output:
                if name and name != outputs[0]:
                    yield _with_outputs(model, [name])
    constants = {"", *(tensor.name for tensor in model.graph.initializer)}
    constants |= {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    for index, node in enumerate(model.graph.node):
        for source in node.input:
            if source not in constants:
                yield _without(model, index, source)


def _with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.output[:]
    made.graph.output.extend(_typed(model, name) for name in names)
    return _cleaned(made)


def _without(model: onnx.ModelProto, index: int, source: str) -> onnx.ModelProto:
    """The node at `index` left out: its readers read `source`."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    gone = made.graph.node[index].output[0]
    if any(value.name == gone for value in made.graph.output):
        del made.graph.output[:]
        made.graph.output.extend(_typed(model, source if value.name == gone else value.name) for value in model.graph.output)
    del made.graph.node[index]
    for node in made.graph.node:
        for position, name in enumerate(node.input):
            if name == gone:
                node.input[position] = source
    return _cleaned(made)


def _typed(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    graph = onnx.shape_inference.infer_shapes(model).graph
    return next(value for value in (*graph.output, *graph.value_info, *graph.input) if value.name == name)


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without what nothing that is left reads. The inputs stay, as the feeds have them."""
    graph = model.graph
    del graph.value_info[:]
    wanted = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= {*node.input, *(name for body in _bodies(node) for inner in body.node for name in inner.input)}
    kept.reverse()
    stored = [tensor for tensor in graph.initializer if tensor.name in wanted]
    given = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in given or value.name in wanted]
    made = onnx.helper.make_graph(kept, graph.name, inputs, list(graph.output), stored)
    return onnx.helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version)


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH]
