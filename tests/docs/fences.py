"""The code blocks of the documents, and how a test lives with a file that a guide adds to the package."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from amct_lite.registry import Registry

ROOT = Path(__file__).resolve().parents[2]


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of `document` (relative to the repository) marked with `language`, in order."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


@contextmanager
def added(package: str, name: str, source: str, folder: Path, registry: Registry | None = None) -> Iterator[ModuleType]:
    """`source` as the module `<package>.<name>` for as long as the block lasts, as if its file lay in the package.

    registry: the one that discovers the package; it forgets what the module registered.
    """
    (folder / f"{name}.py").write_text(source, encoding="utf-8")
    parent = importlib.import_module(package)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parent, "__path__", [*parent.__path__, str(folder)])
        if registry is not None:
            registry.names()  # its own entries first
            patch.setattr(registry, "_entries", dict(registry._entries))
            patch.setattr(registry, "_discovered", False)
            registry.names()
        try:
            yield importlib.import_module(f"{package}.{name}")
        finally:
            sys.modules.pop(f"{package}.{name}", None)
            if hasattr(parent, name):
                delattr(parent, name)
