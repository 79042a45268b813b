"""`amct-lite report`, and `--report` of the commands that calibrate or convert."""

from __future__ import annotations

import json
import re
import shutil
import sys
from io import StringIO
from pathlib import Path

import pytest
from cli.conftest import DIGITS, SAMPLES
from rich.console import Console

from amct_lite.cli.report_analyses import course, fitting
from amct_lite.cli.report_table import _print_layers, merged, sparkline
from amct_lite.page.gather import read_page
from amct_lite.page.values import Histogram, TensorView


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from amct_lite.pipeline import quantize

    prefix = tmp_path_factory.mktemp("digits") / "digits"
    quantize(DIGITS, SAMPLES).save(prefix)
    return prefix


def test_the_terminal_has_every_layer_with_its_values(amct, prefix):
    outcome = amct("report", prefix)
    assert outcome.code == 0
    assert "quantized: 7 of 7" in outcome.out
    (row,) = (line for line in outcome.out.splitlines() if line.startswith("stem.conv"))
    assert "█" in row


def test_commands_that_are_offered_name_the_model_where_it_is(amct, prefix, tmp_path):
    model = shutil.copy(DIGITS, tmp_path / "moved.onnx")
    assert f"`amct-lite bitops {DIGITS} --record {prefix}_record.txt" in amct("report", prefix).out
    assert f"`amct-lite bitops {model} --record" in amct("report", prefix, "--model", model).out


def test_a_missing_analysis_keeps_its_capitals(amct, prefix):
    assert "\nfusion on the NPU: `amct-lite explain " in amct("report", prefix).out


def test_in_sixty_columns_each_row_stays_whole(prefix):
    text = StringIO()
    _print_layers(Console(file=text, width=60, force_terminal=True, color_system=None), read_page(prefix))
    (row,) = (line for line in text.getvalue().splitlines() if "AveragePool" in line)
    assert len(row.split()[3]) == 8, "its sparkline"


def test_html_and_plots_are_written_and_named(amct, prefix, tmp_path):
    outcome = amct("report", prefix, "-o", tmp_path / "r.html", "--plots", tmp_path / "plots", "--plot-format", "svg")
    assert outcome.code == 0
    assert f"wrote {tmp_path / 'r.html'}" in outcome.out
    assert "wrote 8 figures" in outcome.out
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert len(list((tmp_path / "plots").glob("*.svg"))) == 8


def test_json_has_everything(amct, prefix):
    content = json.loads(amct("report", prefix, "--json").out)
    assert {layer["row"]["name"] for layer in content["layers"]} >= {"stem.conv", "classifier"}
    assert len(content["layers"][0]["tensors"][0]["histogram"]["counts"]) == 64


def test_a_page_never_replaces_what_it_is_made_of(amct, prefix, tmp_path):
    record = shutil.copy(f"{prefix}_record.txt", tmp_path / "record.html")
    outcome = amct("report", prefix, "--record", record, "-o", record)
    assert outcome.code == 8
    assert "would overwrite the input" in outcome.err


@pytest.mark.parametrize("named", ["digits_report.json", "digits_record.txt", ""])
def test_a_file_or_the_folder_of_a_run_leads_to_its_prefix(amct, prefix, named):
    outcome = amct("report", prefix.parent / named)
    assert outcome.code == 3
    assert f"did you mean '{prefix}'" in outcome.err or f"Reports lie there under {prefix}" in outcome.err


def test_a_page_is_not_written_under_the_name_of_another_format(amct, prefix, tmp_path):
    outcome = amct("report", prefix, "-o", tmp_path / "r.pdf")
    assert outcome.code == 2
    assert "r.pdf would be a page of HTML; let its name end in .html" in outcome.err
    assert not any(tmp_path.iterdir())


def test_an_unknown_prefix_is_a_message(amct, prefix):
    outcome = amct("report", prefix.with_name("digts"))
    assert outcome.code == 3
    assert "did you mean" in outcome.err


def test_calibrate_and_convert_write_the_page_in_the_same_run(amct, tmp_path):
    assert amct("calibrate", DIGITS, "--data", SAMPLES, "-o", tmp_path / "a", "--report").code == 0
    assert "stem.conv" in (tmp_path / "a_report.html").read_text()
    outcome = amct("convert", DIGITS, "--record", tmp_path / "a_record.txt", "-o", tmp_path / "b", "--report")
    assert outcome.code == 0
    assert "b_report.html" in outcome.out
    assert "stem.conv" in (tmp_path / "b_report.html").read_text()
    assert amct("report", tmp_path / "b", "--record", tmp_path / "a_record.txt").code == 0


def test_autocalibrate_shows_its_own_search(amct, tmp_path):
    metric = tmp_path / "metric.py"
    metric.write_text("def evaluate(model_path):\n    return 1.0\n")
    args = ("--evaluator", metric, "--max-loss", 0.1, "-o", tmp_path / "c", "--report")
    assert amct("autocalibrate", DIGITS, "--data", SAMPLES, *args).code == 0
    assert "From c_autocalibration.json" in (tmp_path / "c_report.html").read_text()


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_said_before_the_run(amct, monkeypatch, tmp_path, package):
    monkeypatch.setitem(sys.modules, package, None)
    outcome = amct("calibrate", DIGITS, "--data", SAMPLES, "-o", tmp_path / "a", "--report")
    assert outcome.code == 3
    assert f"{package}, which is not installed: pip install 'amct-lite[report]'" in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_sparkline_marks_what_the_codes_reach():
    tensor = TensorView("t", (0.0, 2.0), (0.0, 4.0), 0.1, Histogram(0.0, 4.0, (1000, 10, 0, 1)))
    assert sparkline(tensor, 4) == "[underline]█▃[/][dim] ▁[/]"
    assert sparkline(None, 4) == ""


def test_bins_are_merged_without_losing_values():
    assert merged(Histogram(0.0, 1.0, (1, 2, 3, 4, 5, 6, 7)), 3) == (3, 12, 13)


@pytest.fixture
def copied(prefix: Path, tmp_path: Path) -> Path:
    for file in prefix.parent.glob("digits_*"):
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / "digits"


SHAPE = ("--input-shape", "images:1,1,8,8")


def test_an_analysis_makes_the_page_of_its_run_again(amct, copied):
    fake_quant, record = f"{copied}_fake_quant_model.onnx", f"{copied}_record.txt"
    commands = {
        "bitops": ("bitops", DIGITS, "--record", record, *SHAPE),
        "explain": ("explain", fake_quant, "--float", DIGITS, *SHAPE),
        "explain_deploy": ("explain", f"{copied}_deploy_model.onnx"),
        "compare": ("compare", DIGITS, fake_quant, "--data", SAMPLES, "--batches", 2),
        "sensitivity": ("sensitivity", DIGITS, "--record", record, "--data", SAMPLES, "--batches", 2),
    }
    for name, arguments in commands.items():
        outcome = amct(*arguments, "-o", copied, "--report")
        assert outcome.code == 0, outcome.err
        assert f"wrote {copied}_{name}.json\nwrote {copied}_report.html" in outcome.out
    html = Path(f"{copied}_report.html").read_text()
    assert all(f"From digits_{name}.json" in html for name in commands)
    assert "Not of this run." not in html


def test_the_terminal_shows_what_was_measured_in_short(amct, copied):
    assert amct("bitops", DIGITS, "--record", f"{copied}_record.txt", *SHAPE, "-o", copied).code == 0
    assert amct("compare", DIGITS, f"{copied}_fake_quant_model.onnx", "--data", SAMPLES, "-o", copied).code == 0
    out = amct("report", copied).out
    assert "Cost (from digits_bitops.json)" in out
    assert "share of all bit operations" in out
    assert re.search(r"accumulated, along the graph: [▁▂▃▄▅▆▇█ ]+ \(\d", out)


def test_what_is_of_an_older_record_is_said_in_terminal_and_json(amct, copied):
    record = f"{copied}_record.txt"
    assert amct("bitops", DIGITS, "--record", record, *SHAPE, "-o", copied).code == 0
    assert amct("record", "edit", record, "--layer", "stem.conv", "--scale-d", 0.5, "--in-place").code == 0
    out = amct("report", copied).out
    assert "not of this run: It was made of another record than the one that lies here now. Run `amct-lite bitops" in out
    assert "warning: The record has changed since the run" in out
    content = json.loads(amct("report", copied, "--json").out)
    assert [a["stale"] != "" for a in content["analyses"] if a["source"]] == [True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--report",), "--report needs the run whose page is to be made: pass -o"),
        (("--report", "-o", "nowhere/x"), "no run wrote anything under 'nowhere/x'"),
    ],
)
def test_a_page_without_its_run_is_refused_before_the_work(amct, options, message):
    outcome = amct("bitops", DIGITS, *SHAPE, *options)
    assert (outcome.code, outcome.out) == (3, "")
    assert message in outcome.err


def test_a_course_is_as_high_as_its_values_and_has_gaps_where_there_is_none():
    assert course([10.0, None, 20.0, 15.0]) == "▁ █▅ (10.0 to 20.0 dB)"
    assert course([None]) == ""
    assert course([30.0, 30.0]) == "██ (30.0 to 30.0 dB)"


def test_layers_that_onnx_runtime_computes_in_float_stand_in_summary_report_and_page(amct, prefix, tmp_path):
    """A record for Ascend has no tensors between the layers, so the Add reads floats."""
    outcome = amct(
        *("convert", DIGITS, "--record", f"{prefix}_record.txt", "--target", "ort", "-o", tmp_path / "c", "--report")
    )
    reason = "block1.add (Add) reads its output as float"
    assert re.search(rf"block1\.pointwise +Conv +{re.escape(reason)}", outcome.out)
    kernels = json.loads((tmp_path / "c_report.json").read_text())["kernels"]
    assert {"node": "block1.pointwise", "op_type": "Conv", "reason": reason} in kernels["in_float"]
    assert kernels["integer"] + len(kernels["in_float"]) == kernels["layers"]
    assert "pool" not in {layer["node"] for layer in kernels["in_float"]}, "it runs as QLinearAveragePool"
    assert reason in (tmp_path / "c_report.html").read_text()
    assert reason in amct("report", tmp_path / "c", "--record", f"{prefix}_record.txt").out


def test_in_a_narrow_terminal_numbers_give_way_to_names_and_sentences():
    rows = [("conv1", "Conv", "12.5", "x" * 60)]
    columns = ("layer", "op", "#µs", "why")
    assert fitting(columns, rows, 200) == (0, 1, 2, 3)
    assert fitting(columns, rows, 44) == (0, 1, 3)
    assert fitting(columns, rows, 10) == (0, 3)
    assert fitting(columns[:3], [row[:3] for row in rows], 14) == (0, 1)
