"""What other commands measured, as their JSON files say it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from amct_lite.diagnosis.bitops import bitops
from amct_lite.errors import ConfigError
from amct_lite.page.analyses import analyses_of
from amct_lite.page.values import Analysis, Flow, Point

DIGITS = "samples/digits/digits.onnx"


def read(suffix: str, content: Any) -> Analysis:
    text = content if isinstance(content, str) else json.dumps(content)
    (found,) = (analysis for analysis in analyses_of({suffix: text}, "out/m", "m.onnx") if analysis.source)
    return found


def test_cost_as_bitops_writes_it() -> None:
    cost = bitops(DIGITS, input_shapes={"images": (1, 1, 8, 8)})
    table = read("bitops.json", cost.to_json()).table
    assert [row[0] for row in table.rows] == [layer.name for layer in cost.layers]
    shares = [float(row[5].removesuffix(" %")) for row in table.rows]
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))  # rounded to a tenth


def test_sensitivities_are_ranked_by_the_first_candidate() -> None:
    def effect(layer: str, candidate: str, damage: float | None) -> dict[str, Any]:
        return {"layer": layer, "op_type": "Conv", "candidate": candidate, "damage": damage, "local": {"sqnr_db": 30.0}}

    effects = [effect("a", "W8A8", 1e-3), effect("a", "W4A8", 9.0), effect("b", "W8A8", 2e-3), effect("c", "W8A8", None)]
    content = {"method": "exact", "metric": "nmse", "candidates": ["W8A8", "W4A8"], "effects": effects}
    found = read("sensitivity.json", content)
    assert found.series.values == (("b", 2e-3), ("a", 1e-3))
    assert len(found.table.rows) == 4
    assert found.table.rows[3] == ("c", "Conv", "W8A8", "—", "30")


def test_a_search_marks_what_was_exported_and_leaves_out_what_loses_nothing() -> None:
    content = {
        "cost": "bitops",
        "chosen": {"bitops": 15, "weight_bytes": 7, "estimated_loss": 0.02},
        "front": [{"cost": 10, "loss": 0.1}, {"cost": 20, "loss": 0.01}, {"cost": 40, "loss": 0.0}],
        "strategies": [{"name": "all W8A8", "sqnr_db": 35.5, "bitops": 1000, "weight_bytes": 5388, "metric": None}],
    }
    found = read("search.json", content)
    assert found.front.points == (Point(10, 0.1), Point(20, 0.01), Point(15, 0.02, chosen=True))
    assert found.table.rows == (("all W8A8", "35.5", "1,000", "5,388", "—"),)


def test_the_error_flow_keeps_places_without_a_finite_number() -> None:
    def tensor(name: str, sqnr: float | str, alone: float | str, *, jump: bool) -> dict[str, Any]:
        row = {"name": name, "node": f"n_{name}", "op_type": "Conv", "cosine": 1.0, "max_error": 0.0, "max_value": 1.0}
        return row | {"sqnr_db": sqnr, "isolated_db": alone, "jump": jump}

    content = {"tensors": [tensor("a", "inf", "inf", jump=False), tensor("b", 30.0, 31.0, jump=True)]}
    found = read("compare.json", content)
    assert found.flow == Flow((None, 30.0), (None, 31.0), (1,))
    assert found.table.rows[0][:4] == ("a", "n_a", "Conv", "inf")


def test_commands_name_model_and_prefix() -> None:
    commands = {analysis.title: analysis.command for analysis in analyses_of({}, "out/m", "m.onnx")}
    assert commands["Cost"] == "amct-lite bitops m.onnx --record out/m_record.txt --json > out/m_bitops.json"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"layers": 3}'])
def test_foreign_content_is_refused_with_the_command(text: str) -> None:
    with pytest.raises(ConfigError, match=r"m_bitops.json does not hold what its name says.*`amct-lite bitops m.onnx"):
        read("bitops.json", text)
