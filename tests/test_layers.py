"""The house keeps its shape: imports go down, each gate to the outside is one place, files and functions stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "amct_lite").rglob("*.py"))

# From the top down: a unit may import what lies on a lower line, never its own line's neighbours.
LAYERS = (
    {"__init__", "__main__"},
    {"cli"},
    {"public"},
    {"compat"},
    {"precision"},
    {"accuracy", "diagnosis", "tuning"},
    {"pipeline", "converting", "inspection", "by_hand", "common", "page"},
    {"finishing", "fallback"},
    {"result"},
    {"reports", "calibrated", "recorded"},
    {"build", "biases", "roundings", "prebalance", "sparing", "trained"},
    {"judging"},
    {"settled"},
    {"analysis"},
    {"correction", "rounding", "running", "validate"},
    {"walk", "balance", "exporters", "decide", "plan", "calibration", "loading"},
    {"fitting", "tensors", "flow", "qat"},
    {"config", "observers", "ops", "passes", "record", "weights"},
    {"lanes"},
    {"runtime"},
    {"overflow"},
    {"cluster", "ir", "numerics", "providers"},
    {"journal", "workers"},
    {"registry", "files", "scratch", "search"},
    {"held"},
    {"errors", "types"},
)
GATES = {
    "onnx": {"ir"},
    "onnx_ir": {"ir"},
    "onnxruntime": {"runtime.py"},
    "onnxruntime_extensions": {"compat/dropin.py"},
    "jinja2": {"page/template.py"},
    "markupsafe": {"page/template.py"},
    "matplotlib": {"page/figures.py"},
    "PIL": {"calibration/images.py"},
    "yaml": {"config/yaml_file.py"},
    "distributed": {"cluster.py"},
    "rich": {"cli"},
    "scipy": {"search/integer_program.py"},
    "click": {"cli"},
}
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60


def place(file: Path) -> Path:
    return file.relative_to(ROOT / "amct_lite")


def unit(name: str) -> str:
    """`pipeline` for pipeline.py as for amct_lite.pipeline, `ops` for all of amct_lite.ops."""
    return name.split(".")[0].split("/")[0]


def level(name: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that `file` imports, anywhere in it and also for types only, each with its line."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative imports hide where a name comes from"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def test_every_unit_has_its_layer() -> None:
    units = {unit(str(place(file))).removesuffix(".py") for file in FILES}
    assert units == set().union(*LAYERS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(place(file)))
def test_imports_go_down(file: Path) -> None:
    own = unit(str(place(file))).removesuffix(".py")
    for name, line in imported(file):
        if not name.startswith("amct_lite."):
            continue
        other = unit(name.removeprefix("amct_lite."))
        if other != own:
            assert level(other) > level(own), f"{place(file)}:{line} imports {name}, which does not lie below {own}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(place(file)))
def test_outside_packages_come_in_through_their_gates(file: Path) -> None:
    here = str(place(file))
    for name, line in imported(file):
        gates = GATES.get(unit(name))
        assert gates is None or here in gates or unit(here) in gates, f"{here}:{line} imports {name}; its gate is {gates}"


def test_a_module_and_a_package_never_share_a_name() -> None:
    assert [str(place(file)) for file in FILES if file.with_suffix("").is_dir()] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(place(file)))
def test_files_and_functions_stay_small(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MOST_LINES_OF_A_FUNCTION, f"{node.name} is too long"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(place(file)))
def test_every_module_says_what_it_is_responsible_for(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
