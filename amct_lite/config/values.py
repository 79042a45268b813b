"""What each value of a configuration must be. A check takes what the user wrote and gives the value to keep.

Each raises `BadValueError` with the end of a sentence that begins with the value: "must be true or false".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import inf

from amct_lite.errors import ConfigError
from amct_lite.registry import did_you_mean
from amct_lite.types import INPUT_INDEX

TARGETS = ("ascend", "ort", "generic")
PER_CHANNEL = ("auto", "all", "none")
BIAS_CORRECTIONS = ("none", "analytic", "full", "auto")
ACTIVATION_BITS = (4, 8, 16)
WEIGHT_BITS = (4, 6, 7, 8)

Check = Callable[[object], object]


class BadValueError(ValueError):
    """A value that cannot be; the message says what it must be."""


def one_of(choices: Sequence[str | int]) -> Check:
    """Exactly one of `choices`; true is not 1."""

    def check(value: object) -> object:
        if any(value == choice and type(value) is type(choice) for choice in choices):
            return value
        hint = did_you_mean(value, [c for c in choices if isinstance(c, str)]) if isinstance(value, str) else ""
        raise BadValueError(f"must be {_alternatives(choices)}{hint}")

    return check


def boolean(value: object) -> object:
    if not isinstance(value, bool):
        raise BadValueError("must be true or false, without quotes")
    return value


def name(value: object) -> object:
    if not isinstance(value, str) or not value:
        raise BadValueError("must be a name")
    return value


def names(value: object) -> object:
    """A list of names, as a tuple; said twice is as good as once."""
    if isinstance(value, str):
        raise BadValueError(f'must be a list: ["{value}"]')
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise BadValueError("must be a list of node names, patterns or operator types")
    return tuple(dict.fromkeys(value))


TENSOR_PATTERN = 'must name a node and an input: "add1:0", "block*/add:1", or "Add:*" for all inputs of an operator type'
"""The end of a sentence about a key that is no tensor pattern."""


def is_tensor_pattern(key: str) -> bool:
    """Whether `key` is `<node name, pattern or operator type>:<input index or *>`."""
    node, _, index = key.rpartition(":")
    return bool(node) and re.fullmatch(rf"\*|{INPUT_INDEX}", index) is not None


def batches(value: object) -> object:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise BadValueError("must be a whole number of batches, 1 or more")
    return value


def strength(value: object) -> object:
    """A migration strength within AMCT's bounds; false and 0 are none."""
    if value is False or (type(value) in {int, float} and value == 0):
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.2 <= value <= 0.8:
        raise BadValueError("must be a number from 0.2 to 0.8, or false")
    return float(value)


def decibels(value: object) -> object:
    """A signal-to-noise ratio; false and 0 are none."""
    if value is False:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        raise BadValueError("must be a number of decibels, such as 20, or false")
    return float(value)


def options(value: object) -> object:
    """Options of an algorithm, by name; lists become tuples. What an algorithm offers, it checks itself."""
    if not isinstance(value, Mapping):
        raise BadValueError("must be a table of option names and values")
    return {str(key): tuple(item) if isinstance(item, list) else item for key, item in value.items()}


_SIZES = "above 0 (behind the first also 0, of what may be empty)"


def input_shapes(value: object) -> object:
    """Input name → dimensions, from a table of lists or from the command line's text."""
    if isinstance(value, str):
        try:
            return parse_input_shapes(value)
        except ConfigError as error:
            raise BadValueError(f"cannot be read: {error}") from error
    if not isinstance(value, Mapping):
        raise BadValueError('must be a table such as {"x": [1, 3, 224, 224]}, or the text "x:1,3,224,224"')
    for input_name, dims in value.items():
        if not isinstance(dims, list | tuple) or not all(type(d) is int and d >= _least(axis) for axis, d in enumerate(dims)):
            raise BadValueError(f"must give {str(input_name)!r} a list of dimensions {_SIZES}, such as [1, 3, 224, 224]")
    return {str(input_name): tuple(dims) for input_name, dims in value.items()}


def _least(axis: int) -> int:
    """The smallest size of an axis: what a decoder has seen before its first step is empty, a batch is not."""
    return 1 if axis == 0 else 0


def parse_input_shapes(text: str) -> dict[str, tuple[int, ...]]:
    """`in1:16,3,224,224;in2:16,10` as a mapping; the last `:` of a part ends the input's name.

    Raises ConfigError that shows the part that cannot be read.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        input_name, dims = (text.strip() for text in part.rpartition(":")[::2])
        sizes = [size.strip() for size in dims.split(",")]
        whole = all(re.fullmatch("0*[0-9]{1,18}", size) for size in sizes)
        if not input_name or not whole or any(int(size) < _least(axis) for axis, size in enumerate(sizes)):
            raise ConfigError(
                f"input shape {part!r} is not NAME:DIM,DIM,… with dimensions {_SIZES}, such as x:1,3,224,224. "
                f"Several inputs are separated by ';'."
            )
        if input_name in shapes:
            raise ConfigError(f"input shape {part!r}: {input_name!r} was given a shape before. Keep one.")
        shapes[input_name] = tuple(int(size) for size in sizes)
    if not shapes:
        raise ConfigError("the input shapes are empty: write NAME:DIM,DIM,…, such as x:1,3,224,224.")
    return shapes


def _alternatives(choices: Sequence[str | int]) -> str:
    words = [str(choice) for choice in choices]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
