"""One small run for all tests of its page, and a browser where one is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_nets import ONE_THREAD, images, net, saved

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
