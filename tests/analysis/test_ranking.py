"""The most sensitive layer goes first, by any measure."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from small_nets import ONE_THREAD, images, net, saved

from amct_lite import ir
from amct_lite.analysis.local_error import measure
from amct_lite.analysis.ranking import SENSITIVITIES, rank_layers
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, ConfigError
from amct_lite.numerics.metrics import cosine
from amct_lite.pipeline import quantize
from amct_lite.types import LayerRecord, QParams, QuantRecord


@pytest.fixture(scope="module")
def quantized(tmp_path_factory: pytest.TempPathFactory) -> tuple[ir.Model, QuantRecord]:
    """conv2's weights lie far apart and have one scale: it suffers most."""
    weights = np.full((8, 1, 3, 3), 0.001, np.float32)
    weights[0] = 1.0
    path = saved(net(w2=weights), tmp_path_factory.mktemp("rank"))
    result = quantize(path, images(), QuantConfig(per_channel="none", bias_correction="none"), options=ONE_THREAD)
    return result.source.prepared, result.record


@pytest.mark.parametrize("sensitivity", SENSITIVITIES)
def test_rankings_ascend(quantized: tuple[ir.Model, QuantRecord], sensitivity: str) -> None:
    model, record = quantized
    ranking = rank_layers(model, model, record, images(), sensitivity)
    assert {name for name, _ in ranking} == set(record.by_key)
    assert all(first <= second for (_, first), (_, second) in pairwise(ranking))
    assert all(np.isfinite(score) for _, score in ranking)


def test_cosine_score_is_amcts(quantized: tuple[ir.Model, QuantRecord]) -> None:
    model, record = quantized
    errors = measure(model, model, record, images())
    for name, score in rank_layers(model, model, record, images()):
        assert score == 0.5 + 0.5 * errors[name].cosine


def test_an_object_is_called_with_both_outputs(quantized: tuple[ir.Model, QuantRecord]) -> None:
    """With the cosine of the arrays themselves it finds the ranking by sums."""

    class Cosine:
        def compare(self, original: np.ndarray, quantized: np.ndarray) -> float:
            return 0.5 + 0.5 * cosine(original, quantized)

    model, record = quantized
    by_arrays = dict(rank_layers(model, model, record, images(batch=8), Cosine()))
    by_sums = dict(rank_layers(model, model, record, images(batch=8)))
    for name, score in by_sums.items():
        assert by_arrays[name] == pytest.approx(score, abs=1e-6)  # sums in float32


def test_an_unknown_name_is_told_with_the_nearest_one(quantized: tuple[ir.Model, QuantRecord]) -> None:
    model, record = quantized
    with pytest.raises(ConfigError, match=r"'CosinSimilarity' \(did you mean 'CosineSimilarity'\?\); choose one of"):
        rank_layers(model, model, record, images(), "CosinSimilarity")
    with pytest.raises(ConfigError, match=r"object has no method compare"):
        rank_layers(model, model, record, images(), object())  # type: ignore[arg-type]


def test_a_score_that_is_no_number_names_the_layer(quantized: tuple[ir.Model, QuantRecord]) -> None:
    class Nan:
        def compare(self, _original: np.ndarray, _quantized: np.ndarray) -> float:
            return float("nan")

    model, record = quantized
    with pytest.raises(CalibrationError, match="the similarity of conv1 is nan"):
        rank_layers(model, model, record, images(), Nan())


def test_single_tensors_are_not_ranked(quantized: tuple[ir.Model, QuantRecord]) -> None:
    model, record = quantized
    tensor = LayerRecord("add:0", QParams.of(0.1, 0), None, tensor_quantize=True)
    both = QuantRecord((*record.layers, tensor))
    assert rank_layers(model, model, both, images()) == rank_layers(model, model, record, images())
