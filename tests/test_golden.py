"""AMCT's own records, deploy and fake-quant models, and ours of the same networks.

The files come from the open-source AMCT (PyTorch flavour); what must hold is said in the README beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from corpus import SHARED, needs_shared
from onnx import numpy_helper
from onnx_check import full_check

from amct_lite import ir
from amct_lite.calibration.runner import collect
from amct_lite.config import QuantConfig
from amct_lite.decide import decide
from amct_lite.exporters import ascend, qdq
from amct_lite.loading import load_prepared
from amct_lite.plan import layer_facts, resolve
from amct_lite.record import read_record, require_valid
from amct_lite.types import QuantRecord
from amct_lite.validate.equivalence import verify_deploy
from amct_lite.validate.static_shape import fix_shapes

pytestmark = needs_shared
GOLDEN = SHARED / "reference" / "golden"
FOLDERS = ("cnn", "cnn_symmetric", "mlp_hfmg")
SOURCES = ("float", "folded")
BOTH = pytest.mark.parametrize("source", SOURCES)
ALL = pytest.mark.parametrize("folder", FOLDERS)


@cache
def prepared(folder: str, source: str) -> ir.Model:
    model = ir.load(GOLDEN / folder / f"{source}.onnx").model
    for node in model.graph:  # AMCT's own marks in folded.onnx, which no runtime takes
        node.attributes.pop("op_data_type", None)
    return load_prepared(model).prepared


@cache
def record_of(folder: str) -> QuantRecord:
    return read_record(GOLDEN / folder / "record.txt")


def batches(folder: str) -> list[dict[str, np.ndarray]]:
    with np.load(GOLDEN / folder / "data.npz") as data:
        return [{"input": data[name]} for name in data.files]


def deployed(folder: str, source: str) -> ir.Model:
    return ascend.export(fix_shapes(prepared(folder, source), {}), record_of(folder))


Constants = dict[tuple[str, int], np.ndarray]
"""By node and input index."""


@dataclass(frozen=True)
class Step:
    """One node: what it is, and what each input reads (an earlier step, an input of the graph, or a constant)."""

    op_type: str
    name: str
    reads: tuple[int | str, ...]
    attributes: tuple[tuple[str, object], ...]


def steps(model: onnx.ModelProto) -> tuple[list[Step], Constants]:
    """The nodes but Constants, in their order, and the constants they read."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    made_by: dict[str, int] = {}
    found: list[Step] = []
    read: Constants = {}
    for node in model.graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(attributes["value"])
            continue
        sources: list[int | str] = []
        for index, name in enumerate(node.input):
            sources.append("constant" if name in constants else made_by.get(name, name))
            if name in constants:
                read[node.name, index] = constants[name]
        made_by[node.output[0]] = len(found)
        frozen = tuple(sorted((key, tuple(v) if isinstance(v, list) else v) for key, v in attributes.items()))
        found.append(Step(node.op_type, node.name, tuple(sources), frozen))
    return found, read


def pair(folder: str, source: str) -> tuple[tuple[list[Step], Constants], tuple[list[Step], Constants]]:
    """Nodes and constants of our deploy model, and of AMCT's."""
    ours = onnx.load_from_string(ir.to_bytes(deployed(folder, source)))
    return steps(ours), steps(onnx.load(GOLDEN / folder / "deploy.onnx"))


@ALL
@BOTH
def test_the_record_fits_and_names_every_layer(folder: str, source: str) -> None:
    require_valid(record_of(folder), layer_facts("ascend", prepared(folder, source)))


@ALL
@BOTH
def test_same_nodes_in_the_same_places(folder: str, source: str) -> None:
    (ours, _), (theirs, _) = pair(folder, source)
    relus = [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if (a.op_type, b.op_type) == ("Relu", "Clip")]
    # A Relu keeps one input where the Clip had its two bounds beside it.
    assert [s.op_type for i, s in enumerate(ours) if i not in relus] == [
        s.op_type for i, s in enumerate(theirs) if i not in relus
    ]
    assert [s.reads for i, s in enumerate(ours) if i not in relus] == [s.reads for i, s in enumerate(theirs) if i not in relus]
    assert [ours[i].reads[:1] for i in relus] == [theirs[i].reads[:1] for i in relus]
    assert len(relus) == (0 if folder == "mlp_hfmg" else 2)


@ALL
@BOTH
def test_clip_became_relu_where_the_rule_says_so(folder: str, source: str) -> None:
    """Contract, section 10: (127 − offset_d) · scale_d < 6. AMCT's PyTorch flavour leaves the Clip as it is."""
    (ours, _), (theirs, _) = pair(folder, source)
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if b.op_type != "Clip":
            continue
        readers = [step for step in ours if number in step.reads]
        assert [reader.op_type for reader in readers] == ["AscendQuant"]
        params = record_of(folder).by_key[readers[0].name.removesuffix(".quant")].activation
        assert a.op_type == ("Relu" if (127 - params.zero_point[0]) * params.scale[0] < 6 else "Clip")
        assert ours[a.reads[0]].op_type == "AscendDequant"


@ALL
@BOTH
def test_quantized_nodes_have_the_same_names_and_attributes(folder: str, source: str) -> None:
    (ours, _), (theirs, _) = pair(folder, source)
    layers = set(record_of(folder).by_key)
    named = [(a, b) for a, b in zip(ours, theirs, strict=True) if b.op_type.startswith("Ascend") or b.name in layers]
    assert len(named) == len(layers) * 3
    for a, b in named:
        assert (a.op_type, a.name) == (b.op_type, b.name)
        if b.op_type.startswith("Ascend"):
            assert a.attributes == b.attributes  # floats as float32 to the last bit
        else:  # ONNX's defaults may be written or left out
            common = dict(a.attributes).keys() & dict(b.attributes).keys()
            assert {key: dict(a.attributes)[key] for key in common} == {key: dict(b.attributes)[key] for key in common}


@ALL
@BOTH
def test_constants_are_the_same(folder: str, source: str) -> None:
    (ours, mine), (theirs, amcts) = pair(folder, source)
    clips = {step.name for step in theirs if step.op_type == "Clip"}
    names = {b.name: a.name for a, b in zip(ours, theirs, strict=True)}
    off = total = 0
    for (node, index), expected in amcts.items():
        if node in clips:
            continue
        got = mine[names[node], index]
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        if expected.dtype == np.uint64:
            np.testing.assert_array_equal(got, expected)
        elif expected.dtype in {np.dtype(np.int8), np.dtype(np.int32)}:
            difference = np.abs(got.astype(np.int64) - expected)
            # float.onnx: the BatchNormalization is folded here, and may round differently in the last bit
            assert difference.max() <= (1 if source == "float" else 0)
            off, total = off + np.count_nonzero(difference), total + difference.size
        else:
            np.testing.assert_array_equal(got, expected)
    assert off <= total / 1000
    print(f"{folder}/{source}: {off} of {total} integers differ by one step")


@ALL
@BOTH
def test_graph_outputs_keep_their_names(folder: str, source: str) -> None:
    theirs = onnx.load(GOLDEN / folder / "deploy.onnx")
    assert [v.name for v in deployed(folder, source).graph.outputs] == [v.name for v in theirs.graph.output]


@ALL
@BOTH
def test_fake_quant_models_agree(folder: str, source: str) -> None:
    fake = qdq.export(prepared(folder, source), record_of(folder))
    full_check(fake)
    ours, theirs = session(ir.to_bytes(fake)), session(GOLDEN / folder / "fake_quant.onnx")
    for feeds in batches(folder):
        expected = theirs.run(None, feeds)[0]
        deviation = np.abs(ours.run(None, feeds)[0] - expected).max() / np.ptp(expected)
        print(f"{folder}/{source}: fake-quant models differ by {deviation:.2g} of the output's range")
        # float.onnx: one step of one of its weights may differ (see above)
        assert deviation <= 1e-4


def session(model: bytes | Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@ALL
@BOTH
def test_the_deploy_model_runs_and_agrees_with_the_fake_quant_model(folder: str, source: str) -> None:
    fake = qdq.export(prepared(folder, source), record_of(folder))
    verify_deploy(deployed(folder, source), fake, batches(folder))


CONFIGS = {
    "cnn": QuantConfig(algorithm="ifmr"),
    "cnn_symmetric": QuantConfig(algorithm="ifmr", symmetric=True),
    "mlp_hfmg": QuantConfig(algorithm="hfmg", options={"num_of_bins": 4096}, per_channel="none"),
}

TOLERANCE = {
    ("cnn", "folded"): 1e-5,  # the same candidate of IFMR's search
    # AMCT saw fake-quantized weights in front of each layer: the minimum of a flat loss lies up to two candidates aside, each
    # 1 % of the largest value
    ("cnn", "float"): 0.02,
    ("mlp", "folded"): 1e-5,  # the same of HFMG's ranges
    ("mlp", "float"): 0.001,  # a few of its 4096 bins, for the same reason
}


@ALL
@BOTH
def test_calibration_finds_amcts_factors(folder: str, source: str) -> None:
    model = prepared(folder, source)
    plan = resolve(CONFIGS[folder], model)
    statistics = collect(model, plan, batches(folder)).statistics
    record = decide(model, plan, statistics.sketches).record
    assert set(record.by_key) == set(record_of(folder).by_key)
    for expected in record_of(folder).layers:
        got = record.by_key[expected.key]
        ratio = got.activation.scale[0] / expected.activation.scale[0] - 1
        offsets = got.activation.zero_point[0] - expected.activation.zero_point[0]
        weights = np.abs(got.weight.scales / expected.weight.scales - 1).max()
        print(f"{folder}/{source} {expected.key}: scale_d {100 * ratio:+.4f} %, offset_d {offsets:+d}, scale_w {weights:.1e}")
        assert abs(ratio) <= TOLERANCE[folder.partition("_")[0], source], expected.key
        assert abs(offsets) <= 1, expected.key
        assert weights <= 1e-6, expected.key  # float32 rounding
