"""Sensitivity by hand, by brute force, interrupted and resumed; and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layer_cases import CASES, layer_node, record_for
from passes.graphs import feeds_for, outputs_of, parse
from small_nets import images, net, saved

from amct_lite import ir
from amct_lite.analysis.candidates import Scales
from amct_lite.analysis.sensitivity import Sensitivities, measure_sensitivity
from amct_lite.calibrated import Calibrated
from amct_lite.config import QuantConfig
from amct_lite.correction.analytic import correct_bias
from amct_lite.errors import CalibrationError, ConfigError, DataError
from amct_lite.exporters import qdq
from amct_lite.numerics.metrics import sums
from amct_lite.pipeline import calibrate
from amct_lite.plan import resolve
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import LayerRecord, QParams, QuantRecord

LINEAR = (
    "g (float[1,2] x, float[2,2] w1, float[2,2] w2) => (float[1,2] y) { [one] h = MatMul (x, w1) [two] y = MatMul (h, w2) }"
)
ONE = QParams.of(1.0, 0)
HALF = QParams.of(0.5, 0)
ALL = ("W8A8", "W4A8", "W8A16", "W8", "A8", "FP16")
QUIET = RuntimeOptions(threads=1)
ALONE = RunOptions(QUIET)


def scales(model: ir.Model, record: QuantRecord) -> Scales:
    return Scales(record, resolve(QuantConfig(target="generic"), model))


def linear() -> tuple[ir.Model, Scales, list[dict[str, np.ndarray]]]:
    """h = (3, 1.2), y = (6, 6). The weight 0.3 becomes 0.5, all other weights and x lie on their grids."""
    w1, w2 = np.diag([1, 0.3]).astype(np.float32), np.diag([2, 5]).astype(np.float32)
    model = parse(LINEAR, w1=w1, w2=w2, header='<ir_version: 8, opset_import: ["": 17]>')
    record = QuantRecord((LayerRecord("one", ONE, HALF), LayerRecord("two", ONE, HALF)))
    return model, scales(model, record), [{"x": np.array([[3, 4]], np.float32)}]


def test_two_linear_layers_by_hand() -> None:
    found = measure_sensitivity(*linear(), candidates=("W8A8", "W8", "A8"), metric="mse", options=ALONE)
    effects = {(effect.layer, effect.candidate): effect for effect in found.effects}
    assert list(effects) == [(layer, way) for layer in ("one", "two") for way in ("W8A8", "W8", "A8")]
    one = effects["one", "W8"]  # h is off by (0, 0.8), y by (0, 4); three decimal digits of 0.3 are lost to float32
    assert one.local.mse == pytest.approx(0.64 / 2, rel=1e-6)
    assert one.local.nmse == pytest.approx(0.64 / (9 + 1.44), rel=1e-6)
    figures = one.outputs["y"]
    assert (figures.mse, figures.nmse) == (pytest.approx(16 / 2, rel=1e-6), pytest.approx(16 / 72, rel=1e-6))
    assert figures.sqnr_db == pytest.approx(10 * np.log10(72 / 16), rel=1e-6)
    assert figures.cosine == pytest.approx((36 + 60) / np.sqrt(72 * 136), rel=1e-6)
    p, q = (np.exp(y) / np.exp(y).sum() for y in (np.array([6, 6.0]), np.array([6, 10.0])))
    assert figures.kl == pytest.approx(float((p * np.log(p / q)).sum()), rel=1e-5)
    assert one.damage == figures.mse
    assert effects["one", "A8"].damage == 0  # x is on its grid
    assert effects["two", "W8"].damage == 0
    assert effects["two", "A8"].damage == pytest.approx(1 / 2, rel=1e-5)  # 1.2 becomes 1, times 5
    assert found.ranking("W8A8")[0] == ("one", -one.damage)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_layer_of_each_kind_is_what_the_fake_quant_model_makes_of_it(case) -> None:
    model = case.model()
    feeds = feeds_for(model)
    record = record_for(case, model, feeds, per_channel=case.per_channel)
    found = measure_sensitivity(model, scales(model, record), [feeds], metric="mse", options=ALONE)
    exact, fake = outputs_of(model, feeds)[0], outputs_of(qdq.export(model, record), feeds)[0]
    assert found.damages("W8A8") == {str(layer_node(model).name): pytest.approx(float(((exact - fake) ** 2).mean()), rel=1e-4)}


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    return calibrate(saved(net(), tmp_path_factory.mktemp("sensitivity")), images())


def measured(calibrated: Calibrated, feeds: list[dict[str, np.ndarray]], **arguments: object) -> Sensitivities:
    sketches = arguments.pop("sketches", calibrated.usable)
    known = Scales(calibrated.decision.record, calibrated.plan, sketches)
    return measure_sensitivity(calibrated.source.prepared, known, feeds, **{"options": ALONE, **arguments})


def test_exact_is_brute_force(calibrated: Calibrated) -> None:
    """Each layer exported alone, the whole network run. Sums in another order differ by 1e-7, the errors are 1e-3."""
    prepared, feeds = calibrated.source.prepared, images(6)
    damages = measured(calibrated, feeds).damages("W8A8")
    exact = open_session(prepared, QUIET)
    plain = RuntimeOptions(threads=1, disabled_optimizers=("WeightBiasQuantization",))
    for entry in calibrated.decision.record.layers:
        alone = QuantRecord((entry,))
        fake = open_session(qdq.export(correct_bias(prepared, alone, calibrated.usable).model, alone), plain)
        found = np.sum([sums(exact.run(batch)[0], fake.run(batch)[0]) for batch in feeds], axis=0)
        assert damages[entry.key] == pytest.approx(found[3] / found[0], rel=1e-4)


def test_many_pieces_give_what_one_gives(calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of two layers; sums in another order differ by 1e-7 of signals, damages are 1e-3 of them."""
    whole = measured(calibrated, images(6), candidates=("W8A8", "A8"))
    monkeypatch.setattr("amct_lite.analysis.pieces.MOST_COPIES", 1)
    steps: list[int] = []
    counted = replace(ALONE, progress=lambda _stage, done, total: steps.append(done / total))
    again = measured(calibrated, images(6), candidates=("W8A8", "A8"), options=counted)
    for one, other in zip(whole.effects, again.effects, strict=True):
        assert other.damage == pytest.approx(one.damage, rel=1e-4)
        assert other.local.mse == pytest.approx(one.local.mse, rel=1e-5)
    assert len(steps) > 4
    assert sum(steps) == pytest.approx(1)


def test_a_change_is_followed_into_the_branches_of_an_if() -> None:
    """h = x w1 is off by (0, 0.8) in W8 of `one`; the branch that is taken adds h to itself, the other does not read it."""
    text = """g (float[1,2] x, float[2,2] w1, float[2,2] w2, bool c) => (float[1,2] y) { [one] h = MatMul (x, w1)
      [choose] k = If (c) <then_branch = t () => (float[1,2] a) { a = Add (h, h) },
        else_branch = e () => (float[1,2] b) { b = Add (x, x) }> [two] y = MatMul (k, w2) }"""
    w1, w2 = np.diag([1, 0.3]).astype(np.float32), np.diag([2, 5]).astype(np.float32)
    model = parse(text, header='<ir_version: 8, opset_import: ["": 17]>', w1=w1, w2=w2)
    record = QuantRecord((LayerRecord("one", ONE, HALF), LayerRecord("two", ONE, HALF)))
    for taken, expected in ((True, 4 * 16 / 2), (False, 0.0)):
        feeds = [{"x": np.array([[3, 4]], np.float32), "c": np.array(taken)}]
        found = measure_sensitivity(model, scales(model, record), feeds, candidates=("W8",), metric="mse", options=ALONE)
        assert found.damages("W8")["one"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("bits", "largest"), [(4, 7), (8, 127), (16, 32767)])
def test_rounding_goes_to_the_even_and_stays_in_range(bits: int, largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """x / 0.5 = (6.5, -2.5, 400) with zero point 3, whether nodes do it or plain operators."""
    model = parse(
        "g (float[1,3] x, float[3,3] w) => (float[1,3] y) { [one] y = MatMul (x, w) }",
        header='<ir_version: 8, opset_import: ["": 17]>',
        w=np.eye(3, dtype=np.float32),
    )
    record = QuantRecord((LayerRecord("one", QParams.of(0.5, 3, bits), HALF),))
    feeds = [{"x": np.array([[3.25, -1.25, 200]], np.float32)}]
    kept = np.array([min(6, largest - 3), -2, min(400, largest - 3)]) * 0.5
    for nodes in (8, 0):
        monkeypatch.setattr("amct_lite.analysis.variants._NODE_BITS", nodes)
        found = measure_sensitivity(model, scales(model, record), feeds, candidates=(f"A{bits}",), metric="mse", options=ALONE)
        assert found.damages(f"A{bits}")["one"] == pytest.approx(float(((kept - feeds[0]["x"]) ** 2).mean()), rel=1e-6)


def test_more_bits_hurt_less(calibrated: Calibrated) -> None:
    found = {way: measured(calibrated, images(4), candidates=ALL).damages(way) for way in ALL}
    for layer in found["W8A8"]:
        assert found["FP16"][layer] < found["W8A16"][layer] < found["W8A8"][layer] < found["W4A8"][layer]
        assert found["W8"][layer] == pytest.approx(found["W8A16"][layer], rel=0.05)


def test_with_all_samples_probed_the_estimate_is_exact(calibrated: Calibrated) -> None:
    feeds = images(1)
    exact, estimate = (measured(calibrated, feeds, method=method) for method in ("exact", "estimate"))
    assert exact.damages("W8A8") == pytest.approx(estimate.damages("W8A8"), rel=1e-6)
    assert not any(effect.outputs for effect in estimate.effects)


def test_other_candidates_are_estimated_from_the_reaction_to_the_first(calibrated: Calibrated) -> None:
    """The direction of the error differs, its energy counts: a factor of 2 on a network of four layers."""
    exact, estimate = (measured(calibrated, images(), method=m, candidates=("W8A8", "W4A8")) for m in ("exact", "estimate"))
    for layer, damage in exact.damages("W4A8").items():
        assert 0.5 < estimate.damages("W4A8")[layer] / damage < 2


def test_auto_estimates_where_exact_is_long(calibrated: Calibrated, monkeypatch: pytest.MonkeyPatch) -> None:
    assert measured(calibrated, images(2)).method == "exact"
    monkeypatch.setattr("amct_lite.analysis.sensitivity.EXACT_UP_TO", 3)
    assert measured(calibrated, images(2)).method == "estimate"


def test_a_function_of_the_outputs_as_metric(calibrated: Calibrated) -> None:
    def largest(exact: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
        return float(np.abs(exact["y"] - other["y"]).max())

    found = measured(calibrated, images(1), metric=largest)
    assert found.metric == "largest"
    for effect in found.effects:
        assert effect.damage**2 >= effect.outputs["y"].mse > 0


class InterruptedRunError(Exception):
    pass


def test_an_interrupted_run_goes_on_where_it_stopped(calibrated: Calibrated, tmp_path: Path) -> None:
    feeds = images(12)  # three batches of four
    whole = measured(calibrated, feeds)
    journal, seen = tmp_path / "journal.jsonl", []

    def stop(_stage: str, done: int, _total: int | None) -> None:
        seen.append(done)
        if len(seen) == 2:  # in the second batch
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        measured(calibrated, feeds, journal=journal, options=replace(ALONE, progress=stop))
    lines = journal.read_text().splitlines()
    assert len(lines) == 1 + 4  # the key, and what was measured
    journal.write_text("\n".join([*lines, lines[-1][:40]]))  # killed while it wrote
    told: list[str] = []
    assert measured(calibrated, feeds, journal=journal, tell=told.append) == whole
    assert told == [
        f"4 measurements of 4 of 4 layers are taken from {journal}, of an interrupted run; delete it to begin anew."
    ]
    assert len(journal.read_text().splitlines()) == 1 + 3 * 4


def test_a_journal_of_other_samples_does_not_count(calibrated: Calibrated, tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    measured(calibrated, images(1), journal=journal)
    told: list[str] = []
    again = measured(calibrated, images(1, seed=5), journal=journal, tell=told.append)
    assert again.effects == measured(calibrated, images(1, seed=5)).effects
    assert told == [
        f"{journal} was of an interrupted run with another model, other samples or another metric: this one begins anew."
    ]


def test_json_has_no_infinities() -> None:
    found = measure_sensitivity(*linear(), candidates=("A8",), options=ALONE)
    content = json.loads(found.to_json(), parse_constant=pytest.fail)
    assert content["effects"][0]["local"]["sqnr_db"] is None


def test_without_a_calibration_some_candidates_are_refused(calibrated: Calibrated) -> None:
    assert measured(calibrated, images(1), candidates=("W4A8", "FP16"), sketches=None).damages("W4A8")
    with pytest.raises(CalibrationError, match=r"W8A16 of conv1 needs 16-bit activations.*--from.*leave W8A16 out"):
        measured(calibrated, images(1), candidates=("W8A16",), sketches=None)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": "nmsee"}, ConfigError, "unknown metric 'nmsee' .did you mean 'nmse'..; choose one of nmse, mse"),
        ({"method": "exakt"}, ConfigError, "unknown method 'exakt' .did you mean 'exact'..; choose"),
        ({"candidates": ("W8A",)}, ConfigError, "unknown candidate 'W8A' .did you mean 'W8A8'..; write W8A8"),
        ({"candidates": "W8A8"}, ConfigError, r"candidates = 'W8A8' must be a list of names, such as \['W8A8'\]"),
        ({"candidates": ("W5A8",)}, ConfigError, "weights: 4, 6, 7, 8 bits"),
        ({"layers": set()}, CalibrationError, "nothing to measure"),
        ({"metric": lambda exact, other: None}, DataError, "returned None for conv1 as W8A8; it must return a finite number"),
        ({"metric": lambda exact, other: float("nan")}, DataError, "returned nan for conv1"),
    ],
)
def test_what_cannot_be_is_refused(calibrated: Calibrated, arguments: dict[str, object], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        measured(calibrated, images(1), **arguments)


def test_without_samples_nothing_is_measured(calibrated: Calibrated) -> None:
    with pytest.raises(DataError, match="no sample to measure with"):
        measured(calibrated, [])
