"""What can be named: the lists that a new operator, range method or weight method must enter, and who must tell of them."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from amct_lite.cli.calibrate import command
from amct_lite.config import (
    ACTIVATION_BITS,
    BIAS_CORRECTIONS,
    DEFAULT_ALGORITHM,
    PER_CHANNEL,
    TARGETS,
    WEIGHT_BITS,
    QuantConfig,
)
from amct_lite.observers import OBSERVERS
from amct_lite.ops import OPS
from amct_lite.weights import WEIGHT_QUANTIZERS

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
HELP = {parameter.name: parameter for parameter in command.params if isinstance(parameter, click.Option)}


def test_operators() -> None:
    assert OPS.names() == ("AveragePool", "Conv", "ConvTranspose", "Gather", "Gemm", "LSTM", "MatMul")
    assert all(OPS.get(name).op_type == name for name in OPS.names())


def test_range_methods() -> None:
    assert OBSERVERS.names() == ("hfmg", "ifmr", "kl", "minmax", "mse", "percentile")
    assert DEFAULT_ALGORITHM in OBSERVERS.names()


def test_weight_methods() -> None:
    assert WEIGHT_QUANTIZERS.names() == ("ada", "arq", "gptq", "mse")
    assert QuantConfig().weight_algorithm in WEIGHT_QUANTIZERS.names()


@pytest.mark.parametrize("name", OBSERVERS.names())
def test_help_and_readme_name_every_range_method(name: str) -> None:
    assert name in str(HELP["algorithm"].help)
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", WEIGHT_QUANTIZERS.names())
def test_help_and_readme_name_every_weight_method(name: str) -> None:
    assert name in str(HELP["weight_algorithm"].help)
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", OPS.names())
def test_readme_names_every_operator(name: str) -> None:
    assert name in README


@pytest.mark.parametrize(
    ("option", "values"),
    [("target", TARGETS), ("per_channel", PER_CHANNEL), ("bias_correction", BIAS_CORRECTIONS)],
)
def test_options_offer_what_the_configuration_takes(option: str, values: tuple[str, ...]) -> None:
    kind = HELP[option].type
    assert isinstance(kind, click.Choice)
    assert tuple(kind.choices) == values


def test_readme_names_the_widths() -> None:
    (row,) = (line for line in README.splitlines() if line.startswith("| `--bits`, `--weight-bits` |"))
    data, weights = re.fullmatch(r".* \| 8; activations also ([\d, and]+), weights ([\d, and]+); .*", row).groups()
    assert {8, *map(int, re.findall(r"\d+", data))} == set(ACTIVATION_BITS)
    assert {8, *map(int, re.findall(r"\d+", weights))} == set(WEIGHT_BITS)
