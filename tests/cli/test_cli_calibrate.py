"""`calibrate` and `convert`: what they print, write and refuse."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import numpy as np
import pytest

OUTPUTS = ("record.txt", "fake_quant_model.onnx", "deploy_model.onnx", "calibration.npz", "report.json")


def test_calibrate_writes_and_names_its_five_files(calibrated):
    assert calibrated.run.code == 0
    assert calibrated.run.err == "", "no bar and no noise where the output is no terminal"
    assert {path.name for path in calibrated.prefix.parent.iterdir()} == {f"digits_{suffix}" for suffix in OUTPUTS}
    assert all(f"wrote {calibrated.file(suffix)} (" in calibrated.run.out for suffix in OUTPUTS)


def test_calibrate_ends_with_the_table_the_comparison_and_the_atc_command(calibrated):
    out = calibrated.run.out
    row = next(line for line in out.splitlines() if line.startswith("block1.depthwise "))
    assert row.split()[1] == "Conv"
    assert "per channel (32)" in row
    assert re.search(r"fake-quant against float, output logits, \d+ batches: MSE", out)
    assert "7 layers quantized, 0 left in float" in out
    assert f"atc --framework=5 --model={calibrated.file('deploy_model.onnx')} --output={calibrated.prefix} " in out
    assert '--input_shape="images:1,1,8,8"' in out


def test_the_atc_command_is_quoted_for_the_shell(amct, digits, samples, tmp_path):
    prefix = tmp_path / "my net" / "a;b"
    done = amct("calibrate", digits, "--data", samples, "--batches", 2, "-o", prefix)
    command = next(line for line in done.out.splitlines() if line.startswith("atc "))
    assert f"--model={prefix}_deploy_model.onnx" in shlex.split(command)
    assert f"--output={prefix}" in shlex.split(command)


def test_calibrate_json_is_the_report_and_nothing_else(amct, digits, samples, tmp_path):
    done = amct("calibrate", digits, "--data", samples, "-o", tmp_path / "x", "--batches", 2, "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["layers"][0]["name"] == "stem.conv"
    assert done.out == (tmp_path / "x_report.json").read_text(encoding="utf-8")


def test_quiet_prints_warnings_only_and_on_standard_error(amct, digits, tmp_path):
    done = amct("calibrate", digits, "--random", 1, "-o", tmp_path / "x", "--input-shape", "images:1,1,8,8", "-q")
    assert (done.code, done.out) == (0, "")
    assert "warning: calibrated with random numbers" in done.err


def test_resume_without_a_partial_file_begins_and_says_so(amct, digits, samples, tmp_path):
    done = amct("calibrate", digits, "--data", samples, "--batches", 2, "-o", tmp_path / "x", "--resume")
    assert done.code == 0
    assert done.err == f"note: there is no {tmp_path / 'x_calibration.partial'} to go on from; this run begins anew.\n"


def test_from_a_saved_calibration_another_method_decides(amct, calibrated, digits, tmp_path):
    saved = calibrated.file("calibration.npz")
    done = amct("calibrate", digits, "--from", saved, "--algo", "minmax", "-o", tmp_path / "x")
    assert done.code == 0
    assert amct("record", "diff", calibrated.file("record.txt"), tmp_path / "x_record.txt").code == 1


def test_from_a_calibration_for_another_target_says_what_it_lacks(amct, calibrated, digits, tmp_path):
    """More tensors are rounded for ONNX Runtime than an NPU's calibration has seen."""
    done = amct("calibrate", digits, "--from", calibrated.file("calibration.npz"), "--target", "ort", "-o", tmp_path / "x")
    assert done.code == 6
    assert "' (the first of 3 that it lacks): it was made for another target" in done.err
    assert (
        "For ort, tensors between the layers are rounded, too. Calibrate again with data (--data, without --from)" in done.err
    )
    assert not list(tmp_path.iterdir())


def test_convert_of_the_record_gives_the_same_models(amct, calibrated, digits, tmp_path):
    done = amct("convert", digits, "--record", calibrated.file("record.txt"), "-o", tmp_path / "again")
    assert done.code == 0
    for model in ("fake_quant_model.onnx", "deploy_model.onnx"):
        assert (tmp_path / f"again_{model}").read_bytes() == calibrated.file(model).read_bytes()


def test_a_size_that_changes_leaves_record_and_fake_quant_and_exit_code_10(amct, digits, tmp_path):
    for index, rows in enumerate((1, 2)):
        np.save(tmp_path / f"{index}.npy", np.full((rows, 1, 8, 8), 0.5 + index, np.float32))
    done = amct("calibrate", digits, "--data", tmp_path, "-o", tmp_path / "out/x")
    assert done.code == 10
    assert "StaticShapeError: no deploy model: input 'images' is (N, 1, 8, 8)." in done.err
    assert '--input-shape "images:' in done.err
    assert {p.name for p in (tmp_path / "out").iterdir()} == {f"x_{s}" for s in OUTPUTS if s != "deploy_model.onnx"}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nosuch.onnx", "--data", "{samples}"), 4, "UnsupportedModelError: nosuch.onnx does not exist."),
        (("{readme}", "--data", "{samples}"), 4, "README.md is not an ONNX model"),
        (("{quantized}", "--data", "{samples}"), 4, "is already quantized: it holds"),
        (("{digits}", "--data", "nosuch"), 5, "DataError: there is no file or folder nosuch."),
        (("{digits}", "--data", "{digits}"), 5, "digits.onnx is no calibration data."),
        (("{digits}",), 3, "ConfigError: there is nothing to calibrate with."),
        (("{digits}", "--data", "{samples}", "--random", "1"), 3, "--random goes with neither"),
        (("{digits}", "--data", "{samples}", "--config", "nosuch.json"), 3, "cannot read the configuration nosuch.json"),
        (("{digits}", "--data", "{samples}", "--algo", "ifrm"), 3, "'ifrm' (did you mean 'ifmr'?)"),
        (("{digits}", "--data", "{samples}", "--weight-algo", "ark"), 3, "'ark' (did you mean 'arq'?)"),
        (("{digits}", "--data", "{samples}", "--skip", "stem.con"), 3, "(did you mean 'stem.conv'?)"),
        (("{digits}", "--data", "{samples}", "--input-shape", "images"), 3, "is not NAME:DIM,DIM"),
        (("{digits}", "--data", "{samples}", "--input-shape", "image:1,1,8,8"), 3, "no such input (did you mean 'images'?)"),
        (("{digits}", "--data", "{samples}", "--input-shape", "images:1,2"), 3, "(1, 2) does not fit the model"),
        (("{digits}", "--data", "{samples}", "--provider", "Nosuch"), 3, "execution provider 'Nosuch' is not available"),
        (("{digits}", "--from", "{readme}"), 6, "README.md is not a calibration file"),
        (("{digits}", "--from", "{run}"), 6, "_calibration.npz'?). `amct-lite calibrate` writes one"),
        (("{digits}", "--from", "{run}_record.txt"), 6, "or check the path (did you mean '{run}_calibration.npz'?)."),
        (("{run}", "--data", "{samples}"), 4, "does not exist (did you mean '{run}_deploy_model.onnx'?)"),
        (("{digits}", "--data", "{samples}", "--session-config", "a"), 2, "'a' is not KEY=VALUE"),
        (("{digits}", "--data", "{samples}", "--image-mean", "a,b"), 2, "'a,b' is not a list of numbers"),
    ],
)
def test_a_mistake_is_told_in_one_message_with_its_code(amct, calibrated, digits, samples, tmp_path, arguments, code, message):
    places = {
        "samples": samples,
        "digits": digits,
        "readme": digits.with_name("README.md"),
        "quantized": calibrated.file("fake_quant_model.onnx"),
        "run": calibrated.prefix,
    }
    done = amct("calibrate", *(text.format(**places) for text in arguments), "-o", tmp_path / "out/x")
    assert (done.code, done.out) == (code, "")
    assert message.replace("{run}", str(calibrated.prefix)) in done.err
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_results_do_not_go_among_the_samples(amct, digits, tmp_path):
    np.save(tmp_path / "0.npy", np.full((1, 1, 8, 8), 0.5, np.float32))
    for prefix in (f"{tmp_path}/", tmp_path / "net"):
        done = amct("calibrate", digits, "--data", tmp_path, "-o", prefix)
        assert (done.code, done.out) == (3, "")
        assert "among the samples" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["0.npy"]
    assert amct("calibrate", digits, "--data", tmp_path, "-o", tmp_path / "out/net", "-q").code == 0


def test_not_a_number_in_the_data_is_an_error_of_its_sample(amct, digits, tmp_path):
    for index in range(3):
        np.save(tmp_path / f"{index}.npy", np.full((1, 1, 8, 8), np.nan if index == 1 else 0.5, np.float32))
    done = amct("calibrate", digits, "--data", tmp_path, "-o", tmp_path / "out/x")
    assert done.code in {5, 6}
    assert "1" in done.err
    assert not (tmp_path / "out").exists()


def test_an_output_never_replaces_the_model(amct, digits, samples, tmp_path):
    model = tmp_path / "x_fake_quant_model.onnx"
    shutil.copy(digits, model)
    done = amct("calibrate", model, "--data", samples, "-o", tmp_path / "x", "--batches", 1)
    assert done.code == 8
    assert "would overwrite the input" in done.err
    assert [p.name for p in tmp_path.iterdir()] == [model.name]
    assert model.read_bytes() == digits.read_bytes()


def test_an_output_folder_that_cannot_be_made_is_an_export_error(amct, digits, samples, tmp_path):
    (tmp_path / "file").write_text("")
    done = amct("calibrate", digits, "--data", samples, "-o", tmp_path / "file/x", "--batches", 1)
    assert done.code == 8
    assert "ExportError: cannot write to" in done.err


def test_a_calibration_of_another_model_is_refused(amct, calibrated, digits, tmp_path):
    import onnx

    model = onnx.load(digits)
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(
            onnx.numpy_helper.to_array(model.graph.initializer[0]) + 1, model.graph.initializer[0].name
        )
    )
    onnx.save(model, tmp_path / "other.onnx")
    done = amct("calibrate", tmp_path / "other.onnx", "--from", calibrated.file("calibration.npz"), "-o", tmp_path / "x")
    assert done.code == 6
    assert "was made from another model than other.onnx" in done.err


def test_convert_refuses_a_record_that_is_none(amct, digits, tmp_path):
    done = amct("convert", digits, "--record", digits.with_name("README.md"), "-o", tmp_path / "x")
    assert done.code == 7
    assert "RecordError: " in done.err
    assert "README.md:" in done.err


def test_tuning_tells_its_races_and_writes_what_it_chose(amct, digits, samples, tmp_path):
    done = amct(
        *("calibrate", digits, "--data", samples, "--batches", "4", "--target", "ort", "--tune", "-o", tmp_path / "digits"),
        *("--threads", "1", "--bias-correction", "none"),
    )
    assert done.code == 0
    assert "Valid for this machine" in done.out
    assert (tmp_path / "digits_tuning.json").is_file()
    assert (tmp_path / "digits_config.json").is_file()


def test_tuning_another_target_is_refused(amct, digits, samples, tmp_path):
    done = amct("calibrate", digits, "--data", samples, "--tune", "-o", tmp_path / "digits")
    assert done.code != 0
    assert "Pass --target ort" in done.err


def test_a_scale_a_tensor_and_a_scale_a_channel_exclude_each_other(amct, digits, samples, tmp_path):
    done = amct("calibrate", digits, "--data", samples, "-o", tmp_path / "x", "--channel-wise", "all", "--per-tensor")
    assert done.code == 2
    assert "--per-tensor and --channel-wise all contradict each other" in done.err
