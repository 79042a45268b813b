"""All that is wrong with one file, gathered before giving up: each with its line, sorted, in one ConfigError."""

from __future__ import annotations

from dataclasses import dataclass, field

from amct_lite.errors import ConfigError


@dataclass
class Problems:
    """source: the file, for messages."""

    source: str
    _found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int | None, sentence: str) -> None:
        """sentence: without the place in front of it and the full stop behind it."""
        place = self.source if line is None else f"{self.source}:{line}"
        self._found.append((line or 0, f"{place}: {sentence}."))

    def __len__(self) -> int:
        return len(self._found)

    def raise_if_any(self) -> None:
        """Raises ConfigError."""
        sentences = list(dict.fromkeys(sentence for _, sentence in sorted(self._found, key=lambda item: item[0])))
        if len(sentences) == 1:
            raise ConfigError(sentences[0])
        if sentences:
            raise ConfigError("\n  ".join([f"{self.source} has {len(sentences)} problems:", *sentences]))
