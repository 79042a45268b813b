"""README.md and the other documents say what is so: their commands, configuration, code and numbers are tried out."""

from __future__ import annotations

import math
import re
import shlex
import shutil
from pathlib import Path

import pytest
from fences import ROOT, blocks

import amct_lite
from amct_lite import errors, judging
from amct_lite.calibration import nodes, observing
from amct_lite.cli import group
from amct_lite.config import load_config
from amct_lite.config.mapping import GLOBAL_KEYS, OVERRIDE_KEYS
from amct_lite.correction import full
from amct_lite.numerics import sketch, stratum
from amct_lite.reports import warnings
from amct_lite.validate import equivalence

README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMERICS = (ROOT / "docs" / "numerics.md").read_text(encoding="utf-8")
DIGITS = ROOT / "samples" / "digits"


@pytest.fixture
def own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as the README assumes it, with the digits as the reader's own model."""
    shutil.copy(DIGITS / "digits.onnx", tmp_path / "model.onnx")
    shutil.copytree(DIGITS / "calibration", tmp_path / "calib")
    (tmp_path / "quant.yaml").write_text(blocks("README.md", "yaml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_first_commands_exist() -> None:
    first = re.findall(r"^bash (\S+)", README, flags=re.MULTILINE)
    assert first == ["tools/demo", "tools/check"]
    assert all((ROOT / script).is_file() for script in first)


def test_commands_run_one_after_the_other(own_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in blocks("README.md", "sh") for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines]
    assert {words[0] for words in commands} == {"amct-lite", "cp"}
    for words in commands:
        if words[0] == "cp":
            shutil.copy(words[1], words[2])
        else:
            group.main(words[1:], standalone_mode=False)
    names = ("record.txt", "fake_quant_model.onnx", "deploy_model.onnx", "calibration.npz", "report.json")
    assert all((own_model / "out" / f"net_{name}").is_file() for name in names)
    assert "atc --framework=5 --model=out/net_deploy_model.onnx" in capsys.readouterr().out


def test_record_that_was_not_edited_gives_the_same_bytes(own_model: Path) -> None:
    amct_lite.quantize("model.onnx", "calib/").save("out/net")
    amct_lite.export("model.onnx", "out/net_record.txt", "out/again")
    for name in ("fake_quant_model.onnx", "deploy_model.onnx"):
        assert (own_model / "out" / f"net_{name}").read_bytes() == (own_model / "out" / f"again_{name}").read_bytes()


@pytest.mark.usefixtures("own_model")
def test_python_runs() -> None:
    (code,) = blocks("README.md", "python")
    exec(compile(code, "README.md", "exec"), {})
    assert Path("out/net_record.txt").is_file()
    assert Path("out/again_deploy_model.onnx").is_file()


@pytest.mark.usefixtures("own_model")
def test_configuration_does_what_its_comments_say() -> None:
    plan = amct_lite.inspect("model.onnx", load_config("quant.yaml")).plan
    assert {skip.node for skip in plan.skips} == {"classifier", "pool"}
    methods = {layer.name: layer.inputs[0].algorithm for layer in plan.layers}
    assert methods["stem.conv"] == "percentile"
    assert methods["block1.depthwise"] == methods["block1.pointwise"] == "mse"
    assert {layer.name for layer in plan.layers if layer.weight_algorithm == "mse"} == {"block1.depthwise"}
    amct_lite.quantize("model.onnx", "calib/", "quant.yaml")


def test_configuration_shows_every_section() -> None:
    (text,) = blocks("README.md", "yaml")
    shown = set(re.findall(r"\b(\w+):", text))
    sections = {path[0] for path in (*GLOBAL_KEYS, *OVERRIDE_KEYS)} | {"types", "layers"}
    assert sections - {"trust_data", "skip_fusion", "balance", "balance_fold", "float16"} <= shown


def test_exit_codes_are_those_of_the_errors() -> None:
    told = {name: int(code) for code, name in re.findall(r"^\| (\d+) \|.*\| `(\w+)` \|$", README, flags=re.MULTILINE)}
    kinds = {
        name: kind.exit_code
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.AmctError) and kind is not errors.NumericsError
    }
    assert told == kinds


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{file.name}" for file in sorted((ROOT / "docs").glob("*.md")))])
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert [target for target in targets if not (ROOT / document).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("document", ["docs/architecture.md", "docs/numerics.md"])
def test_files_that_a_document_names_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.py)`", text))
    assert named
    assert {name for name in named if not (ROOT / name).exists() and not (ROOT / "amct_lite" / name).exists()} == set()


def test_house_map_is_complete() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    told = set(re.findall(r"`(\w+)(?:/|\.py)`", rows))
    found = {path.stem for path in (ROOT / "amct_lite").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert told == found - {"__main__"}


@pytest.mark.parametrize(
    "words",
    [
        f"Up to {stratum.EXACT_VALUES} values",
        f"counts of {stratum.BINS} bins",
        f"integers, {stratum.WEIGHT_ONE} to one value",
        f"`s * {nodes.SUBSET} >= n`",
        f"`s * {nodes.FEWEST} >= n`",
        f"lies more than {sketch._WILD_EXPONENTS} above",
        f"fewer than {sketch._FEWEST_SAMPLES}\n",
        f"the first {observing.MOST_KEPT} batches (64 MiB)",
        f"until the outputs of all layers together hold 2^{math.log2(full.MOST_VALUES):.0f} values",
        f"\n{judging.CLEAR_DB:g} dB SQNR",
        f"reaches {judging.GOOD_DB:.0f} dB SQNR",
        f"{warnings.POOR_SQNR_DB:.0f} dB it is named",
        f"less than {warnings.LOST_CHANNEL_DB:.0f} dB",
        f"within {equivalence.TIE_DISTANCE:g} of a step of a tie",
        f"0.5 step + 2^{math.log2(equivalence.FLOAT_STEPS):.0f} of the largest",
    ],
)
def test_numbers_are_those_of_the_code(words: str) -> None:
    assert words in NUMERICS
