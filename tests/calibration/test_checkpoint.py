"""A calibration that is interrupted goes on where it was, and gives the bytes that it would have given."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_nets import images, net, saved

from amct_lite import ir
from amct_lite.calibration import checkpoint as module
from amct_lite.calibration.checkpoint import Checkpoint
from amct_lite.calibration.data import CalibrationData, DataSource, open_data
from amct_lite.calibration.feeds import input_specs
from amct_lite.calibration.runner import Calibration, collect
from amct_lite.calibration.store import to_bytes
from amct_lite.config import QuantConfig
from amct_lite.errors import CalibrationError, ExportError
from amct_lite.plan import resolve
from amct_lite.runtime import RuntimeOptions
from amct_lite.types import Feeds, QuantPlan
from amct_lite.workers import LocalProcesses, Workers

ONE = RuntimeOptions(threads=1)
COMMAND = "from amct_lite.calibration import checkpoint; checkpoint.EVERY = 0.2; from amct_lite.cli import main; main()"
LOADER = """
import os, time
import numpy as np

def feeds():
    for number in range(int(os.environ["BATCHES"])):
        time.sleep(float(os.environ.get("SLOW", "0")))
        yield {"x": np.random.default_rng(number).standard_normal((1, 3, 16, 16)).astype(np.float32)}
"""


def amct(*words: str, batches: int, slow: float = 0.0) -> subprocess.Popen[str]:
    environment = os.environ | {"SLOW": str(slow), "BATCHES": str(batches)}
    command = [sys.executable, "-c", COMMAND, *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("more", "batches"), [((), 40), (("--workers", "2"), 500)], ids=["alone", "workers"])
def test_a_run_that_was_killed_gives_the_same_files_when_it_is_resumed(
    more: tuple[str, ...], batches: int, tmp_path: Path
) -> None:
    """Workers get 64 batches at a time, and end with the process that was killed."""
    model = saved(net(), tmp_path)
    (tmp_path / "loader.py").write_text(LOADER)
    options = ("calibrate", str(model), "--data", str(tmp_path / "loader.py"), "--balance", "--threads", "1", "-q")
    partial = tmp_path / "killed" / "m_calibration.partial"
    victim = amct(*options, *more, "-o", str(tmp_path / "killed" / "m"), batches=batches, slow=1.2 / batches)
    until = time.monotonic() + 60
    while not partial.exists():  # its first save, early in the second pass
        assert victim.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    victim.communicate()
    assert 0 < json.loads(partial.read_bytes().partition(b"\n")[0])["batches"] < batches
    assert [path.name for path in sorted(partial.parent.glob("m_*"))] == ["m_balance.partial", "m_calibration.partial"]

    resumed = amct(*options, *more, "-o", str(tmp_path / "killed" / "m"), "--resume", batches=batches)
    told = resumed.communicate()[1].splitlines()
    assert resumed.returncode == 0
    assert [re.sub(r"\d+", "N", line) for line in told] == [
        f"note: the pass `{stage}` goes on after batch N." for stage in ("balance", "calibration")
    ]
    whole = amct(*options, "-o", str(tmp_path / "whole" / "m"), batches=batches)
    assert (whole.communicate()[1], whole.returncode) == ("", 0)
    first, second = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("killed", "whole"))
    assert first == second
    assert len(first) == 5  # and no partial file is left


@pytest.fixture(scope="module")
def net_and_plan() -> tuple[ir.Model, QuantPlan]:
    model = ir.load_bytes(net().SerializeToString())
    ir.name_nodes(model)
    ir.infer_shapes(model)
    return model, resolve(QuantConfig(), model)


class StoppedError(Exception):
    pass


def stopping_after(batches: int) -> Callable[[int], None]:
    left = batches

    def progress(done: int) -> None:
        nonlocal left
        left -= done
        if left <= 0:
            raise StoppedError

    return progress


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.0)


def content(calibration: Calibration) -> tuple[bytes, list[bytes], list[bytes]]:
    feeds = [array.tobytes() for feeds in calibration.feeds for array in feeds.values()]
    return to_bytes(calibration.statistics), feeds, [array.tobytes() for row in calibration.outputs for array in row]


def data_of(source: DataSource, model: ir.Model) -> CalibrationData:
    return open_data(source, input_specs(model))


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("stop", [1, 66])
@pytest.mark.parametrize("once", [False, True], ids=["list", "generator"])
def test_what_is_kept_of_the_data_is_the_same_after_an_interruption(
    stop: int, once: bool, net_and_plan: tuple[ir.Model, QuantPlan], tmp_path: Path
) -> None:
    model, plan = net_and_plan
    checkpoint = Checkpoint(f"{tmp_path}/m")
    batches = images(70)

    def stream() -> CalibrationData:
        return data_of((feeds for feeds in batches) if once else batches, model)

    with pytest.raises(StoppedError):
        collect(model, plan, stream(), options=ONE, checkpoint=checkpoint, progress=stopping_after(stop))
    seen: list[int] = []
    told: list[tuple[str, int, int | None]] = []
    again = Checkpoint(f"{tmp_path}/m", resume=True, on_resume=lambda *what: told.append(what))
    resumed = collect(model, plan, stream(), options=ONE, checkpoint=again, progress=seen.append)
    assert told == [("calibration", stop, None if once else 70)]
    assert content(resumed) == content(collect(model, plan, stream(), options=ONE))
    assert (seen[0], sum(seen)) == (stop, 70)


@pytest.mark.usefixtures("always")
def test_workers_and_one_process_go_on_from_each_others_files(net_and_plan: tuple[ir.Model, QuantPlan], tmp_path: Path) -> None:
    model, plan = net_and_plan
    expected = content(collect(model, plan, data_of(images(12), model), options=ONE))
    with LocalProcesses(2) as pool:
        ways: list[tuple[Workers | None, Workers | None]] = [(pool, None), (None, pool)]
        for first, second in ways:
            with pytest.raises(StoppedError):
                collect(
                    *(model, plan, data_of(images(12), model)),
                    options=ONE,
                    workers=first,
                    checkpoint=Checkpoint(f"{tmp_path}/m"),
                    progress=stopping_after(5),
                )
            again = Checkpoint(f"{tmp_path}/m", resume=True)
            resumed = collect(model, plan, data_of(images(12), model), options=ONE, workers=second, checkpoint=again)
            assert content(resumed) == expected


@pytest.mark.usefixtures("always")
def test_a_finished_pass_is_not_made_again(net_and_plan: tuple[ir.Model, QuantPlan], tmp_path: Path) -> None:
    model, plan = net_and_plan
    collect(model, plan, data_of(images(5), model), options=ONE, checkpoint=Checkpoint(f"{tmp_path}/m"))
    seen: list[int] = []
    again = Checkpoint(f"{tmp_path}/m", resume=True)
    collect(model, plan, data_of(images(5), model), options=ONE, checkpoint=again, progress=seen.append)
    assert seen == [5]


@pytest.mark.usefixtures("always")
def test_text_among_the_inputs_is_known_again_by_its_words(tmp_path: Path) -> None:
    """Its array holds where the words are, which is somewhere else in each run."""
    model = ir.from_text("""<ir_version: 8, opset_import: ["" : 17]>
    text (float[1,1] x, string[1] label) => (float[1,1] y) <float[1,1] w = {2.0}> { y = MatMul (x, w) }""")
    plan = resolve(QuantConfig(), model)

    def stream(letters: str) -> CalibrationData:
        words = np.array(["".join(reversed(letters))], dtype=object)
        return data_of([{"x": np.ones((1, 1), np.float32), "label": words}] * 3, model)

    collect(model, plan, stream("cat"), options=ONE, checkpoint=Checkpoint(f"{tmp_path}/m"))
    again = Checkpoint(f"{tmp_path}/m", resume=True)
    seen: list[int] = []
    collect(model, plan, stream("cat"), options=ONE, checkpoint=again, progress=seen.append)
    assert seen == [3]
    with pytest.raises(CalibrationError, match="is of other data"):
        collect(model, plan, stream("dog"), options=ONE, checkpoint=again)


def test_a_short_run_leaves_no_partial_file(net_and_plan: tuple[ir.Model, QuantPlan], tmp_path: Path) -> None:
    model, plan = net_and_plan
    checkpoint = Checkpoint(f"{tmp_path}/m", resume=True)  # there is nothing to go on from: it begins
    collect(model, plan, data_of(images(2), model), options=ONE, checkpoint=checkpoint)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def interrupted(net_and_plan: tuple[ir.Model, QuantPlan], tmp_path: Path, always: None) -> Path:
    model, plan = net_and_plan
    collect(model, plan, data_of(images(3), model), options=ONE, checkpoint=Checkpoint(f"{tmp_path}/m"))
    return tmp_path / "m_calibration.partial"


def resume(model: ir.Model, plan: QuantPlan, prefix: Path, data: list[Feeds], options: RuntimeOptions = ONE) -> None:
    collect(model, plan, data_of(data, model), options=options, checkpoint=Checkpoint(f"{prefix}/m", resume=True))


def test_the_partial_file_of_something_else_is_refused(net_and_plan: tuple[ir.Model, QuantPlan], interrupted: Path) -> None:
    model, plan = net_and_plan
    folder = interrupted.parent
    other = ir.load_bytes(net(w1=(8, 3, 3, 3), w4=(10, 8, 3, 3), b1=(8,), opset=18).SerializeToString())
    ir.name_nodes(other)
    ir.infer_shapes(other)
    with pytest.raises(CalibrationError, match=r"m_calibration\.partial is of another model .*go on from its 3 batches"):
        resume(other, plan, folder, images(3))
    with pytest.raises(CalibrationError, match=r"is of other data .*leave --resume out to begin anew"):
        resume(model, plan, folder, images(4))
    with pytest.raises(CalibrationError, match=r"is of other data"):
        resume(model, plan, folder, images(3, seed=1))
    with pytest.raises(CalibrationError, match=r"is of other settings, for which other tensors are observed"):
        resume(model, resolve(QuantConfig(skip=("conv4",)), model), folder, images(3))
    resume(model, plan, folder, images(3))


def test_another_range_method_goes_on_from_the_same_statistics(
    net_and_plan: tuple[ir.Model, QuantPlan], always: None, tmp_path: Path
) -> None:
    model, plan = net_and_plan
    other = resolve(QuantConfig(algorithm="mse", bits=16, symmetric=True, weight_algorithm="gptq"), model)
    assert other.tensors != plan.tensors
    with pytest.raises(StoppedError):
        collect(
            *(model, plan, data_of(images(6), model)),
            options=ONE,
            checkpoint=Checkpoint(f"{tmp_path}/m"),
            progress=stopping_after(3),
        )
    seen: list[int] = []
    again = Checkpoint(f"{tmp_path}/m", resume=True)
    resumed = collect(model, other, data_of(images(6), model), options=ONE, checkpoint=again, progress=seen.append)
    assert seen[0] == 3
    assert content(resumed) == content(collect(model, other, data_of(images(6), model), options=ONE))


@pytest.mark.parametrize("damage", [lambda text: b"", lambda text: text[:-5], lambda text: b"{}\n" + text])
def test_a_damaged_partial_file_is_refused(
    damage: Callable[[bytes], bytes], net_and_plan: tuple[ir.Model, QuantPlan], interrupted: Path
) -> None:
    interrupted.write_bytes(damage(interrupted.read_bytes()))
    with pytest.raises(CalibrationError, match=r"m_calibration\.partial is damaged.*Remove it, or calibrate without --resume"):
        resume(*net_and_plan, interrupted.parent, images(3))


@pytest.mark.usefixtures("always")
def test_a_place_that_cannot_be_written_to_is_an_error(net_and_plan: tuple[ir.Model, QuantPlan], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"cannot write .*file/m_calibration\.partial: .*Choose another output \(-o\)"):
        collect(*net_and_plan, images(2), options=ONE, checkpoint=Checkpoint(f"{tmp_path}/file/m"))
