"""One small run for all tests of its page, and a browser where one is installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from small_nets import ONE_THREAD, images, net, saved

from amct_lite.diagnosis.bitops import bitops
from amct_lite.diagnosis.compare import compare
from amct_lite.diagnosis.explain import explain
from amct_lite.diagnosis.sensitivity import sensitivity
from amct_lite.pipeline import quantize
from amct_lite.result import QuantizeResult

EVIL = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[QuantizeResult, Path]:
    """A quantized network whose second Conv and its input have names made to break out of a page, and its prefix."""
    folder = tmp_path_factory.mktemp("run")
    model = net()
    model.graph.node[2].name = EVIL
    model.graph.node[1].output[0] = model.graph.node[2].input[0] = model.graph.node[5].input[1] = f"{EVIL} tensor"
    result = quantize(saved(model, folder), images(16), options=ONE_THREAD)
    result.save(folder / "net")
    return result, folder / "net"


def copy_of(prefix: Path, folder: Path) -> Path:
    for file in prefix.parent.glob("net_*"):
        shutil.copy(file, folder / file.name)
    return folder / "net"


@pytest.fixture(scope="session")
def analysed(run: tuple[QuantizeResult, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of the same run with every analysis beside it: those that are quick made by their commands' functions, the
    searches written by hand."""
    prefix = copy_of(run[1], tmp_path_factory.mktemp("analysed"))
    model, record = run[1].with_name("model.onnx"), Path(f"{prefix}_record.txt")
    fake_quant, deploy = (Path(f"{prefix}_{name}_model.onnx") for name in ("fake_quant", "deploy"))
    subject = asdict(run[0].report.subject)
    point = {"bitops": 5, "weight_bytes": 7, "estimated_loss": 0.01, "widths": {EVIL: "W4A8"}, "layers": {EVIL: 1}}
    strategy = {"name": EVIL, "sqnr_db": 30.0, "bitops": 5, "weight_bytes": 7, "metric": None}
    front = {"cost": "bitops", "chosen": point, "front": [{"cost": 9, "loss": 0.1}], "strategies": [strategy], "notes": [EVIL]}
    trial = {"in_float": [EVIL], "metric": 0.5, "loss": 0.1, "acceptable": True}
    races = [{"layers": [EVIL], "ratio": 0.9, "kept": True}]
    texts = {
        "bitops": bitops(model, record, input_shapes={"x": (1, 3, 16, 16)}).to_json(),
        "sensitivity": sensitivity(model, record, images(4), options=ONE_THREAD).to_json(),
        "compare": compare(model, fake_quant, images(4), runtime=ONE_THREAD.runtime).to_json(),
        "explain": explain(fake_quant, model, options=ONE_THREAD.runtime).to_json(),
        "explain_deploy": explain(deploy).to_json(),
        "search": json.dumps({"subject": subject, **front}),
        "tuning": json.dumps({"subject": subject, "in_float": [EVIL], "races": races}),
        "autocalibration": json.dumps({"subject": subject, "in_float": [EVIL], "ranking": [[EVIL, 0.5]], "history": [trial]}),
    }
    for name, text in texts.items():
        Path(f"{prefix}_{name}.json").write_text(text)
    return prefix


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser; tests that want one are skipped where there is none."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no chromium is installed")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
