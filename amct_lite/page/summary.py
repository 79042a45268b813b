"""The few figures that a page begins with, and texts of it."""

from __future__ import annotations

from dataclasses import dataclass

from amct_lite.page.values import LayerView, Page
from amct_lite.reports.units import size
from amct_lite.reports.wording import UNJUDGED, cell_of_decibels, decibels


@dataclass(frozen=True)
class Fact:
    """A figure at the top: what it is of, the figure, and what explains it."""

    name: str
    value: str
    detail: str


def figures_of(page: Page) -> tuple[Fact, ...]:
    """The summary in the order in which it is read."""
    report = page.report
    tensors = sum(layer.row.tensor for layer in page.layers)
    layers = len(page.layers) - tensors
    left = len(report.skips)
    extra = f", {tensors} single {'tensor' if tensors == 1 else 'tensors'}" if tensors else ""
    facts = [Fact("Quantized", f"{layers} of {layers + left}", f"layers{extra}; {left} left in float")]
    if report.outputs:
        worst = min(report.outputs, key=lambda error: error.sqnr_db)
        which = "" if len(report.outputs) == 1 else f"worst of {len(report.outputs)} outputs: {worst.name}; "
        facts.append(Fact("Output error", decibels(worst.sqnr_db), f"{which}signal to noise, cosine {worst.cosine:.5f}"))
    exported = next((name for name in reversed(report.sizes) if name != "float"), None)
    if exported and "float" in report.sizes:
        ratio = report.sizes["float"] / max(1, report.sizes[exported])
        detail = f"weights: {size(report.sizes['float'])} → {size(report.sizes[exported])}"
        facts.append(Fact("Smaller", f"{ratio:.1f} ×", detail))
    measured = [layer for layer in page.layers if layer.row.sqnr_db is not None]
    if measured:
        weakest = min(measured, key=_sqnr)
        facts.append(Fact("Weakest layer", decibels(_sqnr(weakest)), weakest.row.name))
    facts.append(_executed(page))
    return tuple(facts)


def _executed(page: Page) -> Fact:
    """What is known of the target's own model."""
    equivalence, kernels = page.report.equivalence, page.report.kernels
    if kernels is not None:
        noise = "" if kernels.judged else f", on random numbers ({UNJUDGED})"
        executed = "layers run on integer kernels" if kernels.layers else "to run on integer kernels"
        detail = f"{executed}; {decibels(kernels.sqnr_db)} against the fake-quant model{noise}"
        return Fact("ONNX Runtime", f"{kernels.integer} of {kernels.layers}" if kernels.layers else "no layer", detail)
    if equivalence is None:
        wanted = page.report.deploy_problem is not None
        return Fact("Deploy model", "not made", "the warnings say why" if wanted else "not asked for")
    ties = f"{100 * equivalence.code_mismatch:.2g}\u00a0% of codes on a rounding tie"
    batches = f"{equivalence.samples} {'batch' if equivalence.samples == 1 else 'batches'}"
    return Fact("Deploy model", "verified", f"run against the fake-quant model, {batches}; {ties}")


def _sqnr(layer: LayerView) -> float:
    return layer.row.sqnr_db if layer.row.sqnr_db is not None else float("inf")


def remarks_of(layer: LayerView) -> tuple[str, ...]:
    """Notes of the run, and what its channels show."""
    found = list(layer.row.notes)
    if layer.dead:
        found.append(f"{layer.dead} dead output {'channel' if layer.dead == 1 else 'channels'}")
    silent = sum(tensor.silent for tensor in layer.tensors)
    if silent:
        found.append(f"{silent} input {'channel' if silent == 1 else 'channels'} always 0")
    return tuple(found)


def number(value: float | None, form: str = ".4g") -> str:
    """For a cell; a dash for what is not known."""
    return "—" if value is None else format(value, form).replace("-", "−")


def sqnr(value: float | None) -> str:
    """For a cell of a column of decibels."""
    return "—" if value is None else cell_of_decibels(value).replace("-", "−")


def percent(share: float | None) -> str:
    """A share as per cent, two digits of it."""
    if share is None:
        return "—"
    return "0 %" if share == 0 else f"{100 * share:.2g} %" if share >= 1e-6 else "< 0.0001 %"
