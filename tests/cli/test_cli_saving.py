"""What is found out about the output prefix before a run, and said of it at the end."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from amct_lite.cli.options import _telling
from amct_lite.workers import Workers

EACH = {
    "calibrate": ("--data", "x"),
    "autocalibrate": ("--data", "x", "--evaluator", "e.py", "--max-loss", 1),
    "search": ("--data", "x", "--budget", "bitops=0.5"),
    "convert": ("--record", "r.txt"),
    "sensitivity": ("--data", "x", "--record", "r.txt"),
    "explain": (),
}


@pytest.mark.parametrize("command", EACH)
def test_a_place_that_cannot_be_written_to_is_found_before_the_model_is_read(amct, tmp_path, command):
    (tmp_path / "file").write_text("")
    done = amct(command, tmp_path / "absent.onnx", *EACH[command], "-o", tmp_path / "file/net")
    assert done.code == 8
    assert f"cannot write to {tmp_path}/file: Not a directory. Choose another output (-o)." in done.err


def test_compare_finds_it_too(amct, tmp_path):
    (tmp_path / "file").write_text("")
    done = amct("compare", "absent.onnx", "other.onnx", "--random", 1, "-o", tmp_path / "file/net")
    assert (done.code, "cannot write to" in done.err) == (8, True)


def test_a_model_of_an_earlier_run_with_other_scales_is_named(amct, digits, samples, tmp_path):
    run = ("calibrate", digits, "--data", samples, "--batches", 2, "-q", "-o", tmp_path / "net")
    amct(*run, "--target", "ort")
    done = amct(*run)
    assert f"note: {tmp_path}/net_ort_model.onnx is left over from an earlier run, with other scales. Delete it." in done.err
    assert (tmp_path / "net_ort_model.onnx").is_file()
    assert "is left over from an earlier run" in amct(*run).err
    (tmp_path / "net_ort_model.onnx").unlink()
    assert "left over" not in amct(*run).err


def test_models_of_one_record_for_two_targets_belong_together(amct, digits, samples, tmp_path):
    prefix = tmp_path / "net"
    amct("calibrate", digits, "--data", samples, "--batches", 2, "-q", "-o", prefix)
    done = amct("convert", digits, "--record", f"{prefix}_record.txt", "--target", "ort", "-q", "-o", prefix)
    assert done.code == 0
    assert "left over" not in done.err
    assert (tmp_path / "net_deploy_model.onnx").is_file()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has a full disk at hand")
def test_a_full_disk_behind_standard_output_is_an_error():
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "amct_lite", "record", "--help"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 8
    assert done.stderr == "ExportError: there is no room on the disk that what is printed goes to. Make room there.\n"


def test_a_lost_worker_is_told_of_at_the_end(capsys):
    with _telling(Workers(ThreadPoolExecutor(1), count=1)) as workers:
        workers.lost = 2
    assert "note: a worker was lost 2 times (short of memory?); what it was at was done again." in capsys.readouterr().err
