"""CastLike becomes Cast where the type is known."""

import numpy as np
from graphs import apply, ops, parse

from amct_lite import ir, passes
from amct_lite.passes.name_cast_types import run


def test_the_type_is_named():
    after, report = apply(run, parse("g (int32[2] x, float[1] l) => (float[2] y) { n = Neg(l)  y = CastLike(x, n) }"))
    assert (ops(after), report.changed) == (["Neg", "Cast"], 1)
    assert len(after.graph[1].inputs) == 1
    assert ir.attribute(after.graph[1], "to", 0) == ir.DataType.FLOAT


def test_a_type_that_nobody_knows_is_not():
    header = '<ir_version: 8, opset_import: ["": 17, "own": 1]>'
    model = parse("g (int32[2] x) => (float[2] y) { n = own.op(x)  c = CastLike(x, n)  y = own.op(c) }", header=header)
    assert run(model).changed == 0
    assert ops(model) == ["op", "CastLike", "op"]


def test_a_type_that_the_reader_knows_is_named():
    header = '<ir_version: 8, opset_import: ["": 17, "own": 1]>'
    model = parse("g (int32[2] x) => (float[2] y) { n = own.op(x)  y = CastLike(x, n) }", header=header)
    assert run(model).changed == 1
    assert ir.attribute(model.graph[1], "to", 0) == ir.DataType.FLOAT


def test_a_bias_that_is_computed_from_types_and_sizes_alone_is_constant():
    """As PyTorch writes a Conv without a bias, where nothing is optimized."""
    text = """g (float[1,2,4,4] x, float[3,2,1,1] w, float z, int64[1] s) => (float[1,3,4,4] y) {
        c = CastLike(z, x)  b = Expand(c, s)  y = Conv(x, w, b)
    }"""
    values = {"w": np.ones((3, 2, 1, 1), np.float32), "z": np.float32(0), "s": np.array([3])}
    after = passes.prepare(parse(text, **values)).model
    assert ops(after) == ["Conv"]
