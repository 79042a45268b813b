"""A page on disk: one HTML file, and a folder of figures. Both appear together, and replace nothing that the run needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from amct_lite.errors import ConfigError
from amct_lite.files import output_path, staged_outputs
from amct_lite.page.figures import layer_figures, overview, require_matplotlib, save
from amct_lite.page.gather import page_of
from amct_lite.page.template import html_of, require_jinja2
from amct_lite.page.values import Page
from amct_lite.result import QuantizeResult

PLOT_FORMATS = ("png", "svg")
_READ = ("report.json", "record.txt", "calibration.npz", "fake_quant_model.onnx", "deploy_model.onnx")


def require_packages() -> None:
    """Before a long run that is to end with a page. Raises ConfigError when what draws it is not installed."""
    require_matplotlib()
    require_jinja2()


def page_text(result: QuantizeResult, prefix: str | Path, texts: Mapping[str, str]) -> dict[str, str]:
    """The page of `result`, by what follows the prefix in the name of its file: what `QuantizeResult.save` is to write also.

    texts: analyses of the same run, likewise.
    """
    return {"report.html": html_of(page_of(result, prefix, texts))}


def write_page(
    page: Page,
    prefix: str | Path,
    *,
    html: Path | None = None,
    plots: Path | None = None,
    plot_format: str = "png",
    content: Path | None = None,
    inputs: Iterable[Path | None] = (),
) -> list[Path]:
    """What was written: `html`, `content` (all of it as JSON), then the figures, one of each drawing of the page and one a
    layer.

    inputs: files beside those of `prefix` that must not be replaced. Raises ExportError when one would be, or when nothing can
    be written there, ConfigError for figures of another format than png and svg.
    """
    if plot_format not in PLOT_FORMATS:
        raise ConfigError(f"plot_format = {plot_format!r} is not one of {', '.join(PLOT_FORMATS)}.")
    written: list[Path] = []
    guarded = [path for path in inputs if path] + [output_path(prefix, suffix) for suffix in _READ]
    with staged_outputs(inputs=guarded) as out:
        if html is not None:
            out.stage(html).write_text(html_of(page), encoding="utf-8", errors="replace")
            written.append(html)
        if content is not None:
            out.stage(content).write_text(page.to_json(), encoding="utf-8", errors="replace")
            written.append(content)
        if plots is not None:
            for name, figure in (*overview(page).items(), *layer_figures(page)):
                path = plots / f"{name}.{plot_format}"
                save(figure, out.stage(path))
                written.append(path)
    return written
