"""One layer of a record: from its protobuf message to `LayerRecord`, with every check that needs no model.

Source of the checks: the AMCT contract, section 4.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amct_lite.record.lines import EntryLines
from amct_lite.registry import did_you_mean
from amct_lite.types import INPUT_INDEX, LayerRecord, QParams

EPS = 2.0**-23  # 1.192092896e-07, exactly as float32
ACTIVATION_TYPES = {"INT4": 4, "INT8": 8, "INT16": 16}
WEIGHT_TYPES = {"INT4": 4, "INT6": 6, "INT7": 7, "INT8": 8}
DST_TYPES = {"INT4": 4, "INT8": 8}
DATA_TYPES = {"FLOAT16": "FLOAT16", "FLOAT32": "FLOAT32", "FLOAT": "FLOAT32"}
"""Of op_data_type, in whatever case, and what it is here: AMCT's own models have `float` there, too."""
MAX_SHIFT = 16
UNIT_WEIGHT = QParams((1.0,), (0,))
"""scale_w of an op without weight, such as AveragePool: its accumulator is worth scale_d · 1."""

UNIT_DATA = QParams((1.0,), (0,))
"""scale_d and offset_d of an op without data, such as a Gather from a table. It has a wts_type alone: a layer whose step is 1
has an act_type, too, or neither in a record that leaves out what is INT8."""


@dataclass(frozen=True)
class RecurrentRecord(LayerRecord):
    """An LSTM or GRU of the PyTorch flavour: hidden = scale_h/offset_h, recurrence = scale_r/offset_r."""

    hidden: QParams | None = None
    recurrence: QParams | None = None


def type_names(layer: LayerRecord) -> str:
    """`INT8 × INT4`: act_type and wts_type; the first alone for an op without weight."""
    data = f"INT{layer.activation.bits}"
    return data if layer.weight is None or layer.weight == UNIT_WEIGHT else f"{data} × INT{layer.weight.bits}"


class LayerReader:
    """Reads one entry and collects what is wrong with it in `problems`, as (line, sentence).

    entry: a MapFiledEntry, whose fields have no static types. lines: where they stand in the file.
    """

    def __init__(self, entry: Any, lines: EntryLines) -> None:
        self.key: str = entry.key
        self.line = lines.of("key")
        self.problems: list[tuple[int, str]] = []
        self._value = entry.value
        self._lines = lines
        self._has_value = entry.HasField("value")

    def read(self) -> LayerRecord | None:
        """The layer, or None when something is wrong."""
        if not self.key:
            self._report("key", "key is missing: write the name of the node")
        if not self._has_value:
            self._report("value", "value { … } with the scales and offsets is missing")
            return None
        value = self._value
        activation = self._one("scale_d", "offset_d", self._bits("act_type", ACTIVATION_TYPES))
        weight = self._many("scale_w", "offset_w")
        self._check_tensor_quantize()
        self._check_shift()
        self._check_balance()
        self._check_data_type()
        recurrent = self._recurrent()
        if self.problems or activation is None:
            return None
        layer = LayerRecord(
            key=self.key,
            activation=activation,
            weight=weight,
            shift_bit=tuple(value.shift_bit),
            skip_fusion=value.skip_fusion if value.HasField("skip_fusion") else None,
            tensor_quantize=value.is_tensor_quantize,
            balance_factor=tuple(value.tensor_balance_factor),
            data_type=DATA_TYPES.get(value.op_data_type.upper(), ""),
            has_data=weight is None or activation != UNIT_DATA or not self._has_weight_alone(),
            line=self.line,
        )
        return RecurrentRecord(**vars(layer), hidden=recurrent[0], recurrence=recurrent[1]) if any(recurrent) else layer

    def _report(self, field: str, sentence: str, index: int = 0) -> None:
        problem = (self._lines.of(field, index) if field in self._lines.fields else self.line, sentence)
        if problem not in self.problems:  # a type name stands for several fields
            self.problems.append(problem)

    def _bits(self, field: str, types: dict[str, int]) -> int:
        """Bits of act_type or wts_type; of dst_type, the PyTorch flavour's word for both, when that is all there is."""
        if not self._value.HasField(field) and self._value.HasField("dst_type"):
            field, types = "dst_type", DST_TYPES
        name = getattr(self._value, field)
        if name not in types:
            choices = ", ".join(types)
            message = f"{field} {name!r} is unknown{did_you_mean(name, types)}; choose one of {choices}"
            self._report(field, message)
        return types.get(name, 8)

    def _has_weight_alone(self) -> bool:
        """Whether the weight has a type, and the data have none."""
        has = self._value.HasField
        return has("wts_type") and not has("act_type") and not has("dst_type")

    def _one(self, scale: str, offset: str, bits: int) -> QParams | None:
        """A per-tensor pair of fields; both must be there."""
        missing = [name for name in (scale, offset) if not self._value.HasField(name)]
        for name in missing:
            self._report(name, f"{name} is missing")
        if missing:
            return None
        zero_point = getattr(self._value, offset)
        self._check_scales(scale, [getattr(self._value, scale)])
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        if not low <= zero_point <= high:
            self._report(offset, f"{offset} {zero_point} is outside [{low}, {high}], the range of INT{bits}")
        return QParams((getattr(self._value, scale),), (zero_point,), bits)

    def _many(self, scale: str, offset: str) -> QParams | None:
        """A pair of repeated fields of equal length, offsets all 0; None when neither is there."""
        bits = self._bits("wts_type", WEIGHT_TYPES)
        scales, offsets = list(getattr(self._value, scale)), list(getattr(self._value, offset))
        if not scales and not offsets:
            return None
        if len(scales) != len(offsets):
            counts = f"there are {len(scales)} {scale} but {len(offsets)} {offset}"
            self._report(scale if scales else offset, f"{counts}: write one {offset}: 0 for each {scale}")
        self._check_scales(scale, scales)
        wrong = [i for i, z in enumerate(offsets) if z != 0]
        if wrong:
            place = _place(offset, wrong, len(offsets))
            self._report(offset, f"{place} is {offsets[wrong[0]]}, but a weight has no zero point: write 0", wrong[0])
        return QParams(tuple(scales), tuple(offsets), bits)

    def _check_scales(self, field: str, scales: Sequence[float]) -> None:
        wrong = [i for i, s in enumerate(scales) if not (math.isfinite(s) and s > 0)]
        if wrong:
            place = _place(field, wrong, len(scales))
            self._report(field, f"{place} is {scales[wrong[0]]}, but a scale is a finite float32 above 0", wrong[0])

    def _check_tensor_quantize(self) -> None:
        node, _, index = self.key.rpartition(":")
        if not self._value.is_tensor_quantize:
            return
        if not (node and re.fullmatch(INPUT_INDEX, index)):
            self._report("is_tensor_quantize", 'is_tensor_quantize is set, so the key must be "<node>:<input index>"')
            return
        for name in ("scale_w", "offset_w", "tensor_balance_factor"):
            if getattr(self._value, name):
                self._report(name, f"{name} belongs to a layer, but is_tensor_quantize is set: remove it")

    def _check_shift(self) -> None:
        shifts = list(self._value.shift_bit)
        if any(shifts) and not all(1 <= s <= MAX_SHIFT for s in shifts):
            wrong = next(i for i, s in enumerate(shifts) if not 1 <= s <= MAX_SHIFT)
            place = _place("shift_bit", [wrong], len(shifts))
            message = f"{place} is {shifts[wrong]}: either all are 0, or all lie in [1, {MAX_SHIFT}]"
            self._report("shift_bit", message, wrong)

    def _check_balance(self) -> None:
        factors = list(self._value.tensor_balance_factor)
        wrong = [i for i, f in enumerate(factors) if not EPS <= f <= 1 / EPS]
        if wrong:
            field = "tensor_balance_factor"
            place = _place(field, wrong, len(factors))
            self._report(field, f"{place} is {factors[wrong[0]]}, outside [{EPS:.7g}, {1 / EPS:.7g}]", wrong[0])

    def _check_data_type(self) -> None:
        name = self._value.op_data_type
        if name and name.upper() not in DATA_TYPES:
            message = f"op_data_type {name!r} is unknown{did_you_mean(name.upper(), DATA_TYPES)}; choose FLOAT16 or FLOAT32"
            self._report("op_data_type", message)

    def _recurrent(self) -> tuple[QParams | None, QParams | None]:
        """Hidden state and recurrence weight; absent in all but LSTM and GRU."""
        bits = ACTIVATION_TYPES.get(self._value.act_type, 8)
        hidden = None
        if self._value.HasField("scale_h") or self._value.HasField("offset_h"):
            hidden = self._one("scale_h", "offset_h", bits)
        return hidden, self._many("scale_r", "offset_r")


def _place(field: str, wrong: Sequence[int], length: int) -> str:
    """`scale_w[3] (and 2 more)`; the bare name for a single value."""
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return field if length == 1 else f"{field}[{wrong[0]}]{more}"
