"""The command line: parses, calls, prints. Commands are imported when they are asked for, so that `--help` is instant."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from typing import NoReturn

import click

from amct_lite.cli.deferred import defer
from amct_lite.cli.exits import exit_codes, tell_on_stderr
from amct_lite.cli.words import as_meant
from amct_lite.errors import Terminated
from amct_lite.registry import did_you_mean

_COMMANDS = {
    "calibrate": "amct_lite.cli.calibrate",
    "autocalibrate": "amct_lite.cli.autocalibrate",
    "search": "amct_lite.cli.search",
    "convert": "amct_lite.cli.convert",
    "report": "amct_lite.cli.report",
    "record": "amct_lite.cli.record",
    "inspect": "amct_lite.cli.inspect",
    "bitops": "amct_lite.cli.bitops",
    "sensitivity": "amct_lite.cli.sensitivity",
    "compare": "amct_lite.cli.compare",
    "explain": "amct_lite.cli.explain",
    "config": "amct_lite.cli.config",
}


class _LazyGroup(click.Group):
    """A group whose commands live in one module each, in the order of `_COMMANDS`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if os.environ.get("NO_COLOR"):  # https://no-color.org
            ctx.color = False
        return super().parse_args(ctx, args if ctx.resilient_parsing else as_meant(args))

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(module).command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS:
            ctx.fail(f"no command {args[0]!r}{did_you_mean(args[0], _COMMANDS)}.")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with: amct-lite calibrate model.onnx --data samples/ -o out/model",
)
@click.version_option(package_name="amct-lite", prog_name="amct-lite")
def group() -> None:
    """Quantize ONNX models to int8, offline: for Ascend NPUs (through ATC) and for ONNX Runtime."""


def _terminate(number: int, _frame: object) -> NoReturn:
    raise Terminated(128 + number)


def main() -> None:
    """Entry point."""
    defer()
    if hasattr(signal, "SIGTERM"):  # an exit like any other: what lies in temporary folders is removed
        signal.signal(signal.SIGTERM, _terminate)
    if "_AMCT_LITE_COMPLETE" in os.environ:
        importlib.import_module("amct_lite.cli.bash")
    with exit_codes(tell_on_stderr):
        code = group(standalone_mode=False, prog_name="amct-lite")
    sys.exit(code if isinstance(code, int) else 0)
