"""What a command leaves beside a run that it analysed: its JSON, and the run's page with the new section in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from amct_lite.cli import completion

F = TypeVar("F", bound=Callable[..., Any])


def beside_options(suffix: str) -> Callable[[F], F]:
    """`-o PREFIX` and `--report`. suffix: what the file is called behind the prefix."""

    def decorate(function: F) -> F:
        page = click.option("--report", "page", is_flag=True, help="Write the page of the run PREFIX again, with this in it.")
        output = click.option(
            "-o", "--output", metavar="PREFIX", shell_complete=completion.paths, help=f"Also write <PREFIX>_{suffix}."
        )
        return output(page(function))

    return decorate


@dataclass(frozen=True)
class Beside:
    """output: the prefix, None where nothing is to be written. record: the run's, where none lies there."""

    output: str | None
    page: bool
    record: Path | None = None

    def check(self) -> None:
        """Before the work. Raises ConfigError where a page is wanted that cannot be made, ExportError where nothing can be
        written."""
        if self.output is not None:
            from amct_lite.files import require_writable

            require_writable(self.output)
        if not self.page:
            return
        from amct_lite.errors import ConfigError
        from amct_lite.page.gather import require_run
        from amct_lite.page.writing import require_packages

        if self.output is None:
            raise ConfigError("--report needs the run whose page is to be made: pass -o with the prefix that it had.")
        require_run(self.output, self._record(self.output))
        require_packages()

    def write(self, suffix: str, text: str, inputs: tuple[Path | None, ...]) -> list[Path]:
        """The paths of what was written. inputs: files that must not be replaced."""
        if self.output is None:
            return []
        from amct_lite.files import output_path, staged_outputs

        written = [output_path(self.output, suffix)]
        with staged_outputs(inputs=[path for path in inputs if path is not None]) as out:
            out.stage(written[0]).write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8", errors="replace")
        if self.page:
            from amct_lite.page.gather import read_page
            from amct_lite.page.writing import write_page

            page = read_page(self.output, record=self._record(self.output))
            written += write_page(page, self.output, html=output_path(self.output, "report.html"), inputs=inputs)
        return written

    def _record(self, output: str) -> Path | None:
        from amct_lite.files import output_path

        return None if output_path(output, "record.txt").is_file() else self.record


def tell_written(written: list[Path], *, err: bool = False) -> None:
    """A line a file."""
    for path in written:
        click.echo(f"wrote {path}", err=err)
