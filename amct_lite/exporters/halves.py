"""Single layers in float16: Casts in front of them and behind, their constants rounded. The rest computes as before."""

from __future__ import annotations

from collections.abc import Collection

from amct_lite import ir
from amct_lite.errors import ExportError
from amct_lite.exporters.narrow import rewrite
from amct_lite.ops import Layer, bind


def in_half(model: ir.Model, layers: Collection[str]) -> ir.Model:
    """A copy of `model` (prepared) in which these layers, with the Add of their bias, compute in float16; inputs and outputs of
    the model keep their types. `model` itself where there are none.

    Raises ExportError where a constant does not fit into float16.
    """
    if not layers:
        return model
    result = ir.clone(model)
    ir.infer_shapes(result)
    nodes = {node for node in result.graph if node.name in layers}
    for node in tuple(nodes):
        layer = bind(node)
        if isinstance(layer, Layer) and layer.bias_node is not None:
            nodes.add(layer.bias_node)
    for node in nodes:
        for value in node.outputs:
            if value.is_graph_output() and value.dtype == ir.DataType.FLOAT:
                _hand_out(value)
    try:
        rewrite(result, lambda node: node in nodes)
    except ExportError as error:
        raise ExportError(f"{error}. Take the layer that reads it out of float16, so that it computes in float32.") from error
    return result


def _hand_out(value: ir.Value) -> None:
    """A Cast takes over the name of an output of the graph, which stays float32."""
    graph, name = value.graph, str(value.name)
    assert graph is not None
    value.name = ir.unique_name(graph, f"{name}.computed")
    cast = ir.new_node("Cast", [value], name=f"{value.name}.cast", attributes={"to": int(ir.DataType.FLOAT)}, outputs=[name])
    producer = value.producer()
    assert producer is not None, "it is the result of a layer"
    ir.insert_after(producer, cast)
    result = cast.outputs[0]
    result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
    ir.replace_output(graph, value, result)
