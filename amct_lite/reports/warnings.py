"""What the user must know before trusting a result, each as one sentence that names the place and the remedy."""

from __future__ import annotations

import shlex
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from amct_lite import ir
from amct_lite.analysis.local_error import LocalError
from amct_lite.build import Exports
from amct_lite.config import QuantConfig
from amct_lite.exporters.integers import QuantizedLayer, quantized_layers, tables_among
from amct_lite.exporters.pairs import is_wide, quantizer_in_front
from amct_lite.numerics.affine import fake_quantize
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.numerics.sketch import Outlier
from amct_lite.plan import ORT
from amct_lite.record import split_key
from amct_lite.reports.balancing import balance_options
from amct_lite.reports.checks import Checked
from amct_lite.reports.report import OutputError
from amct_lite.reports.wording import MOST_NAMED, by_reason, some
from amct_lite.runtime import FLOAT_PRODUCTS
from amct_lite.types import Feeds, QParams, QuantPlan, QuantRecord
from amct_lite.validate.kernels import SELF_ROUNDING
from amct_lite.validate.slow import slow_kernels

POOR_SQNR_DB = 29.0
"""A layer whose own output falls below this is named. Measured: convolutional networks that lose nothing keep 30.5 dB and
more in every layer; the layers that cost a super-resolution network its quality lie at 28."""
LOST_CHANNEL_DB = 10.0
"""A channel below this has lost its shape: its weights round to a handful of levels, or to nothing."""
LOST_SHARE = 0.25
DEAD_CHANNEL = 1e-6
"""A channel with weights this small beside the layer's largest does nothing that float32 would notice."""
_PICKING = frozenset({"ArgMax", "ArgMin", "NonMaxSuppression", "TopK"})
_BALANCE = "balancing, as some of its input channels are far larger than the others ({}), "
LOST_OUTPUT_DB = 10.0
"""An output this near to the noise has an error of a third of the signal."""
MOST_SAMPLES = 20
"""Wild samples that are named; of more than 16,384 samples not all are known by number."""


@dataclass(frozen=True)
class Levers:
    """The options by which a command keeps a layer in float, and gives more bits to one that has fewer than 8; `{}` is the
    name of the layer, quoted for the shell."""

    in_float: str = "--skip {}"
    wider: str = "--bits, --weight-bits"


PLAIN = Levers()
SEARCH = Levers("--only {}=float", "--only {}=W8A8,float")


def width_notes(exports: Exports, checked: Checked) -> list[str]:
    """What 16-bit activations bring with them; nothing where there are none."""
    notes = []
    before, after = ir.opset(exports.corrected), ir.opset(exports.fake_quant)
    if after > before:
        notes.append(f"16-bit activations: the fake-quant model has opset {after} instead of {before}: the first with int16.")
    products = (node for node in exports.fake_quant.graph if node.op_type in {"MatMul", "Gemm"})
    if any(is_wide(quantizer_in_front(node.inputs[0])) for node in products):
        notes.append(
            f"16-bit activations: in front of MatMul and Gemm, ONNX Runtime from 1.32 on rounds them to 8 bits, unless a "
            f"session is opened with {FLOAT_PRODUCTS} = 1, as here."
        )
    if checked.equivalence and checked.equivalence.int32_share:
        notes.append(
            f"16-bit activations: accumulators filled at most {100 * checked.equivalence.int32_share:.2g} % of int32 on the "
            f"samples compared; a larger input could overflow, if the NPU sums in int32."
        )
    return notes


def storage_notes(record: QuantRecord, target: str) -> list[str]:
    """Narrow weights that save nothing, as ONNX Runtime has no kernels for them."""
    narrow = sorted({e.weight.bits for e in record.layers if e.weight is not None and e.weight.bits < 8})
    if target != "ort" or not narrow:
        return []
    widths = " and ".join(map(str, narrow))
    return [f"weights of {widths} bits are stored as int8 for ONNX Runtime: they save neither memory nor time against 8 bits."]


def correction_notes(exports: Exports) -> list[str]:
    """Layers whose bias was not corrected, and why."""
    return [f"{some([skip.node for skip in skips])}: {reason}" for reason, skips in by_reason(exports.skips)]


def speed_notes(exports: Exports) -> list[str]:
    """Integer kernels of ONNX Runtime that are known to take longer than the float ones."""
    slow = slow_kernels(exports.deploy) if exports.target == ORT and exports.deploy is not None else ()
    groups = [(reason, [f"{skip.node} ({skip.op_type})" for skip in skips]) for reason, skips in by_reason(slow)]
    return [
        f"{some(nodes)}: ONNX Runtime's integer kernel for this takes longer than the float one ({reason}). "
        "`calibrate --target ort --tune` leaves in float what gains by it."
        for reason, nodes in groups
    ]


def batch_notes(exports: Exports) -> list[str]:
    """Kernels that round the sequences of a batch by one range."""
    nodes = [] if exports.deploy is None else [node for node in exports.deploy.graph if node.op_type in SELF_ROUNDING]
    shared = [str(node.name) for node in nodes if (ir.dims_of(node.inputs[0]) or (None, None))[1] != 1]
    if not shared:
        return []
    verb = "rounds" if len(shared) == 1 else "round"
    what = "what one gives depends a little on the others, more where these are far larger"
    return [f"{some(shared)} {verb} all sequences of a batch by the largest value of any: {what}."]


def width_warnings(config: QuantConfig, plan: QuantPlan) -> list[str]:
    """A width for all activations that no layer can have: each says why, and nobody reads that many notes."""
    if config.bits == 8 or not plan.layers or any(t.spec.bits == config.bits for layer in plan.layers for t in layer.inputs):
        return []
    remedy = (
        " INT4 data go with INT4 weights only: add --weight-bits 4." if config.bits == 4 and config.weight_bits != 4 else ""
    )
    return [f"{config.bits}-bit activations were asked for, and no layer has them: all are INT8.{remedy}"]


def taken_in_notes(outliers: Mapping[str, tuple[Outlier, ...]]) -> list[str]:
    """The wild samples that trusted data keep in the ranges."""
    samples = sorted({outlier.sample for found in outliers.values() for outlier in found})
    if not samples:
        return []
    named = ", ".join(map(str, samples[:MOST_NAMED])) + (", …" if len(samples) > MOST_NAMED else "")
    many = len(samples) > 1
    which = f"{'samples' if many else 'sample'} {named}, far larger than the typical one, {'were' if many else 'was'}"
    return [f"{which} taken into the ranges, as the data are trusted (--trust-data)"]


def sample_warnings(feeds: Sequence[Feeds], outliers: Mapping[str, tuple[Outlier, ...]]) -> list[str]:
    """What is wrong with the data. feeds: the first of them; outliers: tensor → its wild samples."""
    return [*_same_warnings(feeds), *outlier_warnings(outliers)]


def input_notes(feeds: Sequence[Feeds]) -> list[str]:
    """What numbers the model was fed: samples that were not prepared as for the float model show here first. Ids and masks say
    nothing."""
    names = [name for name, array in feeds[0].items() if array.size > 1 and array.dtype.kind == "f"] if feeds else []
    ends = {name: [(batch[name].min(), batch[name].max()) for batch in feeds] for name in names}
    told = [f"{name} from {min(low for low, _ in e):.3g} to {max(high for _, high in e):.3g}" for name, e in ends.items()]
    return [f"input values: {some(told)}"] if told else []


def _same_warnings(feeds: Sequence[Feeds]) -> list[str]:
    """Inputs of numbers that never change: of a loader that reads nothing, or one sample again and again. A single number,
    such as a flag, may be the same for all, and so may masks and indices."""
    names = [name for name, array in feeds[0].items() if array.size > 1 and array.dtype.kind == "f"] if feeds else []
    first = {name: feeds[0][name] for name in names}
    constant = [name for name in names if all((batch[name] == first[name].flat[0]).all() for batch in feeds)]
    seen = "the one batch" if len(feeds) == 1 else f"all {len(feeds)} batches"
    warnings = [
        f"input {name!r} holds nothing but {first[name].flat[0]:g} in {seen} looked at: the ranges fit nothing else. "
        "Check the loader."
        for name in constant
    ]
    same = names and not constant and all(np.array_equal(batch[name], first[name]) for name in names for batch in feeds)
    if same and len(feeds) > 1:
        warnings.append(f"{seen} looked at are the same: the ranges fit no other. Check the loader.")
    return warnings


def outlier_warnings(outliers: Mapping[str, tuple[Outlier, ...]]) -> list[str]:
    """One sentence a wild sample, however many tensors it stands out in; the first few by name."""
    worst: dict[int, tuple[float, str]] = {}
    tensors: dict[int, int] = {}
    for tensor, found in outliers.items():
        for outlier in found:
            ratio = outlier.magnitude / outlier.typical if outlier.typical else float("inf")
            tensors[outlier.sample] = tensors.get(outlier.sample, 0) + 1
            worst[outlier.sample] = max(worst.get(outlier.sample, (0.0, "")), (ratio, tensor))
    named = sorted(worst.items())[:MOST_SAMPLES]
    rest = len(worst) - len(named)
    more = [f"… and at least {rest} more samples were left out in the same way."] if rest else []
    return [
        f"sample {sample} is {ratio:.3g} times larger than the typical one (tensor {tensor!r}, "
        f"{tensors[sample]} {'tensor' if tensors[sample] == 1 else 'tensors'} in all). "
        "It was left out of their ranges; look at it, or take it in with --trust-data."
        for sample, (ratio, tensor) in named
    ] + more


def local_warnings(
    local: Mapping[str, LocalError],
    model: ir.Model,
    record: QuantRecord,
    *,
    learned: Container[str] = (),
    target: str = "ascend",
    decided: bool = True,
    levers: Levers = PLAIN,
    uneven: Container[str] = (),
) -> list[str]:
    """Layers whose own output suffers, the worst by name. learned: those whose rounding was learned. target: for `ort`,
    tensors are quantized that nobody asked for. decided: the scales in this run, not by whoever wrote `record`. uneven: layers
    that balancing would help."""
    poor = _poor(local)
    items = [item for item in quantized_layers(model, record) if item.layer.weight is not None]
    tables = tables_among(items)
    one_scale = {item.layer.name for item in items if item.weight.per_tensor}
    narrow = {item.layer.name for item in items if min(item.activation.bits, item.weight.bits) < 8}
    tensors = {entry.key for entry in record.layers if entry.tensor_quantize}
    products = (item.layer for item in items if item.layer.data and item.layer.recurrence is None)
    fixed = {layer.name for layer in products if layer.name not in learned}  # weights that nothing was learned of

    balance = _BALANCE.format(balance_options(target))

    def remedy(name: str) -> str:
        if not decided:
            return "Correct its entry in the record, or delete it to keep this in float"
        if name in tensors:
            return f"{_without_tensor(name, target)}, or try other ranges (--algo mse)"
        quoted = shlex.quote(name)
        wider = levers.wider.format(quoted) if name in narrow else ""
        ranges = "--weight-algo mse" if name in tables else "--algo mse"
        return (
            f"Keep it in float ({levers.in_float.format(quoted)}), "
            f"or try {balance if name in uneven else ''}{_other_ways(wider, ranges, name in one_scale, name in fixed)}"
        )

    warnings = [
        f"{name}: {'rounding leaves this tensor' if name in tensors else 'quantization alone leaves its output'} "
        f"{sqnr:.1f} dB above the noise. {remedy(name)}."
        for sqnr, name in poor[:MOST_NAMED]
    ]
    return warnings + _rest(len(poor), f"have outputs less than {POOR_SQNR_DB:.0f} dB above the noise; the table has them all")


def named_layers(local: Mapping[str, LocalError]) -> tuple[str, ...]:
    """Those that `local_warnings` gives a sentence of their own."""
    return tuple(name for _, name in _poor(local)[:MOST_NAMED])


def _poor(local: Mapping[str, LocalError]) -> list[tuple[float, str]]:
    return sorted((error.sqnr_db, name) for name, error in local.items() if error.sqnr_db < POOR_SQNR_DB)


def _without_tensor(key: str, target: str) -> str:
    if target != "ort":
        return "Take it out of `tensors`"
    return f"Keep its node in float (--skip {shlex.quote(split_key(key)[0])})"


def _other_ways(wider: str, ranges: str, one_scale: bool, fixed: bool) -> str:
    bits = f"more bits ({wider}), " if wider else ""
    channels = "a weight scale a channel (--channel-wise all), " if one_scale else ""
    rounding = "learned rounding (--weight-algo gptq) or other" if fixed else "other"
    return f"{bits}{channels}{rounding} ranges ({ranges})"


def unbounded_warnings(outputs: Sequence[OutputError]) -> list[str]:
    """Outputs for which there is no distance between the float and the quantized model."""
    return [
        f"output {error.name!r} has infinite values or NaN in the float model or in the quantized one alone, so its SQNR says "
        f"nothing. Measure accuracy with the fake-quant model, or keep the layers in front of it in float (--skip)."
        for error in outputs
        if np.isinf(error.mse)
    ]


def output_warnings(outputs: Sequence[OutputError], model: ir.Model) -> list[str]:
    """Outputs of which little is left, though each layer by itself may be fine; not those of `picked_notes`."""
    lost = sorted((e.sqnr_db, e.name) for e in outputs if e.sqnr_db < LOST_OUTPUT_DB and np.isfinite(e.mse))
    found = [(sqnr, name) for sqnr, name in lost if not _picks(model, name)]
    warnings = [
        f"output {name}: the error is {100 * 10 ** (-sqnr / 20):.0f} % of the signal ({sqnr:.1f} dB). Measure accuracy with "
        "the fake-quant model before you use it: `amct-lite sensitivity` ranks the layers by what they do to the outputs, "
        "`amct-lite compare` shows where the error arises."
        for sqnr, name in found[:MOST_NAMED]
    ]
    return warnings + _rest(len(found), f"are less than {LOST_OUTPUT_DB:.0f} dB above the noise", "outputs")


def picked_notes(outputs: Sequence[OutputError], model: ir.Model) -> list[str]:
    """Outputs with a poor SQNR that may say little: what a node picks or sorts changes as a whole with one other pick."""
    picks = {error.name: _picks(model, error.name) for error in outputs if error.sqnr_db < POOR_SQNR_DB}
    return [
        f"output {name} is picked or sorted by {some(nodes)}: another pick or order lowers its SQNR as a whole. Measure "
        "accuracy with the fake-quant model."
        for name, nodes in picks.items()
        if nodes
    ]


def _picks(model: ir.Model, output: str) -> list[str]:
    """The nodes that pick among values, of those that the output is computed from, in the order of the graph."""
    found: set[ir.Node] = set()
    waiting = [value.producer() for value in model.graph.outputs if value.name == output]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [value.producer() for value in node.inputs if value is not None]
    return [f"{node.name} ({node.op_type})" for node in model.graph if node in found and node.op_type in _PICKING]


def record_notes(record: QuantRecord) -> tuple[str, ...]:
    """What a record says that is kept, but not used."""
    shifted = [layer.key for layer in record.layers if any(layer.shift_bit)]
    if not shifted:
        return ()
    named = ", ".join(shifted[:3]) + (", …" if len(shifted) > 3 else "")
    return (f"shift_bit of {named} is not used: shift_n of AscendDequant is 0, as in AMCT's own deploy models",)


def weight_warnings(model: ir.Model, record: QuantRecord, local: Mapping[str, LocalError]) -> list[str]:
    """Layers of which the weight scales ruin many channels, the worst by name: seen in the weights alone.

    With a scale of its own a channel is lost only where it is below the smallest scale there is. Whether that matters is seen
    in what the layer gives (local), where it was measured.
    """
    good = {name for name, error in local.items() if error.sqnr_db >= POOR_SQNR_DB}
    found: list[tuple[float, str]] = []
    for item in quantized_layers(model, record):
        if item.layer.weight is None or (item.layer.name in good and not item.weight.per_tensor):
            continue
        lost, channels = _lost_channels(item)
        if lost and lost >= LOST_SHARE * channels:
            uneven = item.weight.per_tensor and lost < channels  # where all are lost, none of them took the scale from others
            remedy = "use a scale a channel (--channel-wise all)" if uneven else "keep it in float (--skip)"
            sentence = (
                f"{item.layer.name} ({item.layer.op_type}): {lost} of {channels} output channels lose "
                f"their weights to rounding (below {LOST_CHANNEL_DB:.0f} dB). Accuracy will suffer; {remedy}."
            )
            found.append((lost / channels, sentence))
    found.sort(key=lambda pair: -pair[0])
    warnings = [sentence for _, sentence in found[:MOST_NAMED]]
    return warnings + _rest(len(found), "lose a quarter or more of their channels to rounding in the same way")


def _rest(count: int, what: str, of: str = "layers") -> list[str]:
    """One sentence for those beyond the ones that are named."""
    more = count - MOST_NAMED
    return [f"… and {more} more: {count} {of} in all {what}."] if more > 0 else []


def _lost_channels(item: QuantizedLayer) -> tuple[int, int]:
    """(channels below LOST_CHANNEL_DB, channels that do anything)."""
    rows, half = item.layer.rows(item.layer.weight_array), 1 << (item.weight.bits - 1)
    scales = np.broadcast_to(item.weight.scales, len(rows)).astype(np.float64)
    low, high = rows.min(axis=1, initial=0).astype(np.float64), rows.max(axis=1, initial=0).astype(np.float64)
    largest = np.maximum(-low, high)
    alive = largest > DEAD_CHANNEL * largest.max(initial=0)
    # What is not clipped errs by half a step at most. As a rule this clears all channels, and nothing need be quantized.
    with np.errstate(over="ignore"):
        signal = np.einsum("ij,ij->i", rows, rows)  # in float32, hence the margin of a hundredth
    most = 1.01 * rows.shape[1] * (scales / 2) ** 2
    clipped = (low < -(half + 0.5) * scales) | (high > (half - 0.5) * scales)
    doubtful = alive & ~(np.isfinite(signal) & (signal > 10 ** (LOST_CHANNEL_DB / 10) * most) & ~clipped)
    if not doubtful.any():
        return 0, int(np.count_nonzero(alive))
    params = QParams.of(scales[doubtful], 0, item.weight.bits)
    pairs = zip(rows[doubtful], fake_quantize(rows[doubtful], params, axis=0), strict=True)
    return sum(sqnr_db(exact, rounded) < LOST_CHANNEL_DB for exact, rounded in pairs), int(np.count_nonzero(alive))
