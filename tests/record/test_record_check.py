"""A record against what a model has."""

import pytest

from amct_lite.errors import RecordError
from amct_lite.record import UNIT_WEIGHT, LayerFacts, ReadFacts, RecurrentRecord, check_record, require_valid
from amct_lite.types import LayerRecord, QParams, QuantRecord

DATA = QParams.of(0.5, 0)
MODEL = {
    "conv1": LayerFacts("Conv", channels=4, input_channels=3),
    "pool1": LayerFacts("AveragePool"),
    "product": LayerFacts("MatMul", channels=1, symmetric="because both factors are data"),
    "lstm": LayerFacts("LSTM", channels=4, recurrent=True),
    "conv1d": LayerFacts("Conv", quantizable=False, reason="ATC takes no 1-D Conv", other_targets=True),
    "act1": LayerFacts("Relu", quantizable=False, reason="Relu has no integer form", reads=ReadFacts(("",))),
    "add1": LayerFacts("Add", quantizable=False, reads=ReadFacts(("", "the input is a constant"), claimed={0: "product"})),
    "pool2": LayerFacts("MaxPool", quantizable=False, reads=ReadFacts(("",), weights=("conv1",))),
}


def record(layer: LayerRecord) -> QuantRecord:
    return QuantRecord((layer,), source="r.txt")


def weight(count: int) -> QParams:
    return QParams.of([0.25] * count, 0)


@pytest.mark.parametrize(
    "layer",
    [
        LayerRecord("conv1", DATA, weight(1)),
        LayerRecord("conv1", DATA, weight(4), balance_factor=(1.0, 1.0, 1.0)),
        LayerRecord("pool1", DATA, None),
        LayerRecord("pool1", DATA, UNIT_WEIGHT),
        LayerRecord("product", DATA, weight(1)),
        LayerRecord("act1:0", DATA, None, tensor_quantize=True),
        RecurrentRecord("lstm", DATA, weight(4), recurrence=weight(4)),
        RecurrentRecord("lstm", DATA, weight(4), recurrence=weight(1)),
    ],
)
def test_fitting_layers_have_no_problem(layer: LayerRecord) -> None:
    assert check_record(record(layer), MODEL) == ()
    require_valid(record(layer), MODEL)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            LayerRecord("conv2", DATA, weight(1), line=7),
            r"^r.txt:7: layer 'conv2' is no node of the model \(did you mean 'conv1'\?\)",
        ),
        (LayerRecord("x:0", DATA, None, tensor_quantize=True), "layer 'x:0' is no node of the model"),
        (
            LayerRecord("act1", DATA, weight(1)),
            r"'act1' \(Relu\) cannot be quantized: Relu has no integer form\. Remove the entry\.$",
        ),
        (
            LayerRecord("conv1d", DATA, weight(4)),
            r"no 1-D Conv\. Remove the entry, or choose the target that the record was made",
        ),
        (LayerRecord("conv1", DATA, None), r"layer 'conv1' \(Conv\) has no scale_w and offset_w"),
        (LayerRecord("conv1", DATA, weight(3)), r"\(Conv\) has 3 scale_w, must be 1 or 4, its output channels"),
        (LayerRecord("product", DATA, weight(2)), r"\(MatMul\) has 2 scale_w, must be 1\."),
        (LayerRecord("lstm", DATA, weight(4)), r"\(LSTM\) has no scale_r and offset_r, of the weight of its hidden state"),
        (RecurrentRecord("lstm", DATA, weight(4), recurrence=weight(2)), r"\(LSTM\) has 2 scale_r, must be 1 or 4, its output"),
        (LayerRecord("pool1", DATA, weight(2)), r"\(AveragePool\) has scale_w, but no weight: leave it out, or write 1.0"),
        (LayerRecord("pool1", DATA, weight(1)), r"\(AveragePool\) has scale_w, but no weight"),
        (LayerRecord("product", QParams.of(0.5, 3), weight(1)), r"offset_d 3, must be 0, because both factors are data"),
        (
            LayerRecord("conv1", DATA, weight(1), balance_factor=(1.0,)),
            "has 1 tensor_balance_factor, must be 3, its input",
        ),
    ],
)
def test_contradictions_are_named(layer: LayerRecord, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        require_valid(record(layer), MODEL)


def tensors(*keys: str, layer: LayerRecord | None = None) -> QuantRecord:
    entries = [LayerRecord(key, DATA, None, tensor_quantize=True) for key in keys]
    return QuantRecord((*([layer] if layer else []), *entries), source="r.txt")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (tensors("ad1:0"), r"layer 'ad1:0' is no node of the model \(did you mean 'add1'\?\)"),
        (tensors("add1:2"), r"'add1:2' \(Add\) cannot be quantized: there is no input 2: it has 2 inputs, 0 to 1\. Remove"),
        (tensors("act1:1"), "there is no input 1: it has one input, 0"),
        (tensors("add1:1"), "the input is a constant"),
        (
            tensors("add1:0", layer=LayerRecord("product", DATA, weight(1))),
            "layer 'product' is quantized, which quantizes this",
        ),
        (tensors("pool2:0"), "'conv1' stays in float and would read it: ONNX Runtime would quantize that layer's weights"),
    ],
)
def test_contradictions_of_single_tensors_are_named(wanted: QuantRecord, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        require_valid(wanted, MODEL)


@pytest.mark.parametrize(
    "wanted", [tensors("add1:0"), tensors("act1:0"), tensors("pool2:0", layer=LayerRecord("conv1", DATA, weight(1)))]
)
def test_what_a_layer_would_have_against_a_tensor_counts_only_with_that_layer(wanted: QuantRecord) -> None:
    require_valid(wanted, MODEL)


def test_all_contradictions_are_listed() -> None:
    both = QuantRecord((LayerRecord("a", DATA, None), LayerRecord("conv1", DATA, weight(2), balance_factor=(1.0,))))
    with pytest.raises(RecordError, match=r"^the record does not fit the model, 3 problems:\n  layer 'a'") as caught:
        require_valid(both, MODEL)
    assert caught.value.problems == check_record(both, MODEL)


def test_a_record_of_another_model_is_told_once() -> None:
    given = QuantRecord(tuple(LayerRecord(f"layer{n}", DATA, weight(1), line=n) for n in range(12)), source="r.txt")
    (problem,) = check_record(given, MODEL)
    assert problem.startswith("none of its 12 names is a node of the model (the first is 'layer0'): a record of another model?")


def test_two_wrong_names_are_two_slips() -> None:
    given = QuantRecord(tuple(LayerRecord(name, DATA, weight(1)) for name in ("conv2", "conv3")))
    assert len(check_record(given, MODEL)) == 2
