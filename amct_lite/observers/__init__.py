"""From the statistics of an activation to its scale and zero point: one method a file, found by name."""

from __future__ import annotations

from amct_lite.observers.base import OBSERVERS, Observer, make_observer

__all__ = ["OBSERVERS", "Observer", "make_observer"]
