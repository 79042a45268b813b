"""The HTML as text: it loads nothing, it is the same every time, and names are never markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from math import inf
from pathlib import Path

import pytest
from page.conftest import EVIL

from amct_lite.page.gather import read_page
from amct_lite.page.summary import figures_of
from amct_lite.page.template import html_of
from amct_lite.result import QuantizeResult

Run = tuple[QuantizeResult, Path]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return html_of(read_page(run[1]))


@pytest.mark.parametrize(("target", "told"), [("ascend", "for Ascend NPUs"), ("ort", "for ONNX Runtime")])
def test_it_says_what_the_model_is_for(run: Run, target: str, told: str) -> None:
    page = read_page(run[1])
    assert f'<p class="muted">{told} ' in html_of(replace(page, report=replace(page.report, target=target)))


def test_it_loads_nothing(html: str) -> None:
    tags = Tags()
    tags.feed(html)
    assert not [tag for tag, attrs in tags.found if attrs.get("src") or tag in {"iframe", "object", "embed", "img"}]
    links = {attrs["href"] for tag, attrs in tags.found if tag in {"a", "link"}}
    assert all(link.startswith(("#", "data:,")) for link in links)
    assert not re.search(r"url\(\s*['\"]?(?!#)|@import", html)


def test_names_are_text(html: str) -> None:
    assert EVIL not in html
    assert "<img" not in html
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])
    assert EVIL in {step[0] for step in data["graph"]}


def test_options_in_sentences_do_not_wrap_at_their_hyphens_and_names_beside_them_stay_text(run: Run) -> None:
    page = read_page(run[1])
    warned = replace(page, report=replace(page.report, warnings=(f"{EVIL}: try a scale a channel (--channel-wise all).",)))
    found = html_of(warned)
    assert 'try a scale a channel (<span class="option">--channel-wise</span> all).' in found
    assert EVIL not in found


def test_same_run_same_bytes(run: Run, html: str) -> None:
    assert html_of(read_page(run[1])) == html


def test_a_layer_without_an_error_is_exact(run: Run) -> None:
    page = read_page(run[1])
    first = page.layers[0]
    shown = html_of(replace(page, layers=(replace(first, row=replace(first.row, sqnr_db=inf)), *page.layers[1:])))
    assert '<td class="n sqnr" data-v="inf">exact</td>' in shown


def test_the_summary_has_no_infinite_decibels(run: Run) -> None:
    page = read_page(run[1])
    outputs = tuple(replace(error, sqnr_db=inf) for error in page.report.outputs)
    facts = {fact.name: fact.value for fact in figures_of(replace(page, report=replace(page.report, outputs=outputs)))}
    assert facts["Output error"] == "no difference"
