"""What a model costs with given widths: bit operations and bytes, layer by layer and in total, nothing run."""

from __future__ import annotations

from collections.abc import Mapping

from amct_lite import ir
from amct_lite.diagnosis.arithmetic import Arithmetic
from amct_lite.diagnosis.bitops import Measured, Total, layer_costs, settled_model, total_of
from amct_lite.diagnosis.memory import Forms
from amct_lite.types import QuantRecord


class Meter:
    """float_bits: of what no record quantizes; `floats` (layer → bits) says otherwise of some. Raises StaticShapeError for
    inputs that `shapes` leaves open."""

    def __init__(self, prepared: ir.Model, shapes: Mapping[str, tuple[int, ...]], float_bits: int) -> None:
        self._measured = Measured.of(settled_model(prepared, shapes))
        self._float_bits = float_bits

    def layers(self, record: QuantRecord, floats: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Layer → its bitops and bytes (of weight and bias), for each layer with products, in float where `record` has no
        entry."""
        costs = layer_costs(self._measured, self._arithmetic(record, floats))
        return {cost.name: {"bitops": cost.bitops, "bytes": cost.weight_bytes} for cost in costs}

    def total(self, record: QuantRecord, floats: Mapping[str, int]) -> Total:
        """Of the whole model."""
        return self._total(self._arithmetic(record, floats))

    def float_model(self) -> Total:
        """Of the whole model as it is, all of it in float32."""
        return self._total(Arithmetic("fp32", Forms(32)))

    def whole(self, cost: str) -> int:
        """What shares of a budget refer to: bitops in float16, bytes of weights in float32."""
        if cost == "bitops":
            return self._total(Arithmetic("fp16", Forms(16))).bitops
        return self.float_model().weight_bytes

    def _arithmetic(self, record: QuantRecord, floats: Mapping[str, int]) -> Arithmetic:
        return Arithmetic.of(record, self._measured.model, self._float_bits, floats)

    def _total(self, arithmetic: Arithmetic) -> Total:
        return total_of(self._measured, arithmetic)
