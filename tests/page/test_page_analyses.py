"""What other commands measured, as their JSON files say it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amct_lite.diagnosis.bitops import bitops
from amct_lite.errors import ConfigError
from amct_lite.page.analyses import Place, analyses_of
from amct_lite.page.freshness import Present
from amct_lite.page.values import Analysis, Flow, Pairs, Point

PLACE, PRESENT = Place("out/m", "m.onnx", "ascend", "out/m_record.txt"), Present("model", "record", "out/m")
DIGITS = "samples/digits/digits.onnx"


def read(suffix: str, content: Any) -> Analysis:
    text = content if isinstance(content, str) else json.dumps(content)
    (found,) = (analysis for analysis in analyses_of({suffix: text}, PLACE, PRESENT) if analysis.source)
    return found


def test_cost_as_bitops_writes_it() -> None:
    cost = bitops(DIGITS, input_shapes={"images": (1, 1, 8, 8)})
    total, table = read("bitops.json", cost.to_json()).tables
    assert [row[0] for row in total.rows] == ["fp32", "fp16"]
    assert [row[0] for row in table.rows] == [layer.name for layer in cost.layers]
    shares = [float(row[5].removesuffix(" %")) for row in table.rows]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))  # rounded to a tenth


def test_sensitivities_are_ranked_by_the_first_candidate() -> None:
    def effect(layer: str, candidate: str, damage: float | None) -> dict[str, Any]:
        return {"layer": layer, "op_type": "Conv", "candidate": candidate, "damage": damage, "local": {"sqnr_db": 30.0}}

    effects = [effect("a", "W8A8", 1e-3), effect("a", "W4A8", 9.0), effect("b", "W8A8", 2e-3), effect("c", "W8A8", None)]
    content = {"method": "exact", "metric": "nmse", "samples": 8, "candidates": ["W8A8", "W4A8"], "effects": effects}
    content["notes"] = ["biases stay"]
    found = read("sensitivity.json", content)
    assert found.series.values == (("b", 2e-3), ("a", 1e-3))
    assert found.findings == ("Measured on 8 samples.", "Biases stay.")
    assert read("sensitivity.json", content | {"samples": 1}).findings[0] == "Measured on 1 sample."
    assert [row[0] for row in found.tables[0].rows] == ["a", "b", "a", "c"], "the worst first, what is not known last"
    assert found.tables[0].rows[3] == ("c", "Conv", "W8A8", "—", "30.0")


def test_a_search_marks_what_was_exported_and_leaves_out_what_loses_nothing() -> None:
    content = {
        "cost": "bitops",
        "chosen": {"bitops": 15, "weight_bytes": 7, "estimated_loss": 0.02, "widths": {"a": "W4A8"}, "layers": {"W4A8": 1}},
        "notes": [],
        "front": [{"cost": 10, "loss": 0.1}, {"cost": 20, "loss": 0.01}, {"cost": 40, "loss": 0.0}],
        "strategies": [{"name": "all W8A8", "sqnr_db": 35.5, "bitops": 1000, "weight_bytes": 5388, "metric": None}],
    }
    found = read("search.json", content)
    assert found.front.points == (Point(10, 0.1), Point(20, 0.01), Point(15, 0.02, chosen=True))
    assert found.findings == ("Chosen: 1 as W4A8.",)
    assert found.tables[0].rows == (("all W8A8", "35.5", "1,000", "5,388", "—"),)
    assert found.tables[1].rows == (("a", "W4A8"),)


def test_the_error_flow_keeps_places_without_a_finite_number() -> None:
    def tensor(name: str, sqnr: float | str, alone: float | str, *, jump: bool) -> dict[str, Any]:
        row = {"name": name, "node": f"n_{name}", "op_type": "Conv", "cosine": 1.0, "max_error": 0.0, "max_value": 1.0}
        return row | {"sqnr_db": sqnr, "isolated_db": alone, "jump": jump}

    tensors = [tensor("a", "inf", "inf", jump=False), tensor("b", 30.0, 31.0, jump=True)]
    content = {"exact": "m.onnx", "other": "q.onnx", "unmatched": [], "tensors": tensors}
    found = read("compare.json", content)
    assert found.flow == Flow((None, 30.0), (None, 31.0), (1,))
    assert found.tables[0].rows[0][:4] == ("a", "n_a", "Conv", "exact")
    assert found.findings == ("q.onnx against m.onnx.", "The error jumps at n_b.")


def explanation(**changed: Any) -> dict[str, Any]:
    def layer(name: str, kernel: str, reasons: list[str], own: float, exact: float | None) -> dict[str, Any]:
        row = {"name": name, "op_type": "Conv", "kernel": kernel, "integer": not reasons, "reasons": reasons}
        return row | {"microseconds": own, "float_microseconds": exact}

    layers = [layer("a", "QLinearConv", [], 20.0, 10.0), layer("b", "FusedConv", ["a Clip stays"], 5.0, None)]
    kinds = [{"op_type": "QLinearConv", "count": 1, "microseconds": 20.0, "float_count": 0, "float_microseconds": 0.0}]
    content = {"model": "q.onnx", "layers": layers, "kinds": kinds, "quantize": 2, "dequantize": 3, "stored": 0}
    return content | {"microseconds": 25.0, "float_microseconds": 10.0} | changed


def test_speed_shows_layers_with_reasons_and_times_beside_the_float_model() -> None:
    found = read("explain.json", explanation())
    assert found.findings == (
        "q.onnx: 1 of 2 convolutions and matrix products run as integer kernels.",
        "Left between kernels: 2 QuantizeLinear, 3 DequantizeLinear.",
        "All kernels of one run take 25 µs; those of the float model 10 µs.",
        "Slower on integers than in float: a.",
    )
    assert found.pairs == Pairs(("this model", "float model"), "µs", (("QLinearConv", 20.0, 0.0),))
    layers, kinds = found.tables
    assert layers.rows == (("a", "Conv", "QLinearConv", "20", "10", ""), ("b", "Conv", "FusedConv", "5", "—", "a Clip stays"))
    assert kinds.rows == (("QLinearConv", "1", "20", "—", "—"),)


def test_speed_without_a_float_model_has_no_columns_for_it() -> None:
    found = read("explain.json", explanation(float_microseconds=None))
    assert (found.pairs, found.series.values) == (None, (("QLinearConv", 20.0),))
    assert [table.columns for table in found.tables] == [
        ("layer", "op", "kernel", "#µs", "why it is in float"),
        ("kernel", "#nodes", "#µs"),
    ]


def test_what_layers_of_a_deploy_model_hand_on() -> None:
    layers = [
        {"name": "a", "op_type": "Conv", "fused": True, "reasons": []},
        {"name": "b", "op_type": "Conv", "fused": False, "reasons": ["add (Add) reads its output as float"]},
    ]
    found = read("explain_deploy.json", {"model": "d.onnx", "layers": layers, "unquantized": ["c"]})
    assert found.findings == ("d.onnx: 1 of 2 quantized layers hand integers on.", "Not quantized: c.")
    assert found.tables[0].rows[1] == ("b", "Conv", "float", "add (Add) reads its output as float")


def test_tuning_shows_each_race_and_what_stays_in_float() -> None:
    races = [{"layers": ["a", "b"], "ratio": 0.64, "kept": True}, {"layers": ["c"], "ratio": 1.03, "kept": False}]
    found = read("tuning.json", {"in_float": ["a", "b"], "races": races})
    assert found.findings == ("Left in float, where this machine is faster: a, b.",)
    assert found.tables[0].rows == (("a, b", "0.640", "yes"), ("c", "1.030", "no"))


@pytest.mark.parametrize(
    ("target", "title", "command"),
    [
        ("ascend", "Cost", "amct-lite bitops m.onnx --record r.txt -o 'my out/m'"),
        ("ascend", "Speed", "amct-lite explain 'my out/m_fake_quant_model.onnx' --float m.onnx -o 'my out/m'"),
        ("ort", "Speed", "amct-lite explain 'my out/m_ort_model.onnx' --float m.onnx -o 'my out/m'"),
        ("ascend", "Fusion on the NPU", "amct-lite explain 'my out/m_deploy_model.onnx' -o 'my out/m'"),
        ("ort", "Tuning", "amct-lite calibrate m.onnx --data … --target ort --tune -o 'my out/m'"),
    ],
)
def test_commands_name_the_files_of_the_run(target: str, title: str, command: str) -> None:
    place = Place("my out/m", "m.onnx", target, "r.txt")
    assert {analysis.title: analysis.command for analysis in analyses_of({}, place, PRESENT)}[title] == command


def test_commands_give_open_dimensions_the_sizes_of_the_deploy_model() -> None:
    place = Place("m", "m.onnx", "ascend", "r.txt", {"x": (1, 3, 8, 8), "ids": (1, 16)})
    commands = {analysis.title: analysis.command for analysis in analyses_of({}, place, PRESENT)}
    assert commands["Cost"] == "amct-lite bitops m.onnx --record r.txt --input-shape 'x:1,3,8,8;ids:1,16' -o m"
    assert " --input-shape 'x:1,3,8,8;ids:1,16' " in commands["Speed"]


def test_what_the_target_does_not_have_is_not_asked_for() -> None:
    titles = {
        target: {a.title for a in analyses_of({}, Place("m", "m.onnx", target, "r"), PRESENT)} for target in ("ascend", "ort")
    }
    assert titles["ascend"] - titles["ort"] == {"Fusion on the NPU"}
    assert titles["ort"] - titles["ascend"] == {"Tuning"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layers": 3}'])
def test_foreign_content_is_refused_with_the_command(text: str) -> None:
    with pytest.raises(ConfigError, match=r"m_bitops.json does not hold what its name says.*`amct-lite bitops m.onnx"):
        read("bitops.json", text)
