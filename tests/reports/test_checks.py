"""How much is executed at the end of a run, and that nothing of it is passed over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from small_nets import ONE_THREAD, images, net, saved

from amct_lite import pipeline
from amct_lite.errors import VerificationError
from amct_lite.reports import checks


@pytest.mark.parametrize(("most", "samples"), [(1, 1), (20_000, 3), (20_352, 3), (20_353, 4), (1 << 24, checks.LOCAL_SAMPLES)])
def test_single_layers_are_judged_until_their_outputs_hold_enough_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, samples: int
) -> None:
    """Four layers of 3 · 8·16·16 + 10·8·8 = 6,784 values a sample."""
    seen: list[int] = []
    measure = checks.measure

    def counting(*given: object, **options: object) -> Mapping[str, object]:
        seen.append(len(given[3]))  # type: ignore[arg-type]
        return measure(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(checks, "measure", counting)
    monkeypatch.setattr(checks, "LOCAL_VALUES", most)
    pipeline.quantize(saved(net(), tmp_path), images(), options=ONE_THREAD)
    assert seen == [samples]


@pytest.mark.parametrize("check", ["measure", "verify_deploy", "open_session"])
def test_a_check_that_fails_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str) -> None:
    """Also one that runs beside the others."""

    def fails(*_given: object, **_options: object) -> None:
        raise VerificationError(f"{check} found a difference")

    monkeypatch.setattr(checks, check, fails)
    with pytest.raises(VerificationError, match=f"{check} found a difference"):
        pipeline.quantize(saved(net(), tmp_path), images(), options=ONE_THREAD)
