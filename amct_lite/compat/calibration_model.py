"""The calibration model of AMCT's flow: bypass nodes in front of the layers, and behind each a node that calls Python.

    x → CalibrationNode → (bypass, values, low, high, mean, count)
    AmctCalibration (values, low, high, mean, count, shapes of the inputs, shape of bypass) → the same shape
    Reshape (bypass, shape) → what the layers read

The operator of domain `ai.onnx.contrib` is implemented by `dropin` through onnxruntime-extensions. What passes through
Python is the statistics and a shape, never an activation, and the Reshape makes it part of the data's path. With plain
ONNX Runtime `expose` takes those nodes out, and the statistics become outputs.

Where the samples themselves are kept, the shapes come from a second operator, which hands each input to Python:

    AmctFeed (input as float64, its shape) → the same shape
"""

from __future__ import annotations

from amct_lite import ir
from amct_lite.calibration import nodes
from amct_lite.compat.job import Feed, Watch
from amct_lite.errors import UnsupportedModelError

DOMAIN = "ai.onnx.contrib"
OP_TYPE = "AmctCalibration"
FEED_TYPE = "AmctFeed"
_ADDED = ("Shape", "Concat", "Cast", FEED_TYPE)
_DOUBLE = 11
"""ONNX's number of float64."""


def insert(model: ir.Model, watches: tuple[Watch, ...]) -> None:
    """Make a calibration model of `model`, in place; its outputs stay as they are.

    Raises UnsupportedModelError where samples are to be kept that are no numbers.
    """
    graph = model.graph
    taps = tuple(watch.tap for watch in watches)
    readers = frozenset((reader.layer, reader.index) for watch in watches for reader in watch.readers)
    outputs = tuple(graph.outputs)
    nodes.insert(model, taps, readers)
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    dims = _shapes_of_inputs(graph, watches[0])
    bypasses = [node for node in graph if node.domain == nodes.DOMAIN]
    by_number = {nodes.number_of(node): node for node in bypasses}
    for watch in watches:
        _insert_call(by_number[watch.number], watch, dims)
    graph.opset_imports.setdefault(DOMAIN, 1)


def _insert_call(bypass: ir.Node, watch: Watch, dims: ir.Value) -> None:
    passed, *statistics = bypass.outputs
    source = bypass.inputs[0]
    users = [(usage.node, usage.idx) for usage in ir.uses(passed)]
    shape = ir.new_node("Shape", [passed], name=f"{bypass.name}.shape")
    call = ir.new_node(
        OP_TYPE,
        [*statistics, dims, shape.outputs[0]],
        name=f"{bypass.name}.call",
        domain=DOMAIN,
        attributes={"watch": watch.to_json()},
    )
    behind = ir.new_node("Reshape", [passed, call.outputs[0]], name=f"{bypass.name}.seen")
    if source is not None:
        behind.outputs[0].shape, behind.outputs[0].type = source.shape, source.type
    ir.insert_after(bypass, [shape, call, behind])
    ir.redirect(passed, behind.outputs[0], users)


def _shapes_of_inputs(graph: ir.Graph, watch: Watch) -> ir.Value:
    """All shapes one behind the other, (sum of ranks,) int64."""
    known = {str(value.name): value for value in graph.inputs}
    first = graph[0]
    shapes = [ir.new_node("Shape", [known[name]], name=f"{name}.calibration_shape") for name, _ in watch.inputs]
    feeds = [pair for shape in shapes for pair in _feed(shape, watch)] if watch.keeps_samples else []
    parts = [node.outputs[0] for node in (feeds[1::2] or shapes)]
    joined = ir.new_node("Concat", parts, name="calibration_shapes", attributes={"axis": 0})
    ir.insert_before(first, [*shapes, *feeds, joined])
    return joined.outputs[0]


def _feed(shape: ir.Node, watch: Watch) -> tuple[ir.Node, ir.Node]:
    """float64 holds every float and every index exactly."""
    source = shape.inputs[0]
    assert source is not None
    dtype = str(source.dtype.numpy()) if source.dtype else "float32"
    if source.dtype == ir.DataType.STRING:
        raise UnsupportedModelError(
            f"input {source.name!r} is text, of which no samples are kept, so nothing can be learned from them, nor layers "
            f"ranked. Use arq_quantize instead of ada_quantize."
        )
    wide = ir.new_node("Cast", [source], name=f"{source.name}.calibration_feed", attributes={"to": _DOUBLE})
    feed = Feed(watch.record, watch.model, watch.task, watch.batch_num, str(source.name), dtype)
    given = ir.new_node(
        *(FEED_TYPE, [wide.outputs[0], shape.outputs[0]]),
        name=f"{source.name}.calibration_feed_call",
        domain=DOMAIN,
        attributes={"feed": feed.to_json()},
    )
    return wide, given


def watches_in(model: ir.Model) -> tuple[Watch, ...]:
    """The calibration nodes of a model, by number. Raises UnsupportedModelError when it has none, or not all."""
    calls = [node for node in model.graph if node.op_type == OP_TYPE and node.domain == DOMAIN]
    found = sorted((Watch.from_json(str(ir.attribute(node, "watch", ""))) for node in calls), key=lambda w: w.number)
    if not found or [watch.number for watch in found] != list(range(found[0].taps)):
        raise UnsupportedModelError(
            "the model has no complete set of calibration nodes. Pass the file that quantize_model wrote as "
            "modified_onnx_file, unchanged."
        )
    return tuple(found)


def expose(model: ir.Model) -> tuple[str, ...]:
    """Replace the Python nodes by graph outputs, in place; returns their names, five for each node, by number."""
    watches = watches_in(model)
    _remove_calls(model)
    bypasses = {nodes.number_of(node): node for node in model.graph if node.domain == nodes.DOMAIN}
    statistics = [value for watch in watches for value in bypasses[watch.number].outputs[1:]]
    model.graph.outputs.extend(statistics)
    return tuple(str(value.name) for value in statistics)


def strip(model: ir.Model) -> None:
    """Take all of it out again, in place: what is left is the model with its quantized weights as floats."""
    _remove_calls(model)
    nodes.remove(model)


def _remove_calls(model: ir.Model) -> None:
    for call in [node for node in model.graph if node.op_type == OP_TYPE and node.domain == DOMAIN]:
        (usage,) = ir.uses(call.outputs[0])
        behind = usage.node
        passed = behind.inputs[0]
        assert passed is not None
        ir.redirect(behind.outputs[0], passed)
        ir.remove_node(behind)
        ir.remove_node(call)
    for node in reversed([node for node in model.graph if node.op_type in _ADDED and _ours(str(node.name))]):
        if not ir.uses(node.outputs[0]):
            ir.remove_node(node)
    if not any(node.domain == DOMAIN for node in model.graph.all_nodes()):  # the user's model may have some of its own
        model.graph.opset_imports.pop(DOMAIN, None)


def _ours(name: str) -> bool:
    return name == "calibration_shapes" or ".calibration_" in name
