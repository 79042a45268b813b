"""Reads AMCT's simplified configuration (protobuf text). Of what holds for a layer, the strongest first:

    override_layer_configs > override_layer_types > common_config > activation_offset

An override replaces all that is said of the layer elsewhere; what it leaves out takes built-in defaults. `skip_layers` and
`skip_layer_types` hold whatever else is said. PyTorch's layer types stand for the ONNX operators they become.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from amct_lite import ir
from amct_lite.compat.cfg_layer import LayerReader
from amct_lite.compat.cfg_lines import Path, field_lines
from amct_lite.compat.cfg_parsing import parsed
from amct_lite.compat.cfg_schema import AMCTConfig
from amct_lite.compat.problems import Problems
from amct_lite.compat.settings import LAYER_TYPES, SPELLING, LayerSettings, node_types, require_some_layer
from amct_lite.config import Override, QuantConfig
from amct_lite.ops import OPS
from amct_lite.registry import did_you_mean


def read_cfg(text: str, source: str, model: ir.Model | None = None) -> QuantConfig:
    """The settings that `text`, the content of the file `source`, holds.

    model: prepared; without one, names of layers are not checked and `channel_wise` is taken for any layer.
    Raises ConfigError with all problems.
    """
    message = parsed(text, source, AMCTConfig)
    return _Reader(field_lines(text), Problems(source), node_types(model)).read(message)


@dataclass
class _Reader:
    lines: Mapping[Path, int]
    problems: Problems
    types: Mapping[str, str]  # of the model's nodes; empty when there is no model
    places: dict[tuple[str, ...], int] = field(default_factory=dict)

    def read(self, message: Any) -> QuantConfig:
        self._root(message)
        layer = LayerReader(self.lines, self.problems, symmetric=not message.activation_offset)
        base = LayerSettings(symmetric=not message.activation_offset)
        if message.HasField("common_config"):
            base = layer.read(message.common_config, (("common_config", 0),), "common_config")
        types = {op_type: settings.full_override() for op_type, settings in self._type_overrides(message, layer).items()}
        layers = {name: settings.full_override() for name, settings in self._layer_overrides(message, layer).items()}
        for path, word in self._once(message, "skip_layer_types"):
            types |= dict.fromkeys(self._op_types(word, path, "types"), Override(skip=True))
        for path, name in self._once(message, "skip_layers"):
            self._require_node(name, path)
            self.places.setdefault(("layers", name), self.lines[path])
            layers[name] = Override(skip=True)
        apart = self._once(message, "skip_fusion_layers")
        for path, _ in apart[:1]:
            self.places["skip_fusion",] = self.lines[path]
        tensors = {key: settings.tensor_override(base) for key, settings in self._tensors(message, layer).items()}
        config = QuantConfig(
            batches=max(message.batch_num, 1),
            types=types,
            layers=layers,
            tensors=tensors,
            fusion=message.do_fusion,
            skip_fusion=tuple(name for _, name in apart),
            joint_quant=message.joint_quant,
            fallback=0.0,  # AMCT quantizes all that such a file does not skip
            source=self.problems.source,
            lines=self.places,
            spelling=SPELLING,
        )
        config = base.applied_to(config)
        self.problems.raise_if_any()
        require_some_layer(config, self.types, self.problems)
        self.problems.raise_if_any()
        return config

    def _root(self, message: Any) -> None:
        if message.batch_num < 1:
            self._add((("batch_num", 0),), "batch_num = 0 must be a whole number of batches, 1 or more")

    def _type_overrides(self, message: Any, layer: LayerReader) -> dict[str, LayerSettings]:
        found: dict[str, LayerSettings] = {}
        for position, item in enumerate(message.override_layer_types):
            path: Path = (("override_layer_types", position),)
            if self._complete(item, path, "layer_type"):
                inner = (*path, ("calibration_config", 0))
                for op_type in self._op_types(item.layer_type, (*path, ("layer_type", 0)), "types", found):
                    where = f"override_layer_types {item.layer_type!r}"
                    found[op_type] = layer.read(item.calibration_config, inner, where, op_type)
        return found

    def _layer_overrides(self, message: Any, layer: LayerReader) -> dict[str, LayerSettings]:
        found: dict[str, LayerSettings] = {}
        for position, item in enumerate(message.override_layer_configs):
            path: Path = (("override_layer_configs", position),)
            if not self._complete(item, path, "layer_name"):
                continue
            name, place = item.layer_name, (*path, ("layer_name", 0))
            if name in found:
                self._add(place, f"layer {name!r} has an override already. Keep one")
                continue
            op_type = self._require_node(name, place)
            if op_type is not None and OPS.find(op_type) is None:
                kinds = ", ".join(OPS.names())
                self._add(
                    place, f"layer {name!r} is a {op_type}, which is not among the operators that are quantized ({kinds})"
                )
                continue
            self.places["layers", name] = self.lines[place]
            inner = (*path, ("calibration_config", 0))
            found[name] = layer.read(item.calibration_config, inner, f"override_layer_configs {name!r}", op_type)
        return found

    def _tensors(self, message: Any, layer: LayerReader) -> dict[str, LayerSettings]:
        """Single tensors. Whether the model has such an input is known to the plan."""
        found: dict[str, LayerSettings] = {}
        for position, item in enumerate(message.tensor_quantize):
            path: Path = (("tensor_quantize", position),)
            if missing := [name for name in ("layer_name", "input_index") if not item.HasField(name)]:
                self._add(path, f"tensor_quantize without {' and '.join(missing)}. Add it, or remove the entry")
                continue
            key = f"{item.layer_name}:{item.input_index}"
            if key in found:
                self._add(path, f"tensor_quantize names the tensor {key} again. Keep one")
                continue
            self._require_node(item.layer_name, (*path, ("layer_name", 0)))
            self.places["tensors", key] = self.lines[path]
            found[key] = layer.read_activation(item, path, f"tensor_quantize {key}")
        return found

    def _complete(self, item: Any, path: Path, name: str) -> bool:
        missing = [key for key in (name, "calibration_config") if not item.HasField(key)]
        for key in missing:
            self._add(path, f"{path[-1][0]} without {key}. Add it, or remove the override")
        return not missing

    def _once(self, message: Any, key: str) -> list[tuple[Path, str]]:
        """The names of a list with their places, each once; a second one is a problem."""
        found: dict[str, Path] = {}
        for position, name in enumerate(getattr(message, key)):
            path = ((key, position),)
            if name in found:
                self._add(path, f"{key} lists {name!r} twice. Keep one")
            else:
                found[name] = path
        return [(path, name) for name, path in found.items()]

    def _op_types(self, word: str, path: Path, section: str, taken: Mapping[str, object] | None = None) -> tuple[str, ...]:
        """The operators that a layer type stands for, without those in `taken`."""
        known = LAYER_TYPES.get(word) or ((word,) if OPS.find(word) is not None else ())
        if not known:
            names = [*OPS.names(), *LAYER_TYPES]
            self._add(path, f"unknown layer type {word!r}{did_you_mean(word, names)}; choose one of {', '.join(names)}")
        repeated = [op_type for op_type in known if op_type in (taken or {})]
        if repeated:
            self._add(path, f"layer type {word!r}: {repeated[0]} has an override already. Keep one")
        for op_type in known:
            self.places.setdefault((section, op_type), self.lines[path])
        return tuple(op_type for op_type in known if op_type not in repeated)

    def _require_node(self, name: str, path: Path) -> str | None:
        """The operator type of the node, None when it is not known."""
        if self.types and name not in self.types:
            self._add(path, f"layer {name!r} is not in the model{did_you_mean(name, self.types)}")
        return self.types.get(name)

    def _add(self, path: Path, sentence: str) -> None:
        self.problems.add(self.lines.get(path), sentence)
