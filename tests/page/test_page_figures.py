"""Figures: the numbers of the page, drawn the same every time, names as they are."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from amct_lite.page.figures import layer_figures, overview, save, svg_of
from amct_lite.page.gather import read_page
from amct_lite.page.values import Analysis, Flow, Front, Pairs, Point, Series
from amct_lite.page.writing import write_page
from amct_lite.result import QuantizeResult

Run = tuple[QuantizeResult, Path]
ODD = "a$b$ <c> & ^_{d}"


def test_bars_show_names_as_they_are(run: Run) -> None:
    analysis = Analysis("Sensitivity", "", "", "x.json", series=Series("damage", ((ODD, 2.0), ("b", 1.0))))
    figure = overview(replace(read_page(run[1]), analyses=(analysis,)))["sensitivity"]
    texts = "".join(ElementTree.fromstring(svg_of(figure, "bars")).itertext())
    assert ODD in texts


def test_bars_that_would_not_be_seen_or_could_not_begin_at_zero_become_dots(run: Run) -> None:
    page = read_page(run[1])
    cases = (
        ((5.0, 4.0, 1.0), "linear", 3),
        ((1.0, 1e-3, 1e-4), "log", 0),
        ((1.0, 1e-3, 0.0), "linear", 3),
        ((0.99994, 0.99995, 0.99996), "linear", 0),
    )
    for values, scale, bars in cases:
        series = Series("damage", tuple(zip("abc", values, strict=True)))
        figure = overview(replace(page, analyses=(Analysis("Sensitivity", "", "", "x.json", series=series),)))["sensitivity"]
        assert figure.axes[0].get_xscale() == scale
        assert len(figure.axes[0].patches) == bars
        svg_of(figure, "drawn, so that its ticks are known")
        assert figure.axes[0].xaxis.get_offset_text().get_text() == ""


def test_pairs_have_two_bars_each(run: Run) -> None:
    pairs = Pairs(("this model", "float model"), "µs", (("Conv", 3.0, 5.0), ("Add", 1.0, 0.0)))
    page = replace(read_page(run[1]), analyses=(Analysis("Speed", "", "", "x.json", pairs=pairs),))
    axes = overview(page)["speed"].axes[0]
    assert [bar.get_width() for bar in axes.patches] == [3.0, 1.0, 5.0, 0.0]


def test_the_error_figure_has_a_dot_a_layer(run: Run) -> None:
    page = read_page(run[1])
    axes = overview(page)["error"].axes[0]
    dots = [tuple(point) for cloud in axes.collections for point in cloud.get_offsets()]
    assert sorted(dots) == [(number, layer.row.sqnr_db) for number, layer in enumerate(page.layers, 1)]


def test_steps_that_only_round_in_float32_do_not_squeeze_the_error_flow(run: Run) -> None:
    analysis = Analysis("Error flow", "", "", "x.json", flow=Flow((40.0, 30.0, 35.0), (40.0, 31.0, 148.0), (1,)))
    axes = overview(replace(read_page(run[1]), analyses=(analysis,)))["error_flow"].axes[0]
    assert axes.get_ylim()[1] < 50
    assert [float(y) for _, y in axes.collections[0].get_offsets().filled(0)] == [40.0, 31.0, 0.0]


def test_the_chosen_point_of_a_front_is_marked(run: Run) -> None:
    front = Front("bit operations", "loss", True, (Point(1.0, 0.1), Point(2.0, 0.01, chosen=True)))
    page = replace(read_page(run[1]), analyses=(Analysis("Mixed precision", "", "", "x.json", front=front),))
    axes = overview(page)["mixed_precision_front"].axes[0]
    assert [tuple(point) for point in axes.collections[0].get_offsets()] == [(2.0, 0.01)]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_same_page_same_bytes_of_every_plot(run: Run, tmp_path: Path, suffix: str) -> None:
    page = read_page(run[1])
    first, second = (write_page(page, run[1], plots=tmp_path / name, plot_format=suffix) for name in "ab")
    assert len(first) == 1 + len(page.layers)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_names_of_plots_are_names_of_files(run: Run, tmp_path: Path) -> None:
    names = [name for name, _ in layer_figures(read_page(run[1]))]
    assert names == ["layer_001_conv1", "layer_002_script_img_src_x_onerror_alert_1", "layer_003_conv3", "layer_004_conv4"]


def test_a_log_axis_has_plain_numbers(run: Run, tmp_path: Path) -> None:
    _, figure = next(layer_figures(read_page(run[1])))
    save(figure, tmp_path / "layer.svg")
    assert "mathdefault" not in (tmp_path / "layer.svg").read_text()
