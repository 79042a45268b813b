"""The files of a command that quantizes: whether they can be written is found out before the work, not after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

if TYPE_CHECKING:
    from amct_lite.result import QuantizeResult


class Saved(Protocol):
    """What has the method of `QuantizeResult`."""

    def save(self, prefix: str, *, inputs: Iterable[Path], also: Mapping[str, str]) -> tuple[Path, ...]:
        """Write everything under `<prefix>_…`, with the texts of `also`; returns the paths."""


def require_place(output: str, data: str | None = None, *, page: bool = False) -> None:
    """Before the run. page: one is to be made at its end.

    Raises ConfigError when the packages that draw a page are not installed, or the results would lie among the samples, where
    the next run would take them for samples; ExportError when nothing can be written there.
    """
    from amct_lite.files import require_writable

    if page:
        from amct_lite.page.writing import require_packages

        require_packages()
    if data is not None:
        _require_elsewhere(output, data)
    require_writable(output)


def _require_elsewhere(output: str, data: str) -> None:
    from amct_lite.calibration.readers.folders import kind_of
    from amct_lite.errors import ConfigError
    from amct_lite.files import output_path

    folder = output_path(output, "calibration.npz").parent
    if Path(data).is_dir() and folder.is_dir() and folder.samefile(data) and any(map(kind_of, folder.iterdir())):
        raise ConfigError(
            f"-o {output} would put the results among the samples in {data}, where the next run takes them for samples. "
            f"Choose another output prefix, such as out/{Path(data).resolve().name}."
        )


def save(
    done: Saved,
    result: QuantizeResult,
    output: str,
    *,
    page: bool,
    inputs: Iterable[Path | None],
    texts: Mapping[str, str] | None = None,
) -> tuple[Path, ...]:
    """Write `done`, whose quantization is `result`, and its page if wanted; returns the paths. Says which models of an earlier
    run stay beside them.

    inputs: files that must not be replaced. texts: analyses to write with it, by the end of their names.
    """
    also = dict(texts or {})
    if page:
        from amct_lite.page.writing import page_text

        also |= page_text(result, output, also)
    old = result.left_over(output)
    written = done.save(output, inputs=[file for file in inputs if file is not None and file.is_file()], also=also)
    for path in old:
        click.echo(f"note: {path} is left over from an earlier run, with other scales. Delete it.", err=True)
    return written
