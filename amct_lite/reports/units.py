"""How quantities are written, wherever they are shown."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes as kB, MB or GB."""
    if count >= 1_000_000_000:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
