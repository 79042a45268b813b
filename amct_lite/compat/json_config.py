"""Reads AMCT's JSON configuration: root settings, then one table a layer. A layer that is not listed stays in float.

Keys that are left out take AMCT's defaults, so files of older versions can be read. Every problem names file, line, layer
and key; all of them are found before the file is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from amct_lite import ir
from amct_lite.compat import json_keys as keys
from amct_lite.compat.json_lines import JsonText, Path, parse
from amct_lite.compat.problems import Problems
from amct_lite.compat.settings import (
    SPELLING,
    LayerSettings,
    Options,
    ada_options,
    ada_problem,
    channel_wise,
    channel_wise_by_default,
    most_common,
    node_types,
    option_problem,
    require_some_layer,
    with_defaults,
)
from amct_lite.config import Override, QuantConfig
from amct_lite.config.values import BadValueError, Check
from amct_lite.errors import ConfigError
from amct_lite.ops import OPS
from amct_lite.registry import belong_elsewhere, did_you_mean

Table = Mapping[str, object]


def read_json(text: str, source: str, model: ir.Model | None = None) -> QuantConfig:
    """The settings that `text`, the content of the file `source`, holds.

    model: prepared; without one, names are not checked and `channel_wise` is taken for any layer.
    Raises ConfigError with all problems.
    """
    content = parse(text, source)
    if not isinstance(content.data, dict):
        raise ConfigError(f'{source} holds a {type(content.data).__name__}, must be a table: {{"version": 1, …}}.')
    return _Reader(content, Problems(source), node_types(model)).read(content.data)


@dataclass
class _Reader:
    content: JsonText
    problems: Problems
    types: Mapping[str, str]  # of the model's nodes; empty when there is no model
    settings: dict[str, LayerSettings] = field(default_factory=dict)
    disabled: set[str] = field(default_factory=set)
    tensors: dict[str, LayerSettings] = field(default_factory=dict)
    tensor_lines: dict[Path, int] = field(default_factory=dict)

    def read(self, data: Table) -> QuantConfig:
        for path, line in self.content.repeated:
            self.problems.add(line, f"{_where(path)} is given twice. Keep one")
        root = self._checked({key: value for key, value in data.items() if key in keys.ROOT}, keys.ROOT, ())
        symmetric = not root.get("activation_offset", True)
        layers = {name: table for name, table in data.items() if name not in keys.ROOT}
        names = [name for name, table in layers.items() if isinstance(table, dict)]
        if self.types and (sentence := belong_elsewhere(names, self.types)):
            self.problems.add(None, f"{sentence}: a configuration of another model? Make one with `amct-lite config create`")
            self.problems.raise_if_any()
        for name, table in layers.items():
            self._layer(name, table, symmetric=symmetric)
        for position, item in enumerate(root.get("tensor_quantize", [])):  # type: ignore[arg-type,var-annotated] # checked
            self._tensor(position, item, symmetric=symmetric)
        config = self._config(int(str(root.get("batch_num", 1))), symmetric=symmetric)
        config = replace(config, **{name: root[key] for key, name in keys.KEPT.items() if key in root})  # type: ignore[arg-type] # checked by ROOT
        if self.disabled >= self.settings.keys() and not self.tensors and not len(self.problems):
            self.problems.add(None, "nothing is quantized: no layer has quant_enable true. Enable one at least")
        self.problems.raise_if_any()
        require_some_layer(config, self.types, self.problems)
        self.problems.raise_if_any()
        return config

    def _config(self, batches: int, *, symmetric: bool) -> QuantConfig:
        base = most_common(self.settings, symmetric=symmetric)
        layers = {"*": Override(skip=True)} if not self.types else {}  # exact names win over the pattern
        for name, settings in self.settings.items():
            skip = True if name in self.disabled else None if self.types else False
            layers[name] = replace(settings.override(base), skip=skip)
        for name, op_type in self.types.items():
            if name not in self.settings and OPS.find(op_type) is not None:
                layers[name] = Override(skip=True)
        lines: dict[Path, int] = {("layers", path[0]): line for path, line in self.content.lines.items() if len(path) == 1}
        lines |= {(name,): lines["layers", key] for key, name in keys.KEPT.items() if ("layers", key) in lines}
        layers = {name: override for name, override in layers.items() if override != Override()}
        tensors = {key: settings.tensor_override(base) for key, settings in self.tensors.items()}
        lines |= self.tensor_lines
        config = QuantConfig(
            batches=batches,
            fallback=0.0,  # such a file says of each layer whether it is quantized
            layers=layers,
            tensors=tensors,
            source=self.problems.source,
            lines=lines,
            spelling=SPELLING,
        )
        return base.applied_to(config)

    def _tensor(self, position: int, item: Table, *, symmetric: bool) -> None:
        """One item of the list. Whether the model has such an input is known to the plan."""
        path = ("tensor_quantize", f"[{position}]")
        given = self._checked(item, keys.TENSOR, path)
        for key in ("layer_name", "input_index"):
            if key not in item:
                self._add((*path, key), "is missing")
        if not {"layer_name", "input_index"} <= given.keys():
            return
        key = f"{given['layer_name']}:{given['input_index']}"
        if key in self.tensors:
            self._add(path, f"names the tensor {key} again. Keep one")
            return
        if self.types and given["layer_name"] not in self.types:
            name = str(given["layer_name"])
            self._add((*path, "layer_name"), f"= {keys.as_json(name)} is not in the model{did_you_mean(name, self.types)}")
        table = given.get("activation_quant_params", {})
        settings = LayerSettings(symmetric=symmetric)
        self.tensors[key] = self._activation((*path, "activation_quant_params"), table, settings)
        if line := self._line(path):
            self.tensor_lines["tensors", key] = line

    def _layer(self, name: str, table: object, *, symmetric: bool) -> None:
        op_type = self.types.get(name)
        if not isinstance(table, dict):
            self._add((name,), f"is unknown{did_you_mean(name, keys.ROOT)}; the keys here are {', '.join(keys.ROOT)}")
            return
        if self.types and op_type is None:
            hint = did_you_mean(name, [*self.types, *keys.ROOT])
            self.problems.add(self._line((name,)), f"layer {name!r} is not in the model{hint}")
        given = self._checked(table, keys.LAYER, (name,))
        if op_type is not None and OPS.find(op_type) is None:
            kinds = ", ".join(OPS.names())
            sentence = f"layer {name!r} is a {op_type}, which is not among the operators that are quantized ({kinds})"
            self.problems.add(self._line((name,)), sentence)
            return
        settings = LayerSettings(symmetric=symmetric)
        settings = self._activation((name, "activation_quant_params"), given.get("activation_quant_params", {}), settings)
        settings = self._weight(name, given.get("weight_quant_params", {}), settings, op_type)
        self.settings[name] = replace(settings, balance=float(str(given.get("dmq_balancer_param", 0.0))))
        if not given.get("quant_enable", True):
            self.disabled.add(name)

    def _activation(self, path: Path, table: object, settings: LayerSettings) -> LayerSettings:
        assert isinstance(table, dict)
        given = self._checked(table, keys.ACTIVATION, path)
        algorithm = str(given.get("act_algo", "ifmr"))
        options: dict[str, object] = {}
        for key, value in table.items():
            owner = keys.OPTION_OF.get(key)
            if owner is None:
                continue
            if owner != algorithm:
                self._add((*path, key), f"belongs to {owner}, but act_algo is {algorithm}. Remove it, or change act_algo")
            elif problem := option_problem(algorithm, {key: value}):
                self._add((*path, key), f"cannot be used: {problem}")
            else:
                options[key] = tuple(value) if isinstance(value, list) else value
        if problem := option_problem(algorithm, options):
            self._add(path, f"cannot be used: {problem}")
        symmetric = not given["asymmetric"] if given.get("asymmetric") is not None else settings.symmetric
        bits = int(str(given.get("num_bits", 8)))
        return replace(settings, algorithm=algorithm, options=with_defaults(algorithm, options), symmetric=symmetric, bits=bits)

    def _weight(self, name: str, table: object, settings: LayerSettings, op_type: str | None) -> LayerSettings:
        assert isinstance(table, dict)
        path = (name, "weight_quant_params")
        given = self._checked(table, keys.WEIGHT, path)
        ada = self._ada(table, path) if given.get("wts_algo") == "ada_quantize" else None
        if ada is None and table.get("wts_algo", "arq_quantize") == "arq_quantize":
            for key in table:
                if key in keys.ADA_OPTIONS:
                    self._add((*path, key), "belongs to ada_quantize, but wts_algo is arq_quantize. Remove it")
        wanted = given.get("channel_wise")
        if wanted and op_type is not None and not channel_wise_by_default(op_type):
            self._add((*path, "channel_wise"), f"must be false: {op_type} has one weight scale in AMCT's contract")
        per_channel = channel_wise(None if wanted is None else bool(wanted), op_type)
        return replace(settings, per_channel=per_channel, ada=ada, weight_bits=int(str(given.get("num_bits", 8))))

    def _ada(self, table: Table, path: Path) -> Options:
        """The options of ada_quantize."""
        options: dict[str, object] = {}
        for key, value in table.items():
            if key not in keys.ADA_OPTIONS:
                continue
            if problem := ada_problem({key: value}):
                self._add((*path, key), f"cannot be used: {problem}")
            else:
                options[key] = value
        return ada_options(options)

    def _checked(self, table: Table, checks: Mapping[str, Check], base: Path) -> dict[str, object]:
        """The values that pass; the others, and keys that are unknown, become problems."""
        found: dict[str, object] = {}
        for key, value in table.items():
            path = (*base, key)
            if key not in checks:
                self._add(path, f"is unknown{did_you_mean(key, checks)}; the keys here are {', '.join(checks)}")
                continue
            try:
                found[key] = checks[key](value)
            except BadValueError as error:
                shown = "" if isinstance(value, dict | list) and value else f" = {keys.as_json(value)}"
                self.problems.add(self._line(path), f"{_where(path)}{shown} {error}")
        return found

    def _add(self, path: Path, sentence: str) -> None:
        self.problems.add(self._line(path), f"{_where(path)} {sentence}")

    def _line(self, path: Path) -> int | None:
        return next((line for n in range(len(path), 0, -1) if (line := self.content.lines.get(path[:n]))), None)


def _where(path: Path) -> str:
    """`layer 'c1': weight_quant_params.num_bits`; a root key by its name alone, `tensor_quantize[0].input_index` as it is."""
    if len(path) == 1:
        return path[0]
    if path[0] == "tensor_quantize":
        return f"{path[0]}{'.'.join(path[1:])}"
    return f"layer {path[0]!r}: {'.'.join(path[1:])}"
