"""The command line as a user meets it: arguments in, exit code and text out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from amct_lite.cli import main

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "samples/digits/digits.onnx"
SAMPLES = ROOT / "samples/digits/calibration"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def amct(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the entry point in this process; whatever it does not catch fails the test."""

    def run(*args: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["amct-lite", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return Outcome(int(exit_.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def digits() -> Path:
    return DIGITS


@pytest.fixture(scope="session")
def samples() -> Path:
    return SAMPLES


@dataclass(frozen=True)
class Calibrated:
    """A run through the real entry point, in a process of its own."""

    prefix: Path
    run: Outcome

    def file(self, suffix: str) -> Path:
        return self.prefix.with_name(f"{self.prefix.name}_{suffix}")


@pytest.fixture(scope="session")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibrated:
    prefix = tmp_path_factory.mktemp("calibrated") / "out" / "digits"
    command = [sys.executable, "-m", "amct_lite", "calibrate", str(DIGITS), "--data", str(SAMPLES), "-o", str(prefix)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
    return Calibrated(prefix, Outcome(done.returncode, done.stdout, done.stderr))
