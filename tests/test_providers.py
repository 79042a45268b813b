"""Execution providers: names, what is missing, where nodes ran. Without an accelerator: ONNX Runtime's list is replaced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnxruntime
import pytest
from small_nets import images, net, saved

from amct_lite.errors import ConfigError
from amct_lite.pipeline import quantize
from amct_lite.providers import full_name, placement_remark, with_options
from amct_lite.running import RunOptions
from amct_lite.runtime import RuntimeOptions, open_session

HAVE = ["CUDAExecutionProvider", "OpenVINOExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("asked", "name"),
    [("cuda", HAVE[0]), ("CUDA", HAVE[0]), ("CUDAExecutionProvider", HAVE[0]), ("openvino", HAVE[1]), ("cpu", HAVE[2])],
)
def test_short_names_stand_for_providers(asked: str, name: str) -> None:
    assert full_name(asked, HAVE) == name


def test_an_absent_provider_is_refused_with_the_nearest_and_all_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'cudaa' is not available \(did you mean 'cuda'\?\); this onnxruntime has CUDA"):
        full_name("cudaa", HAVE)
    with pytest.raises(ConfigError, match=r"'cann' is not available; this .* Install onnxruntime-cann instead of onnxruntime"):
        full_name("cann", HAVE)
    with pytest.raises(ConfigError, match=r"'openvin' is not available \(did you mean 'openvino'\?\)"):
        full_name("openvin", HAVE[2:])


def test_float32_stays_float32() -> None:
    assert with_options("CUDAExecutionProvider") == ("CUDAExecutionProvider", {"use_tf32": "0"})
    assert with_options("OpenVINOExecutionProvider") == ("OpenVINOExecutionProvider", {"precision": "ACCURACY"})
    assert with_options("CPUExecutionProvider") == ("CPUExecutionProvider", {})


def test_nodes_that_ran_elsewhere_are_counted() -> None:
    nodes = [(HAVE[0], "Conv")] * 7 + [(HAVE[2], "Shape")] * 2 + [(HAVE[2], "Gather")]
    assert placement_remark(HAVE[:1], nodes) == (
        "CUDAExecutionProvider ran 7 of the 10 nodes of the calibration; the others ran on CPUExecutionProvider: "
        "Shape × 2, Gather × 1"
    )
    assert placement_remark(HAVE[:1], nodes[:7]) == ""
    assert placement_remark(HAVE[2:], nodes) == ""
    assert "is not told by this version" in placement_remark(HAVE[:1], None)


class Accelerated:
    """ONNX Runtime with a CUDA that takes convolutions: the CPU computes, the answers about placement are those of a GPU."""

    def __init__(self, started: bool = True) -> None:
        self.asked: list[list[str]] = []
        self.options: list[Any] = []
        self._original = onnxruntime.InferenceSession
        self._started = started

    def __call__(self, source: Any, settings: Any, providers: Any, **keywords: Any) -> Any:
        self.asked.append([name for name, _ in providers])
        self.options.append(dict(providers))
        session = self._original(source, settings, providers=["CPUExecutionProvider"], **keywords)
        if self.asked[-1][0] != "CUDAExecutionProvider":
            return session
        return Pretending(session, self._started)


class Pretending:
    def __init__(self, session: Any, started: bool) -> None:
        self._session = session
        self._started = started

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def get_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"] if self._started else ["CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        def moved(part: Any) -> Any:
            ops = [node.op_type for node in part.get_nodes()]
            name = "CUDAExecutionProvider" if "Conv" in ops else part.ep_name
            return SimpleNamespace(ep_name=name, get_nodes=part.get_nodes)

        return [moved(part) for part in self._session.get_provider_graph_assignment_info()]


@pytest.fixture
def accelerated(monkeypatch: pytest.MonkeyPatch) -> Accelerated:
    fake = Accelerated()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: HAVE)
    monkeypatch.setattr(onnxruntime, "InferenceSession", fake)
    return fake


def test_a_provider_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """ONNX Runtime itself goes on on the CPU without a word."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: HAVE)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Accelerated(started=False))
    with pytest.raises(ConfigError, match=r"CUDAExecutionProvider is installed, but does not start: .* on CPUExecution"):
        open_session(saved(net(), tmp_path), RuntimeOptions(providers=("cuda",)))


@pytest.mark.skipif(not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"), reason="ORT < 1.24")
def test_calibration_runs_on_the_provider_and_the_checks_run_on_the_cpu(accelerated: Accelerated, tmp_path: Path) -> None:
    model = saved(net(), tmp_path)
    options = RunOptions(runtime=RuntimeOptions(providers=("cuda",), threads=1))
    result = quantize(model, images(4), options=options)
    told = [note for note in result.report.notes if note.startswith("CUDAExecutionProvider ran 4 of the ")]
    assert len(told) == 1
    assert "the others ran on CPUExecutionProvider: " in told[0]
    assert accelerated.asked[0] == ["CUDAExecutionProvider"]
    assert accelerated.options[0] == {"CUDAExecutionProvider": {"use_tf32": "0"}}
    assert accelerated.asked[-1] == ["CPUExecutionProvider"]
    with_cpu = quantize(model, images(4), options=RunOptions(runtime=RuntimeOptions(threads=1)))
    assert not [note for note in with_cpu.report.notes if "ExecutionProvider" in note]
    assert result.record == with_cpu.record
