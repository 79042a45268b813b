"""Graphs in ONNX text for the tests of the passes, and the question whether two graphs compute the same."""

import re

import numpy as np
import onnxruntime

from amct_lite import ir
from amct_lite.runtime import FLOAT_PRODUCTS
from amct_lite.types import PassReport

# `branches_on(v)` in a text stands for an If on the input q whose two bodies capture v.
BRANCHES = r"""If(q) <then_branch = t () => (float then_out) { then_out = Relu(\1) },
                      else_branch = e () => (float else_out) { else_out = Neg(\1) }>"""
HEADER = '<ir_version: 8, opset_import: ["": 17, "custom": 1]>\n'


def parse(text: str, constants: str = "", header: str = HEADER, **values: np.ndarray) -> ir.Model:
    """A model from ONNX text without its header. The graph inputs named in `constants` become random initializers of
    their declared shape and type (`var…`: positive), those named in `values` initializers with that value."""
    model = ir.from_text(header + re.sub(r"branches_on\((\w+)\)", BRANCHES, text.replace("<>", "")))
    rng = np.random.default_rng(len(text))
    graph = model.graph
    for value in tuple(graph.inputs):
        name = value.name
        if name not in values and name not in constants.split():
            continue
        array = values.get(name)
        if array is None:
            array = rng.normal(size=value.shape.numpy()).astype(value.dtype.numpy())
            array = np.abs(array) + np.float32(0.1) if name.startswith("var") else array
        graph.inputs.remove(value)
        value.const_value = ir.Tensor(np.asarray(array), name=name)
        value.shape = ir.Shape(np.shape(array))
        graph.initializers.add(value)
    return model


def outputs_of(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.add_session_config_entry(FLOAT_PRODUCTS, "1")
    session = onnxruntime.InferenceSession(ir.to_bytes(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def feeds_for(model: ir.Model, size: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Random feeds for the inputs of `model`; unknown dimensions get `size`, integers count 0, 1, 0, 1 …"""
    rng, feeds = np.random.default_rng(seed), {}
    for value in model.graph.inputs:
        shape = [d if isinstance(d, int) else size for d in value.shape]
        dtype = value.dtype.numpy()
        random = rng.normal(size=shape) if np.issubdtype(dtype, np.floating) else np.indices(shape).sum(axis=0) % 2
        feeds[value.name] = np.asarray(random).astype(dtype)
    return feeds


def assert_agrees(before: ir.Model, after: ir.Model, feeds: dict[str, np.ndarray] | None = None, rtol: float = 1e-5) -> None:
    """Same inputs, same output names and types, and the same numbers.

    rtol 1e-5, of the largest output: sums of at most a few hundred float32 products are added in another order, or
    rounded once more or less, each worth 6e-8 of the largest term.
    """
    assert [v.name for v in before.graph.inputs] == [v.name for v in after.graph.inputs]
    assert [v.name for v in before.graph.outputs] == [v.name for v in after.graph.outputs]
    feeds = feeds_for(before) if feeds is None else feeds
    for expected, got in zip(outputs_of(before, feeds), outputs_of(after, feeds), strict=True):
        assert expected.dtype == got.dtype
        if np.issubdtype(expected.dtype, np.floating):
            largest = np.abs(expected[np.isfinite(expected)]).max(initial=0)
            np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * largest)
        else:
            np.testing.assert_array_equal(got, expected)


def apply(run, model: ir.Model, feeds: dict[str, np.ndarray] | None = None) -> tuple[ir.Model, PassReport]:
    """`run` on a copy of `model`; the copy must compute the same, and a second run must change nothing."""
    after = ir.clone(model)
    report = run(after)
    assert_agrees(model, after, feeds)
    once = ir.to_bytes(after)
    assert run(after).changed == 0
    assert ir.to_bytes(after) == once
    return after, report


def ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def constant(model: ir.Model, name: str) -> np.ndarray:
    return model.graph.initializers[name].const_value.numpy()
