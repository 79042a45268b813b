"""What an observer is, the table of all observers, and how one is made from its name and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from amct_lite.errors import ConfigError
from amct_lite.numerics.sketch import Sketch
from amct_lite.registry import Registry
from amct_lite.types import QParams, QuantSpec


class Observer(Protocol):
    """A rule that decides a range. A frozen dataclass: its fields are its options, checked when it is made."""

    def qparams(self, sketch: Sketch, spec: QuantSpec) -> QParams:
        """Per-tensor scale and zero point for the tensor that `sketch` describes; the same sketch gives the same answer.

        Raises CalibrationError if nothing was observed.
        """
        ...


OBSERVERS: Registry[Callable[..., Observer]] = Registry("range method", "amct_lite.observers")


def make_observer(name: str, options: Mapping[str, Any]) -> Observer:
    """See `Registry.make`."""
    return OBSERVERS.make(name, options)


def require_number(method: str, option: str, value: object, *, above: float, upto: float) -> float:
    """`value` as a float in (above, upto]; raises ConfigError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value <= upto:
        raise ConfigError(f"{method}: {option} = {value!r} must be a number in ({above:g}, {upto:g}].")
    return float(value)
