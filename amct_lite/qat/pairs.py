"""Every QuantizeLinear of data gets its DequantizeLinear right behind it; then both can be read, or taken out, together.

    Q → Transpose → DQ      becomes   Q → DQ → Transpose        also any other mover, and MaxPool
    Q → Clip(codes) → DQ    becomes   Q → DQ → Clip(numbers)    PyTorch's way to use a part of the codes
    Q → Cast → DQ           becomes   Q → DQ                    a Cast to what they are, as PyTorch writes in eager mode
    int8 input → DQ         becomes   float input → Q → DQ

All of these compute the same numbers. What else works on codes is refused: without its Q and DQ it would mean something else.
"""

from __future__ import annotations

import numpy as np

from amct_lite import ir
from amct_lite.errors import UnsupportedModelError
from amct_lite.ir.build import Inserter
from amct_lite.qat.constants import clip_bounds, require_same
from amct_lite.qat.grid import Grid, grid_of, is_dq, is_q
from amct_lite.qat.movers import is_mover

_CODES = frozenset({ir.DataType.INT8, ir.DataType.UINT8})


def join_pairs(model: ir.Model) -> tuple[str, ...]:
    """Edit `model`, whose constants are float by now; returns notes for the user.

    Raises UnsupportedModelError for what works on codes, and for a Q and DQ that differ.
    """
    notes = tuple(note for value in tuple(model.graph.inputs) if (note := _float_input(value)))
    for node in tuple(model.graph):
        if is_q(node):
            _drop_idle_casts(node.outputs[0], ir.DataType[grid_of(node).dtype])
    for node in tuple(model.graph):
        if is_q(node) and node.graph is model.graph:
            _join(node)
    for node in model.graph:
        source = node.inputs[0] if is_dq(node) else None
        if is_dq(node) and (source is None or not is_q(source.producer())):
            raise UnsupportedModelError(
                f"{node.name} (DequantizeLinear) reads codes that no QuantizeLinear made. Quantize the float model instead."
            )
    return notes


def sign_outputs(model: ir.Model) -> tuple[str, ...]:
    """Edit `model` (joined): outputs that are unsigned codes become signed ones, of the same numbers; codes that the NPU does
    not make become the numbers. Returns a note for each."""
    notes = []
    for node in model.graph:
        value = node.outputs[0]
        grid = grid_of(node) if is_q(node) and value.is_graph_output() else None
        if grid is None:
            continue
        if grid.refusal:
            name = value.name
            _dequantize_output(node, grid)
            told = f"{grid.dtype.lower()} codes of {'one scale' if grid.axis is None else 'a scale for each channel'}"
            notes.append(f"output {name!r} was {told}, which the NPU does not make, and is float now")
        elif grid.offset:
            signed = ir.DataType[f"INT{grid.bits}"]
            b = Inserter(node, str(node.name))
            ir.replace_input(node, 2, b.constant(grid.params.zero_point[0], signed.numpy()))
            value.dtype = signed
            for usage in ir.uses(value):
                if is_dq(usage.node):
                    ir.replace_input(usage.node, 2, node.inputs[2])
            was, now = grid.dtype.lower(), signed.name.lower()
            notes.append(f"output {value.name!r} was {was} codes and is {now} codes now, each {grid.offset} lower")
    return tuple(notes)


def _dequantize_output(q: ir.Node, grid: Grid) -> None:
    """The output of the model that is the codes of `q` becomes what its DQ makes of them."""
    codes, graph = q.outputs[0], ir.graph_of(q)
    own = next((usage.node for usage in ir.uses(codes) if is_dq(usage.node)), None)
    if own is None:
        own = ir.new_node("DequantizeLinear", [codes, *q.inputs[1:]], name=f"{q.name}.dequantize", attributes=_axis(grid))
        ir.insert_after(q, own)
        _retype(own.outputs[0], q.inputs[0])
    numbers, name = own.outputs[0], codes.name
    numbers.shape = codes.shape
    ir.replace_output(graph, codes, numbers)
    codes.name = ir.unique_name(graph, f"{name}.codes")
    numbers.name = name


def strip(model: ir.Model, *, outputs: bool) -> None:
    """Take every Q and DQ out of `model` (joined). outputs: also a Q whose codes are an output of the model."""
    for node in tuple(model.graph):
        if is_dq(node):
            quantize = node.inputs[0].producer()  # type: ignore[union-attr] # joined: there is one
            ir.redirect(node.outputs[0], quantize.inputs[0])  # type: ignore[union-attr, arg-type]
            ir.remove_node(node)
    for node in tuple(model.graph):
        if is_q(node) and outputs and node.outputs[0].is_graph_output():
            value = node.outputs[0]
            _retype(value, node.inputs[0])
            ir.redirect(value, node.inputs[0])  # type: ignore[arg-type]
    ir.remove_unused(model)


def _float_input(value: ir.Value) -> str:
    """Let an input of the model that is codes be numbers; returns a note, empty where nothing was done."""
    dq = _dequantizer(value) if value.dtype in _CODES else None
    if dq is None:
        return ""
    grid, readers = grid_of(dq), ir.uses(value)
    b = Inserter(readers[0].node, f"{value.name}.quantize")
    zero_point = b.constant(np.array(grid.zero_point[0], ir.DataType[grid.dtype].numpy()))
    codes = b.op("QuantizeLinear", value, b.constant(grid.scale[0], np.float32), zero_point)
    codes.shape = value.shape
    _retype(codes, value)
    for usage in readers:
        ir.replace_input(usage.node, usage.idx, codes)
    value.dtype = ir.DataType.FLOAT
    return (
        f"input {value.name!r} was {grid.dtype.lower()} codes and is float now: feed (code - {grid.zero_point[0]}) "
        f"* {grid.scale[0]:.9g}"
    )


def _drop_idle_casts(codes: ir.Value, dtype: ir.DataType) -> None:
    """Take out the Casts to `dtype` of `codes`, which have it, directly or behind what moves them."""
    for usage in ir.uses(codes):
        node = usage.node
        if node.op_type == "Cast" and ir.attribute(node, "to", 0) == dtype and not node.outputs[0].is_graph_output():
            _drop_idle_casts(node.outputs[0], dtype)
            ir.redirect(node.outputs[0], codes)
            ir.remove_node(node)
        elif usage.idx == 0 and (_passes(node) or node.op_type == "Clip"):
            _drop_idle_casts(node.outputs[0], dtype)


def _dequantizer(value: ir.Value) -> ir.Node | None:
    """The DQ that reads `value`, directly or behind movers."""
    for usage in ir.uses(value):
        found = usage.node if is_dq(usage.node) else None
        if found is None and _passes(usage.node) and usage.idx == 0:
            found = _dequantizer(usage.node.outputs[0])
        if found is not None:
            return found
    return None


def _join(q: ir.Node) -> None:
    grid, codes = grid_of(q), q.outputs[0]
    readers = ir.uses(codes)
    if not readers:
        return
    own = next((usage.node for usage in readers if is_dq(usage.node)), None)
    if own is None:
        own = ir.new_node("DequantizeLinear", [codes, *q.inputs[1:]], name=f"{q.name}.dequantize", attributes=_axis(grid))
        ir.insert_after(q, own)
    values = own.outputs[0]
    _retype(values, q.inputs[0])
    for usage in readers:
        if usage.node is own:
            require_same(q, grid, own, grid_of(own))
        else:
            _dequantize_reader(q, grid, usage, values)
    if own in tuple(usage.node for usage in readers):
        _move_behind(q, own)


def _dequantize_reader(q: ir.Node, grid: Grid, usage: ir.Usage, values: ir.Value) -> None:
    """Let a reader of codes read `values`, the numbers that they stand for."""
    node = usage.node
    if is_dq(node):
        require_same(q, grid, node, grid_of(node))
        ir.redirect(node.outputs[0], values)
        ir.remove_node(node)
        return
    if usage.idx != 0 or not (_passes(node) or node.op_type == "Clip") or node.graph is not q.graph:
        raise UnsupportedModelError(
            f"{node.name} ({node.op_type}) works on the integer codes that {q.name} makes, which is not understood. "
            f"Quantize the float model that this one was made from."
        )
    if node.op_type == "Clip":
        _clip_numbers(node, grid)
    ir.replace_input(node, 0, values)
    for output in node.outputs:
        if output.is_graph_output():
            raise UnsupportedModelError(
                f"output {output.name!r} holds codes that {node.name} ({node.op_type}) has moved. Let the model end with the "
                f"QuantizeLinear, or with its DequantizeLinear."
            )
        _retype(output, values)
        for inner in ir.uses(output):
            _dequantize_reader(q, grid, inner, output)


def _clip_numbers(node: ir.Node, grid: Grid) -> None:
    b = Inserter(node, str(node.name))
    for index, bound in enumerate(clip_bounds(node), start=1):
        number = (np.float32(bound) - np.float32(grid.zero_point[0])) * np.float32(grid.scale[0])
        ir.replace_input(node, index, b.constant(number, np.float32) if np.isfinite(bound) else None)


def _passes(node: ir.Node) -> bool:
    return is_mover(node) or (node.op_type == "MaxPool" and not node.domain)


def _move_behind(q: ir.Node, dq: ir.Node) -> None:
    """The DQ may have stood behind readers that read its numbers now."""
    ir.graph_of(q).remove(dq)
    ir.insert_after(q, dq)


def _retype(value: ir.Value, like: ir.Value | None) -> None:
    value.type = ir.TensorType(like.dtype if like is not None and like.dtype is not None else ir.DataType.FLOAT)


def _axis(grid: Grid) -> dict[str, int]:
    return ({} if grid.axis is None else {"axis": grid.axis}) | ({"block_size": grid.block} if grid.block else {})
