"""The executable form of a deploy model does what the NPU does."""

import numpy as np
import pytest
from layer_cases import named
from passes.graphs import parse
from small_nets import run

from amct_lite.exporters import ascend
from amct_lite.types import LayerRecord, QParams, QuantRecord
from amct_lite.validate.lowering import lower


@pytest.mark.parametrize(("bits", "zero_point"), [(8, 0), (8, -128), (8, 127), (4, -3), (16, 300)])
def test_codes_round_half_to_even_move_by_the_offset_and_saturate(bits: int, zero_point: int) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    ends = [float(end - zero_point) + step for end in (low, high) for step in (-1.5, -1, -0.5, -0.49, 0, 0.49, 0.5, 1, 300)]
    steps = np.array([*np.arange(-6.5, 7, 0.5), *ends, 3e9, -3e9, np.inf, -np.inf])
    text = f"g (float[1,1,1,{steps.size}] x, float[1,1,1,1] w) => (float[1,1,1,{steps.size}] y) {{ y = Conv (x, w) }}"
    model = named(parse(text, header='<ir_version: 8, opset_import: ["": 13]>', w=np.ones((1, 1, 1, 1), "f4")))
    record = QuantRecord((LayerRecord("Conv_0", QParams.of(0.5, zero_point, bits), QParams.of(1.0, 0)),))
    lowered = lower(ascend.export(model, record))
    index = [value.name for value in lowered.model.graph.outputs].index(lowered.codes["Conv_0.quant"])
    codes = run(lowered.model, {"x": (steps / 2).reshape(1, 1, 1, -1).astype(np.float32)})[index].ravel()
    expected = np.clip(np.rint(steps) + zero_point, low, high)
    np.testing.assert_array_equal(codes, expected)
