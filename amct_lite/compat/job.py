"""What a calibration node knows of its task: the tensor it watches, who reads it, and the files that the run fills.

It is the node's own attribute, as JSON. A calibration model therefore carries all that is needed, whoever runs it, in
which process, with which version of the config file.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from amct_lite.calibration.nodes import Tap
from amct_lite.errors import UnsupportedModelError
from amct_lite.types import QuantPlan, QuantSpec, TensorPlan
from amct_lite.weights import Rounder, make_weight_quantizer


@dataclass(frozen=True)
class Reader:
    """One layer that reads the tensor, or another node (`alone`: as a single tensor). index: the input of the node; position:
    among the layer's activation inputs.

    strength, weight_max: of a layer to balance, its migration strength and the (Cin,) largest magnitudes in its weight.
    rounder, rounder_options: of a layer whose rounding is to be learned, the weight method.
    """

    layer: str
    index: int
    position: int
    bits: int
    symmetric: bool
    algorithm: str
    options: tuple[tuple[str, object], ...]
    alone: bool = False
    strength: float = 0.0
    weight_max: tuple[float, ...] = ()
    rounder: str = ""
    rounder_options: tuple[tuple[str, object], ...] = ()

    @property
    def entry(self) -> tuple[str, int]:
        """Key of the record, and which of its factors are meant: of the first or the second activation."""
        return (f"{self.layer}:{self.index}", 0) if self.alone else (self.layer, self.position)


@dataclass(frozen=True)
class Watch:
    """One calibration node. taps: how many nodes the model has; number: which of them this is.

    record: absolute path of the record to fill after `batch_num` runs. model: checksum of what is calibrated. task: digest of
    what else tells its runs from those for another record.
    inputs: names and ranks of the model's inputs, in the order in which their shapes reach the node. keeps_samples: whether
    those of the runs are kept beside the record.
    """

    number: int
    taps: int
    tap: Tap
    readers: tuple[Reader, ...]
    record: str
    model: str
    batch_num: int
    inputs: tuple[tuple[str, int], ...]
    keeps_samples: bool = False
    task: str = ""

    def to_json(self) -> str:
        """The attribute's value."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Watch:
        """The inverse of `to_json`. Raises UnsupportedModelError for anything else."""
        try:
            data = json.loads(text)
            readers = tuple(Reader(**_frozen_values(told)) for told in data.pop("readers"))
            inputs = tuple((str(name), int(rank)) for name, rank in data.pop("inputs"))
            return Watch(tap=Tap(**data.pop("tap")), readers=readers, inputs=inputs, **data)
        except (ValueError, KeyError, TypeError) as error:
            raise UnsupportedModelError(
                f"a calibration node of the model is damaged ({error}). Write the model again with quantize_model."
            ) from error

    @property
    def balances(self) -> bool:
        """Whether the run decides balance factors instead of ranges."""
        return any(reader.strength for reader in self.readers)

    def plan_of(self, reader: Reader) -> TensorPlan:
        """What is asked for one reader, as the decision wants it."""
        spec = QuantSpec(reader.bits, reader.symmetric)
        return TensorPlan(
            self.tap.tensor, spec, self.tap.channel_axis, self.tap.channels, reader.algorithm, tuple(reader.options)
        )


@dataclass(frozen=True)
class Feed:
    """One input of a calibration model whose samples are kept. record, model, task, batch_num: as in `Watch`."""

    record: str
    model: str
    task: str
    batch_num: int
    name: str
    dtype: str

    def to_json(self) -> str:
        """The attribute's value."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Feed:
        """The inverse of `to_json`."""
        return Feed(**json.loads(text))


def watches_of(
    plan: QuantPlan,
    record: Path,
    *,
    model: str,
    task: str = "",
    batch_num: int,
    inputs: Sequence[tuple[str, int]],
    weight_max: Mapping[str, tuple[float, ...]] | None = None,
    learning: Container[str] = (),
    keeps_samples: bool = False,
) -> tuple[Watch, ...]:
    """One for each observed tensor of `plan`. weight_max: of its layers, where these are to be balanced. learning: the layers
    whose rounding is to be learned."""
    tensors = plan.tensors
    readers: dict[tuple[str, int | None], list[Reader]] = {tensor.key: [] for tensor in tensors}
    for layer in plan.layers:
        for position, (index, tensor) in enumerate(zip(layer.data, layer.inputs, strict=True)):
            reader = _reader(layer.name, index, position, tensor)
            if weight_max is not None:
                reader = replace(reader, strength=layer.balance, weight_max=weight_max[layer.name])
            if layer.name in learning:
                reader = replace(reader, rounder=layer.weight_algorithm, rounder_options=layer.weight_options)
            readers[tensor.key].append(reader)
    for read in plan.reads:
        readers[read.tensor.key].append(_reader(read.node, read.index, 0, read.tensor, alone=True))
    return tuple(
        Watch(
            number,
            len(tensors),
            Tap(tensor.name, tensor.channel_axis, tensor.channels),
            tuple(readers[tensor.key]),
            str(record.resolve()),
            model,
            batch_num,
            tuple(inputs),
            keeps_samples,
            task,
        )
        for number, tensor in enumerate(tensors)
    )


def _reader(node: str, index: int, position: int, tensor: TensorPlan, *, alone: bool = False) -> Reader:
    spec = tensor.spec
    return Reader(node, index, position, spec.bits, spec.symmetric, tensor.algorithm, tensor.options, alone)


def _frozen_values(told: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _frozen(value) for key, value in told.items()}


def _frozen(value: object) -> object:
    """JSON's lists are tuples here, at every depth."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def rounders_in(watches: Sequence[Watch]) -> dict[str, Rounder]:
    """Layer → the weight method that learns its rounding."""
    learning = (reader for watch in watches for reader in watch.readers if reader.rounder)
    made = {reader.layer: make_weight_quantizer(reader.rounder, dict(reader.rounder_options)) for reader in learning}
    return {layer: method for layer, method in made.items() if isinstance(method, Rounder)}
