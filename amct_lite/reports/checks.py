"""Runs what was exported before anybody else does: layer by layer, end to end, and deploy against fake-quant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import prod

import numpy as np

from amct_lite import ir
from amct_lite.analysis.local_error import LocalError, measure
from amct_lite.build import Exports
from amct_lite.calibration.data import random_data
from amct_lite.calibration.feeds import InputSpec
from amct_lite.errors import ExportError
from amct_lite.exporters import narrow
from amct_lite.exporters.integers import quantized_layers
from amct_lite.reports.half_layers import require_fit
from amct_lite.reports.report import OutputError, output_errors, without_error
from amct_lite.runtime import RuntimeOptions, is_heavy, open_session
from amct_lite.types import AnyArray, Feeds, QuantRecord
from amct_lite.validate.equivalence import Equivalence, verify_deploy
from amct_lite.validate.halves import half_problem
from amct_lite.validate.kernels import Kernels, verify_kernels
from amct_lite.validate.scales import require_usable_scales

COMPARED_SAMPLES = 8
"""End to end: enough for a stable figure, a fraction of the calibration pass."""
LOCAL_SAMPLES = 4
"""Each layer runs twice for its own error, whose sums over thousands of values settle with few samples: at most so many."""
LOCAL_VALUES = 1 << 24
"""Of all layers together; a large network reaches that with two samples."""
DEPLOY_SAMPLES = 4
"""At most; a large network is compared on fewer (`validate.equivalence.MOST_VALUES`)."""


@dataclass(frozen=True)
class Compared:
    """The outputs of the fake-quant model: their errors on so many samples; a sentence for each that has none."""

    errors: tuple[OutputError, ...]
    samples: int
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """local: layer → error of its own output. outputs, remarks: fake-quant against `reference`, in numbers and in words. data:
    what the deploy model ran on."""

    local: Mapping[str, LocalError]
    outputs: tuple[OutputError, ...]
    samples: int
    equivalence: Equivalence | None = None
    data: str = ""
    kernels: Kernels | None = None
    reference: str = "float"
    remarks: tuple[str, ...] = ()


def check_exports(
    prepared: ir.Model,
    record: QuantRecord,
    exports: Exports,
    feeds: Sequence[Feeds],
    exact: Sequence[tuple[AnyArray, ...]],
    inputs: Sequence[InputSpec],
    options: RuntimeOptions,
    floats: Sequence[tuple[AnyArray, ...]] | None = None,
) -> Checked:
    """Execute both exported models. feeds: real samples; exact: the float model's outputs for each of them. floats: these, for
    the first COMPARED_SAMPLES, where `exact` are those of another model.

    Without feeds there is nothing to measure accuracy on; the deploy model then still runs, on random numbers.
    Raises VerificationError when a scale is no finite number above 0, the deploy model and the fake-quant model differ, or a
    layer does not fit into float16.
    """
    require_usable_scales(exports.fake_quant, "fake-quant model")
    if exports.deploy is not None:
        require_usable_scales(exports.deploy, "deploy model" if exports.target == "ascend" else "model for ONNX Runtime")
    require_fit(prepared, exports.halves, feeds[:LOCAL_SAMPLES], options)
    with ThreadPoolExecutor(1) as beside:  # building a model is one thread's work, and so are many integer kernels
        local = beside.submit(_local_errors, prepared, exports, record, feeds, options)
        if is_heavy(prepared):
            local.result()
        found = compared(exports, feeds, exact, options)
        plain = partial(Checked, outputs=found.errors, samples=found.samples, remarks=found.remarks)
        if exports.deploy is None:
            return plain(local.result())
        if exports.target == "ort":
            kernels = _check_kernels(prepared, record, exports, feeds, exact if floats is None else floats, inputs, options)
            return plain(local.result(), kernels=kernels)
        samples, description = _deploy_feeds(feeds, inputs, exports.shapes)
        equivalence = verify_deploy(exports.deploy, exports.fake_quant, samples, options)
        return plain(local.result(), equivalence=equivalence, data=description)


def _local_errors(
    prepared: ir.Model, exports: Exports, record: QuantRecord, feeds: Sequence[Feeds], options: RuntimeOptions
) -> Mapping[str, LocalError]:
    """Of each layer; of none where there are no samples to measure it on."""
    few = _few(feeds, prepared, record)
    return measure(prepared, exports.alone, record, few, options, optimize=False) if few else {}


def compared(
    exports: Exports, feeds: Sequence[Feeds], exact: Sequence[tuple[AnyArray, ...]], options: RuntimeOptions
) -> Compared:
    """The fake-quant model on the last feeds, which no correction was measured on. The model is loaded in any case."""
    last = slice(-COMPARED_SAMPLES, None)
    quantized, names = exports.results[last], [str(value.name) for value in exports.fake_quant.graph.outputs]
    if not quantized or len(quantized) < len(feeds[last]):
        session = open_session(exports.fake_quant, options)
        quantized = tuple(tuple(session.run_apart(_known(sample, session.input_names))) for sample in feeds[last])
    if not feeds:
        return Compared((), len(quantized))
    return Compared(output_errors(names, exact[last], quantized), len(quantized), without_error(names, exact[last], quantized))


def settle_half(
    exports: Exports,
    record: QuantRecord,
    floats: narrow.FloatTypes,
    feeds: Sequence[Feeds],
    inputs: Sequence[InputSpec],
    options: RuntimeOptions,
) -> tuple[Exports, tuple[str, ...]]:
    """The deploy model in float16 where the source is (floats: value of the source → its type), or `record` asks for it, and it
    computes the same on samples; else as it is. With what to tell the user."""
    asked = narrow.asked_types(exports.deploy, record) if exports.deploy is not None else {}
    if exports.deploy is None or not (floats or ir.DataType.FLOAT16 in asked.values()):
        return exports, ()
    if exports.target == "ort":
        return exports, ("the source is float16; the model for ONNX Runtime computes in float32 inside, as fake-quant does.",)
    if exports.target != "ascend":
        return exports, ()
    try:
        half = narrow.narrow(exports.deploy, floats or narrow.all_wide(exports.deploy), asked)
        problem = half_problem(exports.deploy, half, _deploy_feeds(feeds, inputs, exports.shapes)[0], options)
    except ExportError as error:
        problem = str(error)
    what = "the source is float16" if floats else "the record asks for FLOAT16"
    if problem:
        return exports, (f"{what}, the deploy model computes in float32 between its layers: {problem}.",)
    count = sum(node.op_type == "AscendDequant" and bool(ir.attribute(node, "dtype", 0)) for node in half.graph)
    so = "and so is the deploy model" if floats else f"and {count} layers of the deploy model give it"
    return replace(exports, deploy=half), (f"{what}, {so}; the fake-quant model computes in float32 inside.",)


def _check_kernels(
    prepared: ir.Model,
    record: QuantRecord,
    exports: Exports,
    feeds: Sequence[Feeds],
    exact: Sequence[tuple[AnyArray, ...]],
    inputs: Sequence[InputSpec],
    options: RuntimeOptions,
) -> Kernels:
    assert exports.deploy is not None
    samples = list(feeds[:COMPARED_SAMPLES]) or list(random_data(inputs, 2, shapes=exports.shapes))
    layers = [item.layer.name for item in quantized_layers(prepared, record) if item.layer.data]
    return verify_kernels(exports.deploy, exports.fake_quant, layers, samples, exact[: len(feeds[:COMPARED_SAMPLES])], options)


def _few(feeds: Sequence[Feeds], prepared: ir.Model, record: QuantRecord) -> Sequence[Feeds]:
    """The first of them, until the outputs of all layers hold LOCAL_VALUES; a dimension that is open counts as one."""
    outputs = [ir.dims_of(node.outputs[0]) or () for node in prepared.graph if node.name in record.by_key]
    values = sum(prod(dim for dim in dims if isinstance(dim, int)) for dims in outputs)
    return feeds[: min(LOCAL_SAMPLES, -(-LOCAL_VALUES // max(values, 1)))]


def _known(feeds: Feeds, names: Sequence[str]) -> Feeds:
    return {name: feeds[name] for name in names}


def _deploy_feeds(
    feeds: Sequence[Feeds], inputs: Sequence[InputSpec], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[list[Feeds], str]:
    if not feeds:
        return list(random_data(inputs, 2, shapes=shapes)), "random numbers"
    chosen = feeds[:DEPLOY_SAMPLES]
    fitted = [{name: _fit(array, shapes.get(name)) for name, array in sample.items()} for sample in chosen]
    same = all(array is sample[name] for sample, new in zip(chosen, fitted, strict=True) for name, array in new.items())
    kind = "calibration samples" if same else "calibration samples, repeated or cut to the static shape"
    return fitted, kind


def _fit(array: AnyArray, shape: tuple[int, ...] | None) -> AnyArray:
    """`array`, each axis repeated or cut to the wanted length."""
    if shape is None or array.shape == shape:
        return array
    for axis, length in enumerate(shape):
        array = np.take(array, np.arange(length) % array.shape[axis], axis=axis)
    return array
