"""The command `amct_onnx`: AMCT's options, the log file, evaluators, exit codes."""

from __future__ import annotations

import gc
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from qdq_nets import torch_form

import amct_lite as amct
from amct_lite.calibration.feeds import InputSpec
from amct_lite.calibration.store import beside
from amct_lite.cli.amct_onnx import main
from amct_lite.compat.bin_batches import bin_inputs, require_inputs
from amct_lite.diagnosis.saturation import saturated_shares
from amct_lite.errors import ConfigError

DIGITS = Path(__file__).resolve().parents[2] / "samples" / "digits"
Run = Callable[..., int]
SHAPE = "images:8,1,8,8"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs `amct_onnx` with these words in a folder that has digits.onnx and two .bin files; returns the exit code."""
    shutil.copy(DIGITS / "digits.onnx", tmp_path / "digits.onnx")
    images = [np.load(file).reshape(1, 1, 8, 8) for file in sorted((DIGITS / "calibration").glob("*.npy"))]
    (tmp_path / "bins").mkdir()
    for number in range(2):
        np.concatenate(images[8 * number : 8 * number + 8]).tofile(tmp_path / "bins" / f"{number}.bin")
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("amct_lite")
    before = logger.level

    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["amct_onnx", *words])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    yield command
    for handler in tuple(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(before)


def log() -> str:
    return Path("amct_log/amct_onnx.log").read_text(encoding="utf-8")


def test_calibration_with_bin_files(run: Run) -> None:
    words = ["--model=digits.onnx", "--save_path=out/net", f"--input_shape={SHAPE}", "--data_dir=bins/", "--data_types=float32"]
    assert run("calibration", *words, "--batch_num=2") == 0
    names = {file.name for file in Path("out").iterdir()}
    record = "net_record.txt"
    models = {"net_deploy_model.onnx", "net_fake_quant_model.onnx", "net_quant.json"}
    assert names == {*models, record, f"{record}.calibration.npz"}
    deploy = Path("out/net_deploy_model.onnx").read_bytes()
    amct.convert_model("digits.onnx", f"out/{record}", "again/net")  # the record makes the same models
    assert Path("again/net_deploy_model.onnx").read_bytes() == deploy
    calibration = beside(f"out/{record}")
    assert calibration is not None
    shares = saturated_shares(amct.read_record(f"out/{record}"), calibration, "digits.onnx")  # `amct-lite record show --model`
    assert shares.keys() == amct.read_record(f"out/{record}").by_key.keys()
    assert "INFO - [AMCT]: written under out/net" in log()


def test_too_few_files_state_both_counts(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model", "digits.onnx", "--save_path", "out/net", "--input_shape", SHAPE, "--data_dir", "bins"]
    assert run("calibration", *words, "--data_type", "float32", "--batch_num", "3") == 5
    assert "bins has 2 .bin files for input 'images', batch_num is 3" in capsys.readouterr().err
    assert "batch_num is 3" in log()
    assert not Path("out").exists()


def test_an_empty_folder_is_told_what_belongs_there(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    words = ["--model", "digits.onnx", "--save_path", "out/net", "--input_shape", SHAPE, "--data_dir", "empty"]
    assert run("calibration", *words, "--data_type", "float32") == 5
    told = capsys.readouterr().err
    assert "empty for input 'images' has no .bin files. Write one file a batch there" in told
    assert "--batch_num" not in told


def test_configuration_decides_about_batches(run: Run) -> None:
    Path("c.cfg").write_text("batch_num: 2\nskip_layers: 'classifier'\n", encoding="utf-8")
    data = ["--input_shape", SHAPE, "--data_dir", "bins", "--data_types", "float32"]
    assert run("calibration", "--model", "digits.onnx", "--save_path", "out/", *data, "--calibration_config", "c.cfg") == 0
    assert b"classifier.quant" not in Path("out/deploy_model.onnx").read_bytes()


def test_learned_rounding_is_logged(run: Run) -> None:
    Path("c.cfg").write_text("batch_num: 2\ncommon_config { ada_quantize { num_iteration: 60 } }", encoding="utf-8")
    data = ["--input_shape", SHAPE, "--data_dir", "bins", "--data_types", "float32"]
    assert run("calibration", "--model", "digits.onnx", "--save_path", "out/net", *data, "--calibration_config", "c.cfg") == 0
    assert "stem.conv: learned rounding: output error" in log()


EVALUATOR = """
import numpy as np
import amct_onnx as amct
from amct_onnx.common.auto_calibration import AutoCalibrationEvaluatorBase

class Digits(AutoCalibrationEvaluatorBase):
    def calibration(self, modified_model_file):
        session = amct.CalibrationSession(modified_model_file)
        for name in ("0.bin", "1.bin")[:RUNS]:
            session.run(None, {"images": np.fromfile("bins/" + name, np.float32).reshape(8, 1, 8, 8)})
"""


def test_evaluator_written_for_amct(run: Run) -> None:
    Path("e.py").write_text(EVALUATOR.replace("RUNS", "2"), encoding="utf-8")
    words = ["--model", "digits.onnx", "--save_path", "out/net", "--evaluator", "e.py", "--batch_num", "2"]
    assert run("calibration", *words) == 0
    assert Path("out/net_quant.json").is_file()
    assert "amct_onnx" not in sys.modules


def test_evaluator_that_runs_too_little(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("e.py").write_text(EVALUATOR.replace("RUNS", "1"), encoding="utf-8")
    words = ["--model", "digits.onnx", "--save_path", "out/net", "--evaluator", "e.py", "--batch_num", "2"]
    assert run("calibration", *words) == 6
    told = capsys.readouterr().err
    assert "the calibration of e.py has run the calibration model 1 of 2 times. Let it run 1 more" in told
    assert "amct_lite_" not in told  # no name of a temporary file
    assert not Path("out").exists()


def test_configurations_are_named_as_the_user_did(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--input_shape", SHAPE, "--data_dir", "bins", "--data_types", "float32"]
    for text, message in (
        (
            "batch_num: 2\nskip_layers: 'clasifier'\n",
            "c.cfg:2: layer 'clasifier' is not in the model (did you mean 'classifier'?)",
        ),
        ("skip_layer_types: 'Conv'\nskip_layer_types: 'Gemm'\nskip_layer_types: 'AveragePool'", "nothing is quantized"),
    ):
        Path("c.cfg").write_text(text, encoding="utf-8")
        assert run("calibration", "--model", "digits.onnx", "--save_path", "o", *data, "--calibration_config", "c.cfg") == 3
        told = capsys.readouterr().err
        assert message in told
        assert "amct_lite_" not in told


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("import nothing_like_this", 5, "e.py:1: ModuleNotFoundError"),
        ("x = 1", 3, "must define one class derived from"),
    ],
)
def test_faulty_evaluators_are_refused(
    run: Run, capsys: pytest.CaptureFixture[str], text: str, code: int, message: str
) -> None:
    Path("e.py").write_text(text, encoding="utf-8")
    assert run("calibration", "--model", "digits.onnx", "--save_path", "o", "--evaluator", "e.py") == code
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--evaluator", "e.py", "--data_dir", "bins"], 3, "leave out --data_dir"),
        (["--data_dir", "bins"], 3, "--input_shape, --data_types missing"),
        (["--evaluator", "e.py", "--batch_num", "1", "--calibration_config", "c.cfg"], 3, "--batch_num goes not with"),
        (["--evaluator", "e.py"], 3, "--evaluator e.py does not exist"),
        (["--evaluator", "bins"], 3, "--evaluator bins is no Python file"),
        (
            ["--input_shape", "image:8,1,8,8", "--data_dir", "bins", "--data_types", "float32"],
            3,
            "no input 'image' (did you mean",
        ),
        (["--input_shape", "images:8,1,4,16", "--data_dir", "bins", "--data_types", "float32"], 5, "or input shape if one was"),
        (["--input_shape", SHAPE, "--data_dir", "a;b", "--data_types", "float32"], 3, "--data_dir 2 folders"),
        (["--input_shape", SHAPE, "--data_dir", "bins", "--data_types", "floot32"], 3, "did you mean 'float32'"),
        (["--input_shape", SHAPE, "--data_dir", "nowhere", "--data_types", "float32"], 5, "nowhere for input 'images'"),
        (["--input_shape", SHAPE, "--data_dir", "bins", "--data_types", "float64"], 5, "holds 256 values of float64"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    run: Run, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    assert run("calibration", "--model", "digits.onnx", "--save_path", "o", *words) == code
    assert message in capsys.readouterr().err


def test_models_of_aware_training_are_converted(run: Run) -> None:
    onnx.save(torch_form(), "qat.onnx")
    assert run("convert", "--model", "qat.onnx", "--save_path", "out/net") == 0
    assert {path.name for path in Path("out").iterdir()} == {
        "net_deploy_model.onnx",
        "net_fake_quant_model.onnx",
        "net_quant.json",
    }
    assert "q3 (QuantizeLinear): left out: GlobalAveragePool 'pool' reads" in log()


def test_float_models_are_not_of_aware_training(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", "--model", "digits.onnx", "--save_path", "o") == 4
    told = capsys.readouterr().err
    assert "digits.onnx is a float model" in told
    assert "`amct-lite convert --record`" in told  # the option of that command, not of this one


def test_levels_of_console_and_file(run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMCT_LOG_LEVEL", "ERROR")
    monkeypatch.setenv("AMCT_LOG_FILE_LEVEL", "DEBUG")
    data = ["--input_shape", SHAPE, "--data_dir", "bins", "--data_types", "float32"]
    assert run("calibration", "--model", "digits.onnx", "--save_path", "out/net", *data) == 0
    assert capsys.readouterr().err == ""
    assert "written under" in log()


@pytest.mark.parametrize("variable", ["AMCT_LOG_LEVEL", "AMCT_LOG_FILE_LEVEL"])
def test_an_unknown_log_level_is_refused_once(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "LOUD")
    assert run("convert", "--model", "m", "--save_path", "o") == 3
    gc.collect()  # a log that nobody has would warn now that it was left open
    told = capsys.readouterr().err
    assert told.count(f"{variable}=LOUD is no level: choose one of DEBUG") == 1


def test_a_shape_is_needed_for_every_input() -> None:
    given = bin_inputs({"ids": (1, 8)}, "ids", "int64")
    specs = [InputSpec("ids", "int64", (None, 8)), InputSpec("mask", "int64", (None, 8))]
    with pytest.raises(ConfigError, match=r"--input_shape leaves out 'mask'\. The model takes 'ids', 'mask'"):
        require_inputs(given, specs)
    require_inputs(given, specs[:1])
