"""`record show`, `check`, `edit` and `diff`."""

from __future__ import annotations

import json
import re
import shutil

import pytest


@pytest.fixture
def edited(calibrated, tmp_path):
    """The record of the run with another offset for its first layer, stem.conv."""
    text = calibrated.file("record.txt").read_text(encoding="utf-8")
    path = tmp_path / "edited.txt"
    path.write_text(text.replace("offset_d: -128", "offset_d: -100", 1), encoding="utf-8")
    return path


def test_show_gives_a_row_a_layer_with_the_real_range(amct, calibrated):
    done = amct("record", "show", calibrated.file("record.txt"))
    assert done.code == 0
    row = next(line for line in done.out.splitlines() if line.startswith("stem.conv "))
    scale = float(re.split(r"\s{2,}", row)[1])
    # the smallest code stands for (-128 - -128) * scale, the largest for 255 * scale
    assert f"[0, {255 * scale:.4g}]" in row
    assert "(32)" in row
    assert "INT8 × INT8" in row
    assert "7 layers: 6 INT8 × INT8, 1 INT8" in done.out


def test_show_of_some_layers(amct, calibrated):
    done = amct("record", "show", calibrated.file("record.txt"), "--layer", "block1.*")
    assert [line.split()[0] for line in done.out.splitlines() if line.startswith("block")] == [
        "block1.depthwise",
        "block1.pointwise",
    ]
    assert "stem.conv" not in done.out


def test_show_of_a_layer_that_is_not_there(amct, calibrated):
    done = amct("record", "show", calibrated.file("record.txt"), "--layer", "stem.con")
    assert done.code == 3
    assert "matches 'stem.con' (did you mean 'stem.conv'?)" in done.err


def test_show_json_has_the_fields_of_the_record_and_the_range(amct, edited):
    done = amct("record", "show", edited, "--json")
    layer = json.loads(done.out)["layers"]["stem.conv"]
    assert layer["offset_d"] == -100
    assert layer["act_type"] == "INT8"
    assert len(layer["scale_w"]) == 32
    assert layer["range"] == [-28 * layer["scale_d"], 227 * layer["scale_d"]]


def test_show_of_all_that_a_record_of_pytorch_can_hold(amct, tmp_path):
    record = tmp_path / "r.txt"
    record.write_text(
        """record { key: "lstm" value { scale_d: 0.5 offset_d: 0 scale_w: 0.5 scale_w: 0.25 offset_w: 0 offset_w: 0
        scale_h: 0.125 offset_h: 0 scale_r: 0.5 offset_r: 0 shift_bit: 1 shift_bit: 2 skip_fusion: true } }
        record { key: "add:0" value { scale_d: 2.0 offset_d: 1 is_tensor_quantize: true act_type: "INT16" } }""",
        encoding="utf-8",
    )
    done = amct("record", "show", record)
    assert done.code == 0
    assert "scale_h 0.125, scale_r 0.5, shift_bit 1 … 2, skip_fusion true" in done.out
    assert "one tensor" in done.out
    assert "[-6.554e+04, 6.553e+04]" in done.out  # (-32768 - 1) * 2 and (32767 - 1) * 2


TABLE = 'key: "words" value { scale_d: 1.0 offset_d: 0 scale_w: 0.5 scale_w: 0.25 offset_w: 0 offset_w: 0 wts_type: "INT8" }'
POOL = 'key: "pool" value { scale_d: 1.0 offset_d: 0 scale_w: 1.0 offset_w: 0 act_type: "INT8" }'
STEP_OF_1 = 'key: "conv" value { scale_d: 1.0 offset_d: 0 scale_w: 0.5 offset_w: 0 act_type: "INT8" wts_type: "INT8" }'
FC = 'key: "fc" value { scale_d: 0.5 offset_d: 3 scale_w: 0.5 offset_w: 0 act_type: "INT8" wts_type: "INT8" }'


@pytest.fixture
def with_table(tmp_path):
    path = tmp_path / "r.txt"
    path.write_text("\n".join(f"record {{ {entry} }}" for entry in (TABLE, POOL, STEP_OF_1, FC)), encoding="utf-8")
    return path


def test_show_of_a_table_says_that_it_has_no_data(amct, with_table):
    done = amct("record", "show", with_table)
    named = (line.split() for line in done.out.splitlines() if line.startswith(("words", "pool", "conv")))
    rows = {name: cells for name, *cells in named}
    assert rows["words"] == ["—", "—", "—", "0.25", "…", "0.5", "(2)", "INT8", "weight"]
    assert rows["pool"][:2] == rows["conv"][:2] == ["1", "0"]  # a step of 1
    assert "4 layers: 1 INT8 weight, 1 INT8, 2 INT8 × INT8" in done.out
    shown = json.loads(amct("record", "show", with_table, "--json").out)["layers"]
    assert [shown["words"][name] for name in ("scale_d", "offset_d", "act_type", "range")] == [None] * 4
    assert (shown["words"]["wts_type"], shown["pool"]["range"]) == ("INT8", [-128, 127])


@pytest.mark.parametrize("order", ["scale_d", "offset_d", "range"])
def test_a_table_is_last_by_what_it_has_not(amct, with_table, order):
    assert [*json.loads(amct("record", "show", with_table, "--sort", order, "--json").out)["layers"]][-1] == "words"


def test_show_sorted_has_the_largest_first(amct, calibrated):
    done = amct("record", "show", calibrated.file("record.txt"), "--sort", "scale_d", "--json")
    scales = [layer["scale_d"] for layer in json.loads(done.out)["layers"].values()]
    assert scales == sorted(scales, reverse=True)
    assert len(scales) == 7


def test_show_flags_what_is_odd(amct, calibrated, tmp_path):
    record = tmp_path / "r.txt"
    assert (
        amct(
            "record", "edit", calibrated.file("record.txt"), "--layer", "block2.depthwise", "--scale-d", "50", "-o", record
        ).code
        == 0
    )
    assert re.search(r"^block2.depthwise .* × that of its neighbours", amct("record", "show", record).out, re.MULTILINE)


def test_show_with_the_model_tells_what_each_range_clips(amct, calibrated, digits):
    done = amct("record", "show", calibrated.file("record.txt"), "--model", digits, "--json")
    layers = json.loads(done.out)["layers"].values()
    assert len(layers) == 7
    assert all(0 <= layer["clipped"] < 0.01 for layer in layers)


def test_a_range_cut_to_a_tenth_clips_many_values_and_is_flagged(amct, calibrated, digits, tmp_path):
    shutil.copy(calibrated.file("calibration.npz"), tmp_path / "cut_calibration.npz")
    record = tmp_path / "cut_record.txt"
    old = json.loads(amct("record", "show", calibrated.file("record.txt"), "--json").out)["layers"]["classifier"]["scale_d"]
    amct("record", "edit", calibrated.file("record.txt"), "--layer", "classifier", "--scale-d", old / 10, "-o", record)
    done = amct("record", "show", record, "--model", digits)
    assert re.search(r"^classifier .*its range clips \d+ % of the values", done.out, re.MULTILINE)


def test_show_with_a_model_wants_the_calibration_beside(amct, calibrated, digits, tmp_path):
    record = shutil.copy(calibrated.file("record.txt"), tmp_path / "alone_record.txt")
    done = amct("record", "show", record, "--model", digits)
    assert done.code == 6
    assert "no calibration file lies beside" in done.err


def test_edit_prints_the_record_and_tells_the_changes_on_stderr(amct, calibrated):
    before = calibrated.file("record.txt").read_text(encoding="utf-8")
    done = amct("record", "edit", calibrated.file("record.txt"), "--layer", "stem.conv", "--offset-d", "-100")
    assert done.out == before.replace("offset_d: -128", "offset_d: -100", 1)
    assert done.err == "~ stem.conv: offset_d -128 → -100\n"
    assert calibrated.file("record.txt").read_text(encoding="utf-8") == before


def test_edit_writes_to_a_file_and_in_place_only_when_told(amct, edited, tmp_path):
    before = edited.read_text(encoding="utf-8")
    assert amct("record", "edit", edited, "--layer", "stem.*", "--offset-d", "-90", "-o", tmp_path / "new.txt").code == 0
    assert edited.read_text(encoding="utf-8") == before
    assert amct("record", "edit", edited, "--layer", "stem.*", "--offset-d", "-90", "--in-place").code == 0
    assert edited.read_text(encoding="utf-8") == (tmp_path / "new.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--layer", "stem.conv"], 3, "there is nothing to change"),
        (["--layer", "stem.con", "--offset-d", "1"], 3, "did you mean 'stem.conv'?"),
        (["--layer", "*", "--offset-d", "1", "--in-place", "-o", "x.txt"], 3, "--in-place goes without -o"),
        (["--layer", "*", "--offset-d", "300"], 7, "offset_d 300 is outside [-128, 127]"),
    ],
)
def test_edit_says_what_is_wrong(amct, edited, options, code, message):
    before = edited.read_text(encoding="utf-8")
    done = amct("record", "edit", edited, *options)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert edited.read_text(encoding="utf-8") == before


def test_edit_of_a_table_by_its_name_says_that_it_has_no_data(amct, with_table):
    done = amct("record", "edit", with_table, "--layer", "words", "--scale-d", "0.25")
    assert (done.code, done.out) == (7, "")
    assert "no scale_d or offset_d to change: words without data" in done.err


def test_edit_with_a_pattern_leaves_tables_out_and_says_so(amct, with_table):
    done = amct("record", "edit", with_table, "--layer", "*", "--scale-d", "0.25", "-o", with_table.with_name("new.txt"))
    assert (done.code, done.out) == (0, "")
    assert [line.split(":")[0] for line in done.err.splitlines()[:-1]] == ["~ pool", "~ conv", "~ fc"]
    assert done.err.endswith("note: scale_d and offset_d of words stay: tables that rows are picked of have no data.\n")


def test_edit_never_replaces_its_input_under_another_name(amct, edited):
    done = amct("record", "edit", edited, "--layer", "*", "--offset-d", "1", "-o", edited)
    assert done.code == 3
    assert f"-o {edited} is the record itself: pass --in-place to change it" in done.err


def test_check_says_ok_with_counts(amct, calibrated, digits):
    done = amct("record", "check", calibrated.file("record.txt"), digits)
    assert done.code == 0
    assert done.out.startswith("ok: 7 layers of ")
    assert done.out.endswith("no other layer could be quantized.\n")


def test_check_counts_a_pool_as_a_layer_only_for_a_target_that_has_it_as_one(amct, calibrated, digits, tmp_path):
    """For the target ort its input is quantized, as a tensor between the layers."""
    text = calibrated.file("record.txt").read_text(encoding="utf-8")
    without = tmp_path / "without.txt"
    without.write_text("".join(part for part in re.split(r"(?m)^(?=record)", text) if 'key: "pool"' not in part))
    answers = {target: amct("record", "check", without, digits, "--target", target).out for target in ("ascend", "ort")}
    assert answers["ascend"].endswith("1 more layer could be quantized.\n")
    assert answers["ort"].endswith("no other layer could be quantized.\n")


def test_check_of_a_model_against_a_record_shows_the_order(amct, calibrated, digits):
    done = amct("record", "check", digits, calibrated.file("record.txt"))
    assert (done.code, done.out) == (2, "")
    assert "record check [OPTIONS] RECORD MODEL" in done.err
    assert f"Invalid value for 'RECORD': {digits} is a model, which comes behind it." in done.err


def test_check_lists_all_problems_with_their_lines(amct, calibrated, digits, tmp_path):
    text = calibrated.file("record.txt").read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(text.replace('"stem.conv"', '"stem.con"').replace('"pool"', '"pol"'), encoding="utf-8")
    done = amct("record", "check", wrong, digits)
    assert (done.code, done.out) == (7, "")
    assert f"{wrong} does not fit the model, 2 problems:" in done.err
    assert f"{wrong}:2: layer 'stem.con' is no node of the model (did you mean 'stem.conv'?)" in done.err
    assert "layer 'pol' is no node of the model (did you mean 'pool'?)" in done.err


def test_check_json_holds_the_problems(amct, calibrated, digits, tmp_path):
    text = calibrated.file("record.txt").read_text(encoding="utf-8")
    wrong = tmp_path / "wrong.txt"
    wrong.write_text(text.replace('"stem.conv"', '"stem.con"'), encoding="utf-8")
    done = amct("record", "check", wrong, digits, "--json")
    assert done.code == 7
    report = json.loads(done.out)
    assert (report["ok"], report["layers"], report["left_in_float"]) == (False, 7, ["stem.conv"])
    assert len(report["problems"]) == 1


def test_diff_of_equal_records_ends_with_0(amct, calibrated):
    done = amct("record", "diff", calibrated.file("record.txt"), calibrated.file("record.txt"))
    assert (done.code, done.out) == (0, "the records are equal\n")


def test_diff_tells_what_changed_and_ends_with_1(amct, calibrated, edited):
    done = amct("record", "diff", calibrated.file("record.txt"), edited)
    assert (done.code, done.out, done.err) == (1, "~ stem.conv: offset_d -128 → -100\n", "")


def test_diff_as_json_names_what_changed(amct, calibrated, edited):
    done = amct("record", "diff", calibrated.file("record.txt"), edited, "--json")
    assert done.code == 1
    assert list(json.loads(done.out)["changed"]) == ["stem.conv"]


@pytest.mark.parametrize("command", [["show"], ["diff", "nosuch.txt"]])
def test_a_missing_record_is_a_record_error(amct, command):
    done = amct("record", *command, "nosuch.txt")
    assert done.code == 7
    assert "RecordError: cannot read the record nosuch.txt: No such file or directory. `amct-lite calibrate` writes" in done.err


@pytest.mark.parametrize("named", ["", "report.json", "recrd.txt"])
def test_a_prefix_or_another_file_of_a_run_leads_to_its_record(amct, calibrated, named):
    path = calibrated.file(named) if named else calibrated.prefix
    done = amct("record", "show", calibrated.file("nothing.txt") if named == "report.json" else path)
    assert f"(did you mean '{calibrated.file('record.txt')}'?)" in done.err
    assert f"(did you mean '{calibrated.file('record.txt')}'?)" in amct("record", "show", calibrated.prefix.parent).err


def test_channels_of_zeros_do_not_hide_the_range_of_the_others(amct, tmp_path):
    scales = "".join(f"scale_w: {scale} offset_w: 0 shift_bit: 0 " for scale in (0.5, 1.0, 0.25, 1.0))
    (tmp_path / "r.txt").write_text(f'record {{ key: "a" value {{ scale_d: 0.1 offset_d: 0 {scales}}} }}')
    assert "0.25 … 0.5 (4, 2 of zeros)" in amct("record", "show", tmp_path / "r.txt").out
