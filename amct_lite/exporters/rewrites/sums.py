"""A fusion of the floats between integers that ONNX Runtime had better not do."""

from __future__ import annotations

from amct_lite import ir


def keep_sum(add: ir.Node) -> None:
    """`add`, of two tensors, is spelled Sum in front of a LayerNormalization: of an Add and what follows ONNX Runtime 1.31
    makes one kernel, which takes two to twenty times as long as the two."""
    if add.outputs[0].dtype != ir.DataType.FLOAT:  # of integers there is no Sum
        return
    constants = (ir.constant_of(value) for value in add.inputs)
    if any(array is not None and array.ndim < 2 for array in constants):  # a bias, which the layer in front takes in
        return
    readers = {use.node.op_type for use in ir.uses(add.outputs[0])}
    if "LayerNormalization" in readers or readers >= {"ReduceMean", "Sub"}:
        add.op_type = "Sum"
