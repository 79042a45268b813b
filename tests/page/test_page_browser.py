"""The page in a real browser, from a file, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from page.conftest import EVIL

from amct_lite.page.gather import read_page
from amct_lite.page.writing import write_page


@pytest.fixture
def page(analysed: Path, chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """The opened page of a run with all analyses; fails at the end if anything was logged, thrown, asked or requested."""
    file = tmp_path / "report.html"
    write_page(read_page(analysed), analysed, html=file)
    context = chromium.new_context(offline=True)
    tab = context.new_page()
    seen: list[str] = []
    tab.on("console", lambda message: seen.append(message.text))
    tab.on("pageerror", lambda error: seen.append(str(error)))
    tab.on("dialog", lambda dialog: seen.append(dialog.message))
    tab.on("request", lambda request: seen.append(request.url))
    tab.goto(file.as_uri())
    yield tab
    context.close()
    assert seen == [file.as_uri()]


def column(page: Any, number: int) -> list[str]:
    return page.locator(f"tr.layer:visible > td:nth-child({number})").all_inner_texts()


def test_it_opens_without_a_word_and_shows_evil_names_as_text(page: Any) -> None:
    assert EVIL in [name.lstrip("▸▾") for name in column(page, 2)]
    assert page.locator("img").count() == 0
    sections = (
        "error_flow",
        "sensitivity",
        "mixed_precision",
        "cost",
        "speed",
        "fusion_on_the_npu",
        "tuning",
        "auto_calibration",
    )
    for section in sections:
        assert EVIL in page.inner_text(f"#{section}"), section


def test_the_table_of_an_analysis_sorts_by_its_numbers(page: Any) -> None:
    table = page.locator("#cost table").nth(1)
    values = lambda: [int(text.replace(",", "")) for text in table.locator("td:nth-child(3)").all_inner_texts()]  # noqa: E731
    header = table.locator("th").nth(2)
    header.locator("button").click()
    assert (values(), header.get_attribute("aria-sort")) == (sorted(values()), "ascending")
    header.locator("button").click()
    assert values() == sorted(values(), reverse=True)


def test_a_column_sorts_both_ways(page: Any) -> None:
    header = page.locator("#layer-table th").nth(3)
    header.locator("button").click()
    ascending = [float(text) for text in column(page, 4)]
    assert (ascending, header.get_attribute("aria-sort")) == (sorted(ascending), "ascending")
    header.locator("button").click()
    assert [float(text) for text in column(page, 4)] == ascending[::-1]
    assert header.get_attribute("aria-sort") == "descending"


def test_filters_narrow_the_table_and_are_cleared(page: Any) -> None:
    page.fill("#filter-name", "CONV3")
    assert column(page, 2) == ["▸conv3"] or column(page, 2) == ["conv3"]
    assert page.inner_text("#shown") == "1 of 4"
    page.fill("#filter-name", "nothing like this")
    assert column(page, 2) == []
    page.click("#clear")
    assert page.inner_text("#shown") == "4 of 4"


def test_a_layer_opens_by_keyboard_and_moves_along_when_sorted(page: Any) -> None:
    button = page.locator("tr.layer .open").first
    button.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    panels = page.locator("tr.detail h4").all_inner_texts()
    assert panels == ["Values of x", "Weights by output channel", "Range of x by channel"]
    page.locator("#layer-table th button").first.click()  # from ascending to descending
    assert page.locator("tr.layer").last.locator("xpath=following-sibling::tr[1]").get_attribute("class") == "detail"
    button = page.locator("tr.layer .open").last
    button.press("Enter")
    assert page.locator("tr.detail").count() == 0


def test_the_graph_is_drawn_when_it_is_opened(page: Any) -> None:
    assert page.locator("#graph circle").count() == 0
    page.locator("#graph summary").click()
    page.locator("#graph circle").first.wait_for()
    assert page.locator("#graph circle").count() == 9  # seven nodes, an input and an output
    assert page.locator("#graph circle.quantized").count() == 4


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_runs_over_the_edge(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
