"""A page as one HTML file: the gate to jinja2. Everything of a model is escaped, and the file can load nothing: style, script
and drawings are in it, and its policy allows no others."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from amct_lite.errors import ConfigError
from amct_lite.page import figures
from amct_lite.page.summary import figures_of, number, percent, remarks_of, sqnr
from amct_lite.page.values import Analysis, Page, drawn
from amct_lite.reports.warnings import POOR_SQNR_DB
from amct_lite.reports.wording import accumulators, by_reason


def require_jinja2() -> None:
    """Raises ConfigError when it is not installed."""
    try:
        import jinja2  # noqa: F401
    except ImportError:
        raise ConfigError("the report needs jinja2, which is not installed: pip install 'amct-lite[report]'.") from None


def html_of(page: Page) -> str:
    """The whole file. Raises ConfigError when jinja2 or matplotlib is not installed."""
    require_jinja2()
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup, escape

    drawings = {name: Markup(figures.svg_of(figure, name)) for name, figure in figures.overview(page).items()}

    def breakable(name: str) -> Markup:
        """A long name may wrap behind what separates its parts."""
        return Markup(re.sub(r"[/.:_](?=\w)", r"\g<0><wbr>", str(escape(name))))

    def sentence(text: str) -> Markup:
        """An option of a command does not wrap at its hyphens."""
        return Markup(re.sub(r"--[a-z][a-z-]*", r'<span class="option">\g<0></span>', str(escape(text))))

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "sqnr": sqnr, "percent": percent, "remarks": remarks_of, "key": _key}
    environment.filters |= {"breakable": breakable, "sentence": sentence}
    script = _asset("report.js")
    return environment.from_string(_asset("report.html")).render(
        page=page,
        report=page.report,
        facts=figures_of(page),
        accumulators=accumulators(page.report.equivalence, page.report) if page.report.equivalence else "",
        skips=by_reason(page.report.skips),
        in_float=by_reason(page.report.kernels.in_float if page.report.kernels else ()),
        operators=sorted({layer.row.op_type for layer in page.layers}),
        missing=[analysis for analysis in page.analyses if not analysis.source],
        poor=POOR_SQNR_DB,
        drawings=drawings,
        style=Markup(_asset("report.css")),
        script=Markup(script),
        script_hash=_digest(script),
        data=Markup(_embedded(drawn(page))),
    )


def _asset(name: str) -> str:
    return (files("amct_lite.page") / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON that no HTML parser sees an end tag or a comment in."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _key(analysis: Analysis) -> str:
    return analysis.title.lower().replace(" ", "_")
