"""QuantConfig: everything a user can ask for, and what of it holds for one layer."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from amct_lite.config.mapping import (
    GLOBAL_KEYS,
    OVERRIDE_SECTIONS,
    SECTION_KEYS,
    MappingReader,
    Path,
    key_text,
    nested,
)
from amct_lite.config.overrides import LayerConfig, Override
from amct_lite.config.values import TENSOR_PATTERN, BadValueError, Check, is_tensor_pattern
from amct_lite.errors import ConfigError
from amct_lite.types import Fusion

DEFAULT_ALGORITHM = "ifmr"


@dataclass(frozen=True)
class AlgorithmUse:
    """An algorithm that the configuration names: place (for messages), name, and the options given with it."""

    place: str
    name: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class QuantConfig:
    """What to quantize and how. Precedence: `layers` over `types` over the rest.

    target: "ascend" (what ATC takes), "ort" (ONNX Runtime's integer kernels) or "generic". algorithm, options, bits, symmetric:
    the activations' ranges. weight_algorithm, weight_options, weight_bits, per_channel ("auto": as the target's contract says,
    "all", "none"): the weights. bias_correction: "none", "analytic" (from input means), "full" (sequential), or "auto"
    (analytic unless full is clearly better). balance: the share of the inputs' ranges that moves into the weights, channel by
    channel (0.2 to 0.8; 0: none); balance_fold: without a Mul where the layer in front can divide. fallback: layers whose own
    output 8 bits would leave fewer dB above the noise stay in float (0: none do), but not those that `layers` names with skip
    false. skip: node names, patterns or operator types to leave in float. float16: likewise the layers that compute in float16
    where they stay in float. fusion:
    whether layers take in the normalizations around them; skip_fusion: nodes, by name, pattern or operator type, that do not
    take part. joint_quant: kept for AMCT's files, without effect. batches: how many to calibrate on (None: all). trust_data:
    let a wild sample count like any other. input_shapes: dimensions of the inputs of the deploy model. types: overrides by
    operator type. layers: overrides by node name or pattern; of several patterns the later wins, and an exact name wins over
    patterns. tensors: single inputs of nodes to quantize on their own, by "node:index" (see `for_tensor`), with deviations of
    their own. source, lines, spelling: the file it was read from, the line of each key path, and what that file calls a key,
    for messages.

    Raises ConfigError that names the field when a value cannot be.
    """

    target: str = "ascend"
    algorithm: str = DEFAULT_ALGORITHM
    options: Mapping[str, object] = field(default_factory=dict)
    bits: int = 8
    symmetric: bool = False
    weight_algorithm: str = "arq"
    weight_options: Mapping[str, object] = field(default_factory=dict)
    weight_bits: int = 8
    per_channel: str = "auto"
    bias_correction: str = "auto"
    balance: float = 0.0
    balance_fold: bool = False
    fallback: float = 20.0
    skip: tuple[str, ...] = ()
    float16: tuple[str, ...] = ()
    fusion: bool = True
    skip_fusion: tuple[str, ...] = ()
    joint_quant: bool = False
    batches: int | None = None
    trust_data: bool = False
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    types: Mapping[str, Override] = field(default_factory=dict)
    layers: Mapping[str, Override] = field(default_factory=dict)
    tensors: Mapping[str, Override] = field(default_factory=dict)
    source: str | None = field(default=None, compare=False)
    lines: Mapping[Path, int] = field(default_factory=dict, compare=False, repr=False)
    spelling: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, check in GLOBAL_KEYS.values():
            object.__setattr__(self, name, _checked(check, name, getattr(self, name)))
        for section in OVERRIDE_SECTIONS:
            overrides = {pattern: _checked_override(o, section, pattern) for pattern, o in self._section(section)}
            object.__setattr__(self, section, overrides)

    @classmethod
    def from_mapping(
        cls,
        data: Mapping[str, object],
        source: str | None = None,
        *,
        lines: Mapping[Path, int] | None = None,
        problems: Sequence[str] = (),
    ) -> QuantConfig:
        """From the nested tables of a configuration file.

        problems: what was found wrong with the file before. Raises ConfigError with all problems, each in its place.
        """
        reader = MappingReader(lambda path: _place(source, lines or {}, path), list(problems))
        given = reader.read(data)
        if reader.problems:
            raise ConfigError(_listed(reader.problems, source))
        return cls(**given, source=source, lines=dict(lines or {}))  # type: ignore[arg-type] # checked by the table

    def to_mapping(self) -> dict[str, object]:
        """The nested tables of a file that says the same; what is unset is left out."""
        return nested({f.name: getattr(self, f.name) for f in fields(self)})

    def with_algorithm(self, algorithm: str, **options: object) -> QuantConfig:
        """With another range algorithm for layers that have none of their own; options of the old one are dropped."""
        kept = self.options if algorithm == self.algorithm else {}
        return replace(self, algorithm=algorithm, options={**kept, **options})

    def with_weight_algorithm(self, algorithm: str, **options: object) -> QuantConfig:
        """The same for the weights."""
        kept = self.weight_options if algorithm == self.weight_algorithm else {}
        return replace(self, weight_algorithm=algorithm, weight_options={**kept, **options})

    def for_layer(self, name: str, op_type: str) -> LayerConfig:
        """What holds for the node `name`."""
        layer = self._default(self._skip_reason(name, op_type))
        for path, override in self._overrides_of(name, op_type):
            layer = layer.overridden(override, f"the configuration skips it ({self.place(*path)})")
        return layer

    def for_tensor(self, name: str, op_type: str, index: int) -> LayerConfig | None:
        """What holds for input `index` of the node `name`, when it is to be quantized on its own; None when nobody asks for it.

        An operator type is weaker than a pattern, a pattern weaker than a name; of several patterns the later wins. A node
        that is skipped keeps its inputs in float, unless they are named and the node itself is not. Of the result, what is
        said of weights means nothing.
        """
        keys = [key for key in self.tensors if self.asks_for(key, name, op_type) and key.endswith((":*", f":{index}"))]
        if not keys:
            return None
        named = any(key.rpartition(":")[0] == name for key in keys)
        tensor = self._default(skip="" if named and not self._skips_by_name(name) else self.for_layer(name, op_type).skip)
        for key in sorted(keys, key=lambda key: _strength(key.rpartition(":")[0], name, op_type)):
            reason = f"the configuration skips it ({self.place('tensors', key)})"
            tensor = tensor.overridden(self.tensors[key], reason)
        return tensor

    def _skips_by_name(self, name: str) -> bool:
        return name in self.skip or (name in self.layers and bool(self.layers[name].skip))

    @staticmethod
    def asks_for(key: str, name: str, op_type: str) -> bool:
        """Whether `key`, one of `tensors`, means an input of the node `name`."""
        node = key.rpartition(":")[0]
        return node == op_type or _matches(name, node)

    def _default(self, skip: str) -> LayerConfig:
        """Without overrides."""
        return LayerConfig(
            skip=skip,
            algorithm=self.algorithm,
            bits=self.bits,
            symmetric=self.symmetric,
            weight_algorithm=self.weight_algorithm,
            weight_bits=self.weight_bits,
            per_channel=self.per_channel,
            options=self.options,
            weight_options=self.weight_options,
            balance=self.balance,
        )

    def insists_on(self, name: str) -> bool:
        """Whether the layer `name` is asked for by its name."""
        return name in self.layers and self.layers[name].skip is False

    def in_half(self, name: str, op_type: str) -> bool:
        """Whether the node `name` computes in float16 where it stays in float."""
        return any(_matches(name, pattern) or pattern == op_type for pattern in self.float16)

    def for_target(self, target: str | None) -> QuantConfig:
        """The same for `target`; None: for its own."""
        return self if target is None else replace(self, target=target)

    @property
    def folding(self) -> Fusion:
        """How the model is to be prepared."""
        take_apart = self.target == "ort"
        return Fusion(self.fusion, self.skip_fusion, take_apart=take_apart, place=self.place("skip_fusion"))

    @property
    def without_effect(self) -> tuple[str, ...]:
        """What is asked for that changes nothing here, as sentences for the user."""
        if not self.joint_quant:
            return ()
        return ("joint_quant changes nothing here: each layer gets scales of its own. AMCT's formats keep it.",)

    @property
    def where(self) -> str:
        """What to call this configuration in a message."""
        return self.source or "the configuration"

    def place(self, *path: str) -> str:
        """`quant.yaml:12: layers["conv1"].skip`: the beginning of a sentence about the value at a key path."""
        return _place(self.source, self.lines, path, self.spelling)

    @property
    def layer_patterns(self) -> tuple[str, ...]:
        """Every node name, pattern and operator type that the configuration mentions."""
        return tuple(dict.fromkeys([*self.skip, *self.float16, *self.types, *self.layers]))

    def place_of(self, pattern: str) -> str:
        """Where `pattern`, one of `layer_patterns`, is mentioned first."""
        for key, names in (("skip", self.skip), ("float16", self.float16)):
            if pattern in names:
                return self.place(key, str(names.index(pattern)))
        return self.place("types" if pattern in self.types else "layers", pattern)

    def algorithms(self) -> Iterator[AlgorithmUse]:
        """Every range algorithm that is asked for, for the stage that knows which there are."""
        yield AlgorithmUse(self.place("activation", "algorithm"), self.algorithm, self.options)
        for path, override in self._all_overrides():
            if override.algorithm is not None:
                yield AlgorithmUse(self.place(*path, "activation", "algorithm"), override.algorithm, override.options or {})

    def weight_algorithms(self) -> Iterator[AlgorithmUse]:
        """Every weight algorithm that is asked for."""
        yield AlgorithmUse(self.place("weight", "algorithm"), self.weight_algorithm, self.weight_options)
        for path, override in self._all_overrides():
            if override.weight_algorithm is not None:
                place = self.place(*path, "weight", "algorithm")
                yield AlgorithmUse(place, override.weight_algorithm, override.weight_options or {})

    def _skip_reason(self, name: str, op_type: str) -> str:
        for position, pattern in enumerate(self.skip):
            if _matches(name, pattern) or pattern == op_type:
                return f"the configuration skips it ({self.place('skip', str(position))} lists {pattern!r})"
        return ""

    def _overrides_of(self, name: str, op_type: str) -> Iterator[tuple[Path, Override]]:
        """The overrides that hold for a node, the strongest last."""
        if op_type in self.types:
            yield ("types", op_type), self.types[op_type]
        for pattern, override in self.layers.items():
            if pattern != name and _matches(name, pattern):
                yield ("layers", pattern), override
        if name in self.layers:
            yield ("layers", name), self.layers[name]

    def _all_overrides(self) -> Iterator[tuple[Path, Override]]:
        for section in OVERRIDE_SECTIONS:
            yield from (((section, pattern), override) for pattern, override in self._section(section))

    def _section(self, section: str) -> Iterator[tuple[str, Override]]:
        overrides: Mapping[str, Override] = getattr(self, section)
        yield from overrides.items()


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _strength(node: str, name: str, op_type: str) -> int:
    return 2 if node == name else 0 if node == op_type else 1


def _checked(check: Check, name: str, value: object) -> object:
    try:
        return check(value)
    except BadValueError as error:
        raise ConfigError(f"{name} = {value!r} {error}.") from error


def _checked_override(override: Override, section: str, pattern: str) -> Override:
    place = key_text((section, pattern))
    if section == "tensors" and not is_tensor_pattern(pattern):
        raise ConfigError(f"{place} {TENSOR_PATTERN}.")
    if not isinstance(override, Override):
        raise ConfigError(f"{place} = {override!r} must be an Override.")
    given = {name: value for name, value in vars(override).items() if value is not None}
    checks = dict(SECTION_KEYS[section].values())
    if unfit := [name for name in given if name not in checks]:
        raise ConfigError(f"{place}.{unfit[0]}: a single tensor has no weight; it takes {', '.join(checks)}.")
    return Override(**{name: _checked(checks[name], f"{place}.{name}", value) for name, value in given.items()})  # type: ignore[arg-type] # checked by the table


def _place(source: str | None, lines: Mapping[Path, int], path: Path, spelling: Mapping[str, str] | None = None) -> str:
    """The line is that of the longest part of `path` that has one; an index into a list of names is not shown."""
    line = next((lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in lines), None)
    shown = path[:1] if path[:1] in {("skip",), ("float16",)} else path
    text = (spelling or {}).get(path[0], path[0]) + key_text(shown).removeprefix(path[0])
    if source is None:
        return text
    return f"{source}:{line}: {text}" if line is not None else f"{source}: {text}"


def _listed(problems: Sequence[str], source: str | None) -> str:
    if len(problems) == 1:
        return problems[0]
    return "\n  ".join([f"{source or 'the configuration'} has {len(problems)} problems:", *problems])
