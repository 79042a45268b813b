"""docs/amct-configuration.md names every key that is read, with the defaults that hold."""

from __future__ import annotations

from pathlib import Path

from amct_lite.compat import json_keys
from amct_lite.compat.cfg_schema import AMCTConfig
from amct_lite.compat.settings import LAYER_TYPES, default_options

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "amct-configuration.md").read_text(encoding="utf-8")


def test_every_json_key_is_named() -> None:
    keys = {*json_keys.ROOT, *json_keys.LAYER, *json_keys.ACTIVATION, *json_keys.WEIGHT}
    assert {key for key in keys if f"`{key}`" not in TEXT} == set()


def test_every_root_field_and_layer_type_of_the_simplified_format_is_named() -> None:
    names = {*(field.name for field in AMCTConfig.DESCRIPTOR.fields), *LAYER_TYPES}
    assert {name for name in names if f"`{name}`" not in TEXT and f"`{name}: " not in TEXT} == set()


def test_defaults_are_those_of_the_range_methods() -> None:
    ifmr = [list(value) if isinstance(value, tuple) else value for _, value in default_options("ifmr")]
    assert f"| {', '.join(map(str, ifmr))} | ifmr alone |" in TEXT
    ((_, bins),) = default_options("hfmg")
    assert f"| `num_of_bins` | {bins} | hfmg alone |" in TEXT
