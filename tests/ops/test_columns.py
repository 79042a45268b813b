"""A layer's output is its weight's rows times the columns of its positions: for every kind of layer, or a reason why not."""

import numpy as np
import pytest
from layer_cases import BY_ID, CASES, HEADER, layer_node, named
from passes.graphs import feeds_for, parse

from amct_lite.ops import OPS, Layer, bind
from amct_lite.runtime import open_session

REFUSED = {
    "matmul_3d_weight": "a stack of matrices",
    "matmul_4d_weight": "a stack of matrices",
    "matmul_left": "stands on the left",
}


@pytest.mark.parametrize("case", [case for case in CASES if case.weight and case.id not in REFUSED], ids=lambda case: case.id)
def test_rows_times_columns_is_the_output(case) -> None:
    model = case.model()
    layer = bind(layer_node(model))
    assert isinstance(layer, Layer)
    gather = OPS.get(layer.op_type).columns(layer)
    assert not isinstance(gather, str), gather
    feeds = feeds_for(model)
    (output,) = open_session(model).run(feeds)
    last = np.moveaxis(output, 1, -1) if layer.channel_axis == 1 else output
    positions = np.random.default_rng(1).permutation(last.size // last.shape[-1])[:7]
    columns = gather(feeds["x"], last.shape[1:-1], positions)
    rows = layer.rows(layer.weight_array)
    assert columns.shape == (positions.size, layer.group, rows.shape[1])
    products = np.einsum("pgn,gcn->pgc", columns, rows.reshape(layer.group, -1, rows.shape[1])).reshape(positions.size, -1)
    bias = layer.bias_array
    # float32 sums of at most 100 terms near 1, in another order
    np.testing.assert_allclose(
        products + (0 if bias is None else bias), last.reshape(-1, last.shape[-1])[positions], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", REFUSED)
def test_a_reason_where_there_are_none(name: str) -> None:
    layer = bind(layer_node(BY_ID[name].model()))
    assert isinstance(layer, Layer)
    assert REFUSED[name] in OPS.get(layer.op_type).columns(layer)


@pytest.mark.parametrize(("stride", "known"), [(1, True), (3, True), (4, False)])
def test_pads_of_which_runtimes_have_different_ones_give_a_reason(stride: int, known: bool) -> None:
    conv = f'Conv <auto_pad="SAME_UPPER", strides=[1,{stride}]> (x, w)'
    layer = bind(layer_node(named(parse(f"g (float[1,1,40,40] x, float[2,1,1,1] w) => (y) {{ y = {conv} }}", "w", HEADER))))
    assert isinstance(layer, Layer)
    columns = OPS.get("Conv").columns(layer)
    assert callable(columns) if known else "a stride is far wider than its kernel" in columns
