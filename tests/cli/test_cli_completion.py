"""What the shell offers on TAB."""

from __future__ import annotations

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from amct_lite.cli import group

BLOCK1 = ["block1.depthwise", "block1.pointwise"]


def complete(*words: object, begun: str = "") -> list[CompletionItem]:
    return ShellComplete(group, {}, "amct-lite", "_AMCT_LITE_COMPLETE").get_completions(list(map(str, words)), begun)


def offered(*words: object, begun: str = "") -> list[str]:
    return [item.value for item in complete(*words, begun=begun)]


@pytest.mark.parametrize(
    ("words", "begun", "names"),
    [
        (("calibrate", "m.onnx", "--algo"), "", ["hfmg", "ifmr", "kl", "minmax", "mse", "percentile"]),
        (("calibrate", "m.onnx", "--weight-algo"), "a", ["ada", "arq"]),
        (("config", "create", "m.onnx", "--algo"), "i", ["ifmr"]),
        (("calibrate", "m.onnx", "--provider"), "c", ["cpu"]),
        (("calibrate", "m.onnx", "--target"), "", ["ascend", "ort", "generic"]),
        (("autocalibrate", "m.onnx", "--sensitivity"), "C", ["CosineSimilarity"]),
        (("search", "m.onnx", "--sensitivity"), "e", ["exact", "estimate"]),
        (("search", "m.onnx", "--rounding"), "n", ["none"]),
        (("search", "m.onnx", "--widths"), "W8A16,W4", ["W8A16,W4A8", "W8A16,W4A4"]),
        (("search", "m.onnx", "--only"), "a=b=W8A8,float3", ["a=b=W8A8,float32"]),
        (("sensitivity", "m.onnx", "--candidates"), "W4", ["W4A8"]),
        (("sensitivity", "m.onnx", "--metric"), "s", ["sqnr"]),
    ],
)
def test_known_values_are_offered(words: tuple[str, ...], begun: str, names: list[str]) -> None:
    assert offered(*words, begun=begun) == names


def test_layers_and_operators_of_the_model_are_offered(digits, calibrated) -> None:
    assert offered("calibrate", digits, "--skip", begun="block1") == BLOCK1
    assert offered("calibrate", "--quiet", digits, "-o", "out/d", "--skip", begun="G") == ["Gemm"]
    assert offered("calibrate", digits, "--tensor", begun="block1.add:") == ["block1.add:0", "block1.add:1"]
    assert offered("search", digits, "--only", begun="block1") == [f"{name}=" for name in BLOCK1]
    record = calibrated.file("record.txt")
    assert offered("record", "show", record, "--layer", begun="block1") == BLOCK1
    assert offered("sensitivity", digits, "--record", record, "--layers", begun="block1") == BLOCK1


@pytest.mark.parametrize("model", ["missing.onnx", ".", None])
def test_without_a_model_that_can_be_read_no_layer_is_offered(model: str | None) -> None:
    assert offered("calibrate", *([model] if model else []), "--skip") == []


@pytest.mark.parametrize("option", ["--data", "-o", "--config", "--custom-ops", "--from"])
def test_paths_are_left_to_the_shell(option: str) -> None:
    assert [item.type for item in complete("calibrate", "m.onnx", option, begun="o")] == ["file"]
    assert [item.type for item in complete("report", begun="out/")] == ["file"]
