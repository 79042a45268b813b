"""Whether a record fits a model. What the model is, the caller says in `LayerFacts`; no graph is seen here.

Source of the checks: the AMCT contract, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

from amct_lite.errors import RecordError
from amct_lite.record.layer import UNIT_DATA, UNIT_WEIGHT, RecurrentRecord
from amct_lite.record.reads import ReadFacts, mistake, obstacle, split_key
from amct_lite.record.text import listed
from amct_lite.registry import belong_elsewhere, did_you_mean
from amct_lite.types import LayerRecord, QuantRecord


@dataclass(frozen=True)
class LayerFacts:
    """One node of the model, as far as a record can contradict it.

    channels: Cout; 1 for a product of two variable tensors (scale_w is the second one's only scale); None: no weight.
    input_channels: Cin, None when its input cannot be balanced. quantizable: whether the target takes it; reason: why not;
    other_targets: whether one of the others does. symmetric: why the zero point must be 0, empty when it need not. reads: what
    its inputs are, for entries of single tensors. data: whether it has any. recurrent: whether it has a weight of a hidden
    state, too. width_problem: (bits of the data, bits of the weight) → why it cannot have them, empty when it can.
    """

    op_type: str
    channels: int | None = None
    input_channels: int | None = None
    quantizable: bool = True
    reason: str = ""
    other_targets: bool = False
    symmetric: str = ""
    reads: ReadFacts = field(default_factory=ReadFacts)
    data: bool = True
    recurrent: bool = False
    width_problem: Callable[[int, int], str] = field(default=lambda _data, _weight: "", compare=False)


def check_record(record: QuantRecord, layers: Mapping[str, LayerFacts]) -> tuple[str, ...]:
    """Every contradiction between `record` and the model, each a sentence with its place; empty when it fits.

    layers: every node of the model by name, the ones that are not quantizable included.
    """
    if sentence := _of_another_model(record, layers):
        return (sentence,)
    known = [name for name, facts in layers.items() if facts.quantizable] or list(layers)
    problems: list[str] = []
    for layer in record.layers:
        for sentence in _layer_problems(layer, layers, known, record):
            place = f"{record.source}:{layer.line}: " if record.source and layer.line else ""
            problems.append(f"{place}layer {layer.key!r} {sentence}.")
    return tuple(problems)


def _of_another_model(record: QuantRecord, layers: Mapping[str, LayerFacts]) -> str:
    """One sentence instead of one an entry, where hardly any names a node; else empty."""
    names = [split_key(layer.key)[0] if layer.tensor_quantize else layer.key for layer in record.layers]
    sentence = belong_elsewhere(names, layers)
    return sentence and f"{sentence}: a record of another model? Take the record that was made from this one."


def require_valid(record: QuantRecord, layers: Mapping[str, LayerFacts]) -> None:
    """Raises RecordError that lists everything `check_record` finds."""
    problems = check_record(record, layers)
    if problems:
        raise RecordError(listed(problems, f"{record.source or 'the record'} does not fit the model"), problems)


def _layer_problems(
    layer: LayerRecord, layers: Mapping[str, LayerFacts], known: Sequence[str], record: QuantRecord
) -> list[str]:
    if layer.tensor_quantize:
        return _read_problems(layer, layers, record)
    facts = layers.get(layer.key)
    if facts is None:
        return [f"is no node of the model{did_you_mean(layer.key, known)}: correct its key or remove the entry"]
    if not facts.quantizable:
        remedy = ", or choose the target that the record was made for" if facts.other_targets else ""
        return [f"({facts.op_type}) cannot be quantized: {facts.reason or 'no reason is known'}. Remove the entry{remedy}"]
    if problem := rows_problem(facts, {entry.key for entry in record.layers}):
        return [f"({facts.op_type}) cannot be quantized: {problem}. Remove the entry"]
    checks = (_data_problem, _weight_problem, _width_problem, _balance_problem)
    return [problem for check in checks if (problem := check(layer, facts))]


def rows_problem(facts: LayerFacts, quantized: Container[str]) -> str:
    """Why nobody may read the rows of a table made floats again, where the layers `quantized` are; empty for all else."""
    return "" if facts.data else obstacle(facts.reads, quantized)


def _data_problem(layer: LayerRecord, facts: LayerFacts) -> str:
    if not facts.data and layer.activation != UNIT_DATA:
        return f"({facts.op_type}) has scale_d or offset_d, but no data: write 1.0 and 0, and no act_type"
    offset = layer.activation.zero_point[0]
    return f"({facts.op_type}) has offset_d {offset}, must be 0, {facts.symmetric}" if facts.symmetric and offset else ""


def _read_problems(layer: LayerRecord, layers: Mapping[str, LayerFacts], record: QuantRecord) -> list[str]:
    name, index = split_key(layer.key)
    facts = layers.get(name)
    if facts is None:
        return [f"is no node of the model{did_you_mean(name, layers)}: correct its key or remove the entry"]
    quantized = {entry.key for entry in record.layers if not entry.tensor_quantize}
    narrow = f"a single tensor is no INT{layer.activation.bits}: use INT8 or INT16" if layer.activation.bits < 8 else ""
    problem = narrow or mistake(facts.reads, index, quantized) or obstacle(facts.reads, quantized)
    return [f"({facts.op_type}) cannot be quantized: {problem}. Remove the entry"] if problem else []


def _weight_problem(layer: LayerRecord, facts: LayerFacts) -> str:
    if facts.channels is None:
        unit = layer.weight is None or layer.weight.scale == UNIT_WEIGHT.scale
        return "" if unit else f"({facts.op_type}) has scale_w, but no weight: leave it out, or write 1.0"
    if layer.weight is None:
        return f"({facts.op_type}) has no scale_w and offset_w"
    choices = "1" if facts.channels == 1 else f"1 or {facts.channels}, its output channels"
    if len(layer.weight.scale) not in {1, facts.channels}:
        return f"({facts.op_type}) has {len(layer.weight.scale)} scale_w, must be {choices}"
    recurrence = layer.recurrence if isinstance(layer, RecurrentRecord) else None
    if facts.recurrent and recurrence is None:
        return f"({facts.op_type}) has no scale_r and offset_r, of the weight of its hidden state"
    if recurrence is not None and len(recurrence.scale) not in {1, facts.channels}:
        return f"({facts.op_type}) has {len(recurrence.scale)} scale_r, must be {choices}"
    return ""


def _width_problem(layer: LayerRecord, facts: LayerFacts) -> str:
    data, weight = layer.activation.bits, layer.weight.bits if layer.weight is not None else 8
    reason = facts.width_problem(data, weight)
    return f"({facts.op_type}) cannot be INT{data} × INT{weight}: {reason}. Use INT8 there" if reason else ""


def _balance_problem(layer: LayerRecord, facts: LayerFacts) -> str:
    count = len(layer.balance_factor)
    if not count or count == facts.input_channels:
        return ""
    if facts.input_channels is None:
        return f"({facts.op_type}) has {count} tensor_balance_factor, but no constant weight to multiply by them: remove them"
    return f"({facts.op_type}) has {count} tensor_balance_factor, must be {facts.input_channels}, its input channels"
