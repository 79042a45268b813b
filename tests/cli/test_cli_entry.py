"""What holds for every command: help, unknown words, exit codes, interrupts."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cli.conftest import DIGITS

from amct_lite import errors
from amct_lite.cli import amct_onnx, config, group, record
from amct_lite.errors import AmctError

COMMANDS = (
    ["calibrate"],
    ["convert"],
    ["inspect"],
    ["record"],
    ["record", "show"],
    ["record", "check"],
    ["record", "diff"],
)


def _output_of(script: str) -> str:
    """What `script` prints in an interpreter of its own, which ends well."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def _error_classes(base: type[AmctError] = AmctError) -> Iterator[type[AmctError]]:
    yield base
    for child in base.__subclasses__():
        yield from _error_classes(child)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(amct, command):
    done = amct(*command, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: amct-lite {' '.join(command)}")


@pytest.mark.parametrize(
    ("commands", "names"),
    [
        (group, ("calibrate", "convert", "record", "inspect")),
        (record.command, ("show", "check", "edit", "diff")),
        (config.command, ("create", "check", "convert")),
        (amct_onnx.group, ("calibration", "convert")),
    ],
)
def test_help_names_each_command_with_a_whole_sentence(commands, names):
    told = commands.get_help(click.Context(commands, info_name="amct")).partition("Commands:")[2]
    assert all(f"  {name} " in told for name in names)
    assert "..." not in told


def test_without_arguments_the_help_is_shown(amct):
    assert "Commands:" in amct().err


def test_version_is_printed(amct):
    done = amct("--version")
    assert done.code == 0
    assert done.out.startswith("amct-lite, version ")


def test_a_mistyped_command_is_answered_with_the_nearest(amct):
    done = amct("calibrat")
    assert done.code == 2
    assert "no command 'calibrat' (did you mean 'calibrate'?)" in done.err


def test_a_mistyped_option_is_answered_with_the_nearest(amct):
    done = amct("calibrate", "m.onnx", "--dat", "x")
    assert done.code == 2
    assert "--data" in done.err


def test_help_loads_neither_onnx_nor_rich():
    script = (
        "import sys; from amct_lite.cli import group; group(['--help'], standalone_mode=False);"
        "print([m for m in ('onnx', 'onnx_ir', 'onnxruntime', 'rich', 'numpy') if m in sys.modules])"
    )
    assert _output_of(script).splitlines()[-1] == "[]"


@pytest.mark.parametrize("error", list(_error_classes()), ids=lambda error: error.__name__)
def test_each_error_ends_with_its_name_its_message_and_its_code(amct, monkeypatch, error):
    def fail(*_args, **_options):
        raise error("what is wrong.")

    importlib.import_module("amct_lite.public")  # takes the function when it is first imported: the real one
    monkeypatch.setattr("amct_lite.inspection.inspect", fail)
    done = amct("inspect", "m.onnx")
    assert (done.code, done.out) == (error.exit_code, "")
    assert done.err == f"{error.__name__}: what is wrong.\n"


def test_exit_codes_tell_the_errors_apart():
    decisions = [e for e in _error_classes() if e is not errors.NumericsError]  # NumericsError is a CalibrationError
    codes = [e.exit_code for e in decisions]
    assert len(set(codes)) == len(codes)
    assert not {0, 2, 130} & set(codes)


def test_ctrl_c_while_running_ends_with_130_and_one_line(amct, monkeypatch, digits, samples, tmp_path):
    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("amct_lite.pipeline.decide", interrupt)
    done = amct("calibrate", digits, "--data", samples, "-o", tmp_path / "out/x", "--batches", 1)
    assert done.code == 130
    assert done.err.strip() == "interrupted; no file was written or left half-written."
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cause", "code", "told"),
    [(KeyboardInterrupt(), 130, "interrupted; no file was written or left half-written.\n"), (SystemExit(143), 143, "")],
)
def test_signal_while_a_compiled_module_is_loaded_ends_like_at_any_other_moment(amct, monkeypatch, cause, code, told):
    def load(_name):
        raise ImportError("initialization failed") from cause  # as pybind11 has it

    monkeypatch.setattr("amct_lite.cli.importlib.import_module", load)
    done = amct("calibrate", "m.onnx")
    assert (done.code, done.out, done.err) == (code, "", told)


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="no such signal here")
def test_a_process_that_is_told_to_end_while_a_loader_runs_does_not_blame_the_loader(amct, digits, tmp_path):
    loader = tmp_path / "loader.py"
    loader.write_text(
        "import os, signal, time\ndef feeds():\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(5)\n    yield\n"
    )
    done = amct("calibrate", digits, "--data", loader, "-o", tmp_path / "x")
    assert (done.code, done.err) == (143, "")


@pytest.mark.skipif(sys.platform == "win32", reason="no such shell there")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("model", "code"), [(DIGITS, 0), ("nowhere.onnx", 4)])
def test_a_command_whose_streams_are_closed_ends_as_any_other(closed, model, code):
    done = subprocess.run(
        f"'{sys.executable}' -m amct_lite inspect '{model}' {closed}", shell=True, capture_output=True, text=True
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_no_color_holds_for_all_that_is_printed(monkeypatch):
    words = ["record", "diff", "a.txt", "b.txt"]
    assert group.make_context("amct-lite", words.copy()).color is None
    monkeypatch.setenv("NO_COLOR", "1")
    assert group.make_context("amct-lite", words.copy()).color is False


def test_ctrl_c_while_writing_leaves_nothing(amct, monkeypatch, digits, samples, tmp_path):
    from amct_lite import ir

    save = ir.save

    def interrupt_at_second(model, path):
        if Path(path).name.endswith("deploy_model.onnx"):
            raise KeyboardInterrupt
        save(model, path)

    monkeypatch.setattr("amct_lite.ir.save", interrupt_at_second)
    assert amct("calibrate", digits, "--data", samples, "-o", tmp_path / "out/x", "--batches", 1).code == 130
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["amct_lite.cli", "amct_lite.cli.amct_onnx"])
def test_commands_do_not_load_sympy_until_it_is_used(command):
    script = (
        f"import sys; from {command} import main; sys.argv = ['x', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "import onnx_ir, amct_lite.pipeline\n"
        "loaded = [name for name in sys.modules if name.startswith('sympy.')]; assert not loaded, loaded\n"
        "assert str(onnx_ir.SymbolicDim('N') + 1) == 'N + 1'\n"
        "assert 'sympy.core' in sys.modules"
    )
    _output_of(script)


def test_the_end_of_a_command_looks_for_no_garbage():
    script = (
        "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count() > 0, len(gc.get_objects()) < 1000))\n"
        "import sys; from amct_lite.cli import main; sys.argv = ['x', '--help']; main()"
    )
    assert _output_of(script).splitlines()[-1] == "True True"


def test_a_program_that_imports_the_package_keeps_its_import_system():
    script = "import sys; before = list(sys.meta_path); import amct_lite.pipeline; assert sys.meta_path == before"
    _output_of(script)


def test_the_command_line_offers_the_targets_that_a_configuration_takes():
    from amct_lite.cli.options import TARGETS
    from amct_lite.config import values

    assert TARGETS == values.TARGETS


def test_calibrate_starts_without_what_it_seldom_needs():
    seldom = """multiprocessing tomllib rich.progress amct_lite.compat amct_lite.page amct_lite.tuning amct_lite.qat.taking
        amct_lite.converting amct_lite.record.diff amct_lite.record.edit amct_lite.record.suspicions
        amct_lite.rounding.learn amct_lite.analysis.network_error amct_lite.validate.speed"""
    code = f"""if True:
        import gc, sys
        from amct_lite.cli.deferred import importing
        with importing():
            import amct_lite.cli.calibrate, amct_lite.cli.output, amct_lite.pipeline
        assert gc.isenabled() and gc.get_freeze_count()
        print(*(name for name in {seldom.split()} if name in sys.modules))
    """
    assert _output_of(code).split() == []
