"""From the nested tables of a file to the fields of a QuantConfig, and back. Finds all problems before it gives up.

The tables of this module are the file format: which key path stands for which field, and what its value must be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from amct_lite.config import values
from amct_lite.config.overrides import Override
from amct_lite.config.values import BadValueError, Check
from amct_lite.registry import did_you_mean

Path = tuple[str, ...]
Table = Mapping[Path, tuple[str, Check]]

LAYER_KEYS: Table = {
    ("activation", "algorithm"): ("algorithm", values.name),
    ("activation", "options"): ("options", values.options),
    ("activation", "bits"): ("bits", values.one_of(values.ACTIVATION_BITS)),
    ("activation", "symmetric"): ("symmetric", values.boolean),
    ("weight", "algorithm"): ("weight_algorithm", values.name),
    ("weight", "options"): ("weight_options", values.options),
    ("weight", "bits"): ("weight_bits", values.one_of(values.WEIGHT_BITS)),
    ("weight", "per_channel"): ("per_channel", values.one_of(values.PER_CHANNEL)),
    ("balance",): ("balance", values.strength),
}
OVERRIDE_KEYS: Table = {("skip",): ("skip", values.boolean), **LAYER_KEYS}
GLOBAL_KEYS: Table = {
    ("target",): ("target", values.one_of(values.TARGETS)),
    ("batches",): ("batches", values.batches),
    ("trust_data",): ("trust_data", values.boolean),
    ("input_shapes",): ("input_shapes", values.input_shapes),
    ("bias_correction",): ("bias_correction", values.one_of(values.BIAS_CORRECTIONS)),
    ("balance_fold",): ("balance_fold", values.boolean),
    ("fallback",): ("fallback", values.decibels),
    ("skip",): ("skip", values.names),
    ("float16",): ("float16", values.names),
    ("fusion",): ("fusion", values.boolean),
    ("skip_fusion",): ("skip_fusion", values.names),
    **LAYER_KEYS,
}
TENSOR_KEYS: Table = {path: entry for path, entry in OVERRIDE_KEYS.items() if path[0] not in {"weight", "balance"}}
SECTION_KEYS: Mapping[str, Table] = {"types": OVERRIDE_KEYS, "layers": OVERRIDE_KEYS, "tensors": TENSOR_KEYS}
OVERRIDE_SECTIONS = tuple(SECTION_KEYS)


def key_text(path: Path) -> str:
    """`layers["conv1"].weight.bits`: what stands in the user's file, on one line."""
    text = ""
    for position, key in enumerate(path):
        named = position == 1 and path[0] in OVERRIDE_SECTIONS
        text += f'["{key}"]' if named or "." in key else f".{key}" if text else key
    return text


@dataclass
class MappingReader:
    """Reads one document; `problems` grows by a sentence for each thing that is wrong.

    place: the beginning of a sentence about a key path, with file and line.
    """

    place: Callable[[Path], str]
    problems: list[str] = field(default_factory=list)

    def read(self, data: Mapping[str, object]) -> dict[str, object]:
        """Keyword arguments for QuantConfig; only valid values, only what was given."""
        plain = {key: value for key, value in data.items() if key not in OVERRIDE_SECTIONS}
        fields = self._fields(plain, GLOBAL_KEYS, (), ())
        for section in OVERRIDE_SECTIONS:
            fields[section] = self._overrides(data.get(section), section)
        return fields

    def _overrides(self, data: object, section: str) -> dict[str, Override]:
        overrides = {}
        for pattern, table in self._items(data, (section,)):
            path = (section, pattern)
            if section == "tensors" and not values.is_tensor_pattern(pattern):
                self.problems.append(f"{self.place(path)} {values.TENSOR_PATTERN}.")
                continue
            given = dict(self._items(table, path))
            overrides[pattern] = Override(**self._fields(given, SECTION_KEYS[section], path, ()))  # type: ignore[arg-type] # checked by the table
        return overrides

    def _fields(self, data: Mapping[str, object], table: Table, base: Path, inner: Path) -> dict[str, object]:
        """Checked values of `data`, which stands at base + inner; the keys of `table` are relative to base."""
        fields: dict[str, object] = {}
        for key, value in self._items(data, base + inner):
            path = (*inner, key)
            if path in table:
                if value is not None:  # null is as good as nothing
                    self._checked(fields, table[path], base + path, value)
            elif any(known[: len(path)] == path for known in table):
                fields |= self._fields(dict(self._items(value, base + path)), table, base, path)
            else:
                self.problems.append(f"{self.place(base + path)} is unknown{_suggestion(path, table, base)}.")
        return fields

    def _checked(self, fields: dict[str, object], entry: tuple[str, Check], path: Path, value: object) -> None:
        name, check = entry
        try:
            fields[name] = check(value)
        except BadValueError as error:
            self.problems.append(f"{self.place(path)} = {value!r} {error}.")

    def _items(self, data: object, path: Path) -> Iterator[tuple[str, object]]:
        """The items of a table; None is an empty one, anything else a problem."""
        if data is not None and not isinstance(data, Mapping):
            self.problems.append(f"{self.place(path)} = {data!r} must be a table of settings.")
            return
        for key, value in (data or {}).items():
            if isinstance(key, str):
                yield key, value
            else:
                self.problems.append(f"{self.place((*path, str(key)))}: the key {key!r} must be text, put it in quotes.")


def nested(fields: Mapping[str, object]) -> dict[str, object]:
    """The tables of a file that says what `fields` (of QuantConfig) say; what is None or empty is left out."""
    tables = _nested(fields, GLOBAL_KEYS)
    for section in OVERRIDE_SECTIONS:
        overrides = fields.get(section)
        if isinstance(overrides, Mapping) and overrides:
            tables[section] = {pattern: _nested(vars(o), SECTION_KEYS[section]) for pattern, o in overrides.items()}
    return tables


def _nested(fields: Mapping[str, object], table: Table) -> dict[str, object]:
    result: dict[str, object] = {}
    for path, (name, _check) in table.items():
        value = fields[name]
        if value is None or value in ({}, ()):
            continue
        target = result
        for key in path[:-1]:
            target = target.setdefault(key, {})  # type: ignore[assignment] # sections are dicts
        target[path[-1]] = _plain(value)
    return result


def _plain(value: object) -> object:
    """Lists and dicts instead of tuples and mappings: what JSON, TOML and YAML can say."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _suggestion(path: Path, table: Table, base: Path) -> str:
    """The nearest key at this place, or where the key belongs; and the keys there are."""
    level = len(path) - 1
    here = list(dict.fromkeys(known[level] for known in table if known[:level] == path[:level]))
    here += [] if base or level else OVERRIDE_SECTIONS
    elsewhere = [known for known in table if known[-1] == path[-1]]
    hint = f" (did you mean {key_text(elsewhere[0])!r}?)" if elsewhere else did_you_mean(path[-1], here)
    return f"{hint}; the keys here are {', '.join(here)}"
