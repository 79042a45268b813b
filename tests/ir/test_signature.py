"""What ONNX says of an operator's inputs and outputs: which can be float16."""

from __future__ import annotations

import pytest

from amct_lite import ir


@pytest.mark.parametrize(
    ("op_type", "inputs", "outputs"),
    [
        ("Add", [True, True], [True]),
        ("Concat", [True, True, True, True], [True]),  # as many as one likes
        ("Split", [True, False], [True, True, True, True]),
        ("Cast", [True], [False]),
        ("Gather", [True, False], [True]),
        ("NonZero", [True], [False]),
    ],
)
def test_inputs_and_outputs_of_an_operator(op_type: str, inputs: list[bool], outputs: list[bool]) -> None:
    found = ir.signature(ir.new_node(op_type, [], name="n"), 17)
    assert found is not None
    assert [found.takes_half(index) for index in range(len(inputs))] == inputs
    assert [found.gives_half(index) for index in range(len(outputs))] == outputs


def test_an_operator_that_onnx_does_not_define_has_none() -> None:
    assert ir.signature(ir.new_node("Add", [], name="n", domain="custom"), 17) is None
    assert ir.signature(ir.new_node("Addition", [], name="n"), 17) is None
