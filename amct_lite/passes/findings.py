"""What a pass writes down while it works: how often it changed the graph, and where it refused and why."""

from __future__ import annotations

from dataclasses import dataclass, field

from amct_lite import ir
from amct_lite.types import PassReport, Skip


@dataclass
class Findings:
    """Filled in by one run of one pass; `report()` freezes it."""

    name: str
    changed: int = 0
    skips: list[Skip] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unfused: list[str] = field(default_factory=list)

    def refuse(self, node: ir.Node, reason: str) -> None:
        """Record that `node` was left as it is."""
        self.skips.append(Skip(node.name or "", node.op_type, reason))

    def keep_apart(self, layer: ir.Node, node: ir.Node) -> str:
        """Record that `node` is not folded into `layer` because it is not wanted; returns the reason to refuse with."""
        self.unfused.append(layer.name or "")
        return f"{layer.name!r} and {node.name!r} are to stay apart (fusion is off for them)"

    def report(self) -> PassReport:
        return PassReport(self.name, self.changed, tuple(self.skips), tuple(self.notes), tuple(dict.fromkeys(self.unfused)))
