"""Bypass nodes: put in front of the layers to calibrate, and taken out again.

A bypass node is a model-local function (domain `amct.calibration`) that any ONNX Runtime executes. Its first output is its
input, untouched; the others are what the sketches need, reduced inside the graph so that no activation outlives its node:
per sample and channel the extremes and the mean (what cannot be negative has 0 as its lowest), and an evenly spread subset.

One node stands for one tensor, however many layers read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, prod

from amct_lite import ir

DOMAIN = "amct.calibration"
OUTPUTS = ("values", "low", "high", "mean", "count")
SUBSET = 32768
"""About how many values of a sample are looked at, twice as many before thinning begins; the extremes and means are of all of
them. `subset_of` so many samples."""
FEWEST = 4096
_FULL_SAMPLES = 16

# Never 2: what ConvTranspose or Resize enlarged twofold would be seen in one phase only. Prime, so that most share no factor
# with the sizes of feature maps; those that do are passed over where the shape is known.
_STRIDES = (1, 3, 5, 7, 11, 13, 17, 23, 31, 41, 53, 71, 97, 127, 173, 227, 307, 401, 541, 719, 947, 1259, 1693, 2251)
_REACH = (2, *_STRIDES[1:])
"""Up to so many times the subset each stride serves."""

_FEWEST_RUNS = 8
"""A stride must leave at least so many runs of whole rows; a tensor of few long rows is thinned value by value."""

_END = 9223372036854775807
"""Of a Slice: to the end of the axis."""

_POSITIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs"})

_ROWS = {None: ("[0, -1]", 1), 1: ("[0, 0, -1]", 2), -1: ("[0, -1, {channels}]", 1)}


@dataclass(frozen=True, order=True)
class Tap:
    """A tensor to observe. channel_axis: 1 (N, C, …), -1 (…, C), or None when channels are not told apart."""

    tensor: str
    channel_axis: int | None
    channels: int


def subset_of(samples: int | None) -> int:
    """About how many values of each of so many samples are looked at; None: their number is not known.

    All up to 16 samples, then half as many whenever the number of samples doubles: half a million of a tensor in all.
    """
    halvings = max(0, (samples - 1).bit_length() - (_FULL_SAMPLES - 1).bit_length()) if samples else 0
    return max(SUBSET >> halvings, FEWEST)


def _function(tap: Tap, opset: int, sample: tuple[int, ...] | None, subset: int, *, positive: bool) -> str:
    """The text of one bypass function behind its name. low, high, mean: (N, C); values: (N, m); count: a number, of the batch.

    sample: the shape of one sample where it is static; the thinning is then decided now instead of at run time.
    positive: no value is negative, and 0 is taken for the smallest: every range holds 0 anyway, and one reduction less is a
    tenth of the pass.
    """
    shape, axis = _ROWS[tap.channel_axis]
    shape = shape.format(channels=tap.channels)
    suffix = "" if tap.channel_axis is not None else "_row"

    def reduced(op: str) -> str:
        if opset >= 18:
            return f"{op} <keepdims = 0> (rows, axis)"
        return f"{op} <axes = [{axis}], keepdims = 0> (rows)"

    if positive:
        low = f"zero_value = Constant <value_float = 0.0> ()\n  low{suffix} = Min (high{suffix}, zero_value)"
    else:
        low = f"low{suffix} = {reduced('ReduceMin')}"
    columns = "".join(f"  {name} = Unsqueeze ({name}_row, one)\n" for name in ("low", "high", "mean") if suffix)
    return f"""(x) => (y, {", ".join(OUTPUTS)})
{{
  y = Identity (x)
  count = Size (x)
  one = Constant <value_ints = [1]> ()
  axis = Constant <value_ints = [{axis}]> ()
  row_shape = Constant <value_ints = {shape}> ()
  rows = Reshape (x, row_shape)
  high{suffix} = {reduced("ReduceMax")}
  {low}
  mean{suffix} = {reduced("ReduceMean")}
{columns}  flat_shape = Constant <value_ints = [0, -1]> ()
{_thinned_at_run_time(subset) if sample is None else _thinned(sample, subset)}}}
"""


def _thinned(sample: tuple[int, ...], subset: int) -> str:
    """`values` for samples of a known shape: whole rows of the last axis, which are copied fast."""
    count = prod(sample)
    wide_enough = [s for s, reach in zip(_STRIDES, _REACH, strict=True) if reach * subset >= count]
    stride = next((s for s in wide_enough if gcd(s, prod(sample[1:])) == 1), _STRIDES[-1])
    if stride == 1:
        return "  values = Reshape (x, flat_shape)\n"
    run = sample[-1] if count // sample[-1] >= _FEWEST_RUNS * stride else 1
    return f"""  runs_shape = Constant <value_ints = [0, -1, {run}]> ()
  runs = Reshape (x, runs_shape)
  zero = Constant <value_ints = [0]> ()
  end = Constant <value_ints = [{_END}]> ()
  stride = Constant <value_ints = [{stride}]> ()
  picked = Slice (runs, zero, end, one, stride)
  values = Reshape (picked, flat_shape)
"""


def _thinned_at_run_time(subset: int) -> str:
    return f"""  flat = Reshape (x, flat_shape)
  shape = Shape (flat)
  width = Gather (shape, one)
  less_one = Constant <value_ints = [{subset - 1}]> ()
  subset = Constant <value_ints = [{subset}]> ()
  rounded_up = Add (width, less_one)
  wanted = Div (rounded_up, subset)
  strides = Constant <value_ints = [{", ".join(map(str, _STRIDES))}]> ()
  reach = Constant <value_ints = [{", ".join(map(str, _REACH))}]> ()
  last_stride = Constant <value_ints = [{len(_STRIDES) - 1}]> ()
  too_small = Less (reach, wanted)
  too_small_count = Cast <to = 7> (too_small)
  found = ReduceSum <keepdims = 1> (too_small_count)
  index = Min (found, last_stride)
  stride = Gather (strides, index)
  zero = Constant <value_ints = [0]> ()
  end = Constant <value_ints = [{_END}]> ()
  values = Slice (flat, zero, end, one, stride)
"""


def _sample_shape(value: ir.Value) -> tuple[int, ...] | None:
    """The shape behind the leading axis, None when a dimension of it is not known."""
    sample = ir.sizes_of(value, 1)
    return sample if sample and min(sample) > 0 else None


def _never_negative(value: ir.Value) -> bool:
    """Whether the node that computes `value`, a float32 tensor, leaves nothing below zero."""
    node = value.producer()
    if node is None or node.domain or value.dtype != ir.DataType.FLOAT:
        return False
    if node.op_type == "Clip":
        bound = ir.constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
        return bound is not None and bool((bound >= 0).all())
    return node.op_type in _POSITIVE


def insert(
    model: ir.Model, taps: tuple[Tap, ...], readers: frozenset[tuple[str, int]], subset: int = SUBSET
) -> tuple[str, ...]:
    """Insert a bypass node for each tap, in place; of the tap's readers only those in `readers` (node name, input
    index) are moved behind it. The statistics become graph outputs. subset: as `subset_of` gives it.

    Returns the names of the new outputs, five for each tap, in the order of `taps` and of `OUTPUTS`.
    """
    graph = model.graph
    opset = ir.opset(model)
    values = {value.name: value for value in (*graph.inputs, *(v for node in graph for v in node.outputs))}
    order = {node: position for position, node in enumerate(graph)}
    names: list[str] = []
    placed: dict[str, ir.Node] = {}
    functions: dict[str, str] = {}  # by their text: tensors of one shape share one
    for number, tap in enumerate(taps):
        value = values[tap.tensor]
        text = _function(tap, opset, _sample_shape(value), subset, positive=_never_negative(value))
        if text not in functions:
            functions[text] = f"CalibrationNode_{len(functions)}"
            ir.add_function(model, f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>\n{functions[text]} {text}')
        usages = [u for u in ir.uses(value) if (u.node.name, u.idx) in readers and u.node.graph is graph]
        node = ir.new_node(
            functions[text],
            [value],
            name=f"{tap.tensor}.calibration_{number}",
            domain=DOMAIN,
            outputs=[f"{tap.tensor}.calibration_{number}.{name}" for name in ("bypass", *OUTPUTS)],
        )
        # A second tap of a tensor, whose channels others read along another axis, finds its readers behind the first.
        anchor = min((u.node for u in usages), key=order.__getitem__) if usages else placed[tap.tensor]
        ir.insert_before(anchor, node)
        placed[tap.tensor] = node
        for usage in usages:
            ir.replace_input(usage.node, usage.idx, node.outputs[0])
        graph.outputs.extend(node.outputs[1:])
        names += [str(output.name) for output in node.outputs[1:]]
    return tuple(names)


def number_of(node: ir.Node) -> int:
    """Which of the taps the bypass node stands for."""
    return int(str(node.name).rpartition("_")[2])


def remove(model: ir.Model) -> int:
    """Take every bypass node out again, in place; returns how many there were."""
    graph = model.graph
    nodes = [node for node in graph if node.domain == DOMAIN]
    for node in nodes:
        source = node.inputs[0]
        assert source is not None
        outputs = set(node.outputs[1:])
        kept = [value for value in graph.outputs if value not in outputs]
        graph.outputs.clear()
        graph.outputs.extend(kept)
        ir.redirect(node.outputs[0], source)
        ir.remove_node(node)
    for key in [key for key in model.functions if key[0] == DOMAIN]:
        del model.functions[key]
    model.graph.opset_imports.pop(DOMAIN, None)
    return len(nodes)
