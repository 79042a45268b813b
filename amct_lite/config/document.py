"""What a configuration file holds, before anyone asks whether it makes sense."""

from __future__ import annotations

from dataclasses import dataclass, field

from amct_lite.config.mapping import Path


@dataclass
class Document:
    """data: the tables of the file. lines: line of each key path. problems: what is wrong and could be read past."""

    data: object
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
