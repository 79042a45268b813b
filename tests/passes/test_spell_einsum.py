"""An Einsum of two tensors is a MatMul where it is a product of matrices; the numbers stay."""

from __future__ import annotations

import pytest
from graphs import apply, assert_agrees, ops

from amct_lite import ir
from amct_lite.passes import infer_shapes, spell_einsum

SIZES = dict(zip("abcdehqkst", (2, 3, 4, 5, 6, 2, 3, 5, 7, 8), strict=True))


def model(equation: str, before: str = "u = Neg(x)") -> ir.Model:
    first, second, result = (",".join(str(SIZES[label]) for label in part) for part in equation.replace("->", ",").split(","))
    declared = f"float[{first}] x, float[{second}] z) => (float[{result}] y"
    text = f'net ({declared}) {{ {before} [sum] y = Einsum <equation = "{equation}"> (u, z) }}'
    found = ir.from_text(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    infer_shapes.run(found)
    return found


@pytest.mark.parametrize(
    ("equation", "turns"),
    [
        ("bct,bcs->bts", 1),
        ("bts,bcs->bct", 1),
        ("bqc,bkc->bqk", 1),
        ("bhqk,bkhd->bqhd", 2),
        ("bqhd,bkhd->bhqk", 2),
        ("ab,bc->ac", 0),
        ("ab,bc->ca", 2),
        ("btc,cd->btd", 0),
        ("cd,btc->btd", 0),
        ("abcd,adeb->abce", 1),
    ],
)
def test_a_product_of_matrices_is_a_matmul(equation: str, turns: int) -> None:
    before = model(equation)
    after, report = apply(spell_einsum.run, before)
    assert report.changed == 1
    assert [ops(after).count(name) for name in ("MatMul", "Transpose", "Einsum")] == [1, turns, 0]
    assert [node.name for node in after.graph if node.op_type == "MatMul"] == ["sum"]
    assert [value.name for value in after.graph.outputs] == ["y"]
    assert_agrees(before, after)


@pytest.mark.parametrize(
    "equation",
    ["ab,ab->ab", "ab,ab->a", "ab,cd->abcd", "abc,bcd->ad", "abc,abd->cd", "abs,bcd->acds", "abc,cde->abde"],
)
def test_any_other_sum_stays(equation: str) -> None:
    after, report = apply(spell_einsum.run, model(equation))
    assert (report.changed, ops(after)) == (0, ["Neg", "Einsum"])


def test_what_brings_its_scale_stays() -> None:
    before = "q = QuantizeLinear(x, scale) u = DequantizeLinear(q, scale)"
    found = model("ab,bc->ac", f"scale = Constant <value = float {{0.1}}> () {before}")
    after, _ = apply(spell_einsum.run, found)
    assert "Einsum" in ops(after)
