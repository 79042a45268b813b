"""What flows as integers becomes part of the plan: a read for every input of a node between the layers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from amct_lite import ir
from amct_lite.flow.kernels import KERNELS, joins_channels
from amct_lite.flow.placement import Placement, place
from amct_lite.ops import Layer, bind
from amct_lite.types import QuantPlan, TensorPlan, TensorRead

MakeTensor = Callable[[ir.Node, ir.Value], TensorPlan | None]


def with_flow(plan: QuantPlan, model: ir.Model, make: MakeTensor) -> QuantPlan:
    """`plan` with a read for every tensor between its layers that ONNX Runtime can pass on as integers.

    make: how the tensor that a node reads is quantized, None for a node that is to stay out of it; a tensor that a layer reads
    is quantized as the layer says.
    """
    layers = taking(model, {layer.name for layer in plan.layers})
    out = {str(node.name) for node in model.graph for value in node.inputs if value is not None and make(node, value) is None}
    placement = place(model, layers, without=out)
    known = {tensor.name: tensor for tensor in plan.tensors}
    asked = {(read.node, read.index) for read in plan.reads}
    nodes = {str(node.name): node for node in model.graph}
    found: list[TensorRead] = []
    for name, index in placement.reads:
        value = nodes[name].inputs[index]
        tensor = make(nodes[name], value) if value is not None else None
        if tensor is not None and (name, index) not in asked:
            found.append(TensorRead(name, nodes[name].op_type, index, known.setdefault(tensor.name, tensor), passed_on=True))
    return _on_grids(replace(plan, reads=(*plan.reads, *found)), placement)


def narrowed_flow(plan: QuantPlan, model: ir.Model, left_out: Collection[str] = ()) -> QuantPlan:
    """`plan`, some layers of which may have been taken out, with those of its reads that still help: none of a tensor named
    in `left_out`, and none whose integers nobody hands on any more."""
    layers = taking(model, {layer.name for layer in plan.layers})
    reading = {read.node for read in plan.reads}
    out = {str(node.name) for node in model.graph if not _takes_part(node, reading)}
    placement = place(model, layers, left_out=left_out, without=out)
    kept = tuple(read for read in plan.reads if not read.passed_on or (read.node, read.index) in placement.reads)
    return _on_grids(replace(plan, reads=kept), placement)


def taking(model: ir.Model, layers: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Each of `layers`, by name, with the inputs that it takes integers by: none where its kernel rounds the data itself.
    Without tables: these give floats, and nothing is computed in front of them."""
    bound = [layer for node in model.graph if node.name in layers and isinstance(layer := bind(node), Layer)]
    return {layer.name: () if layer.recurrence is not None else layer.data for layer in bound if layer.data}


def _takes_part(node: ir.Node, reading: Collection[str]) -> bool:
    """Whether `node` reads integers: its own, or those that a Concat joins for it."""
    if node.name in reading:
        return True
    kernel = KERNELS.get(node.op_type)
    sources = [node.inputs[index] for index in kernel.indices(node)] if kernel is not None else []
    makers = [value.producer() for value in sources if value is not None]
    return bool(makers) and all(maker and joins_channels(maker) and _takes_part(maker, reading) for maker in makers)


def _on_grids(plan: QuantPlan, placement: Placement) -> QuantPlan:
    reaches = {gate.source: gate.reach for gate in placement.gates.values()}

    def placed(tensor: TensorPlan) -> TensorPlan:
        name = tensor.name
        grid, bounds = placement.grids.get(name, ()), placement.bounds.get(name)
        return replace(tensor, grid=grid, bounds=bounds, reach=reaches.get(name), gate=placement.gates.get(name))

    return replace(
        plan,
        layers=tuple(replace(layer, inputs=tuple(map(placed, layer.inputs))) for layer in plan.layers),
        reads=tuple(replace(read, tensor=placed(read.tensor)) for read in plan.reads),
    )
