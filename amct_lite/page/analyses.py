"""Sections whose numbers other commands measure: each from its JSON file beside the run, or with the command that writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote

from amct_lite.errors import ConfigError
from amct_lite.files import output_path
from amct_lite.page import sections
from amct_lite.page.freshness import Present, subject_in
from amct_lite.page.sections import Content
from amct_lite.page.values import Analysis


@dataclass(frozen=True)
class Place:
    """What the commands name. prefix: of the run; model: the path of its float model; target: what runs the result; record:
    its file. shapes: of the deploy model's inputs, for commands that need them where the model leaves them open."""

    prefix: str | Path
    model: str
    target: str
    record: str | Path
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def fill(self, command: str) -> str:
        exported = output_path(self.prefix, "ort_model.onnx" if self.target == "ort" else "fake_quant_model.onnx")
        names = {"exported": exported, "deploy": output_path(self.prefix, "deploy_model.onnx"), "prefix": self.prefix}
        names |= {"model": self.model, "record": self.record, "target": self.target}
        shapes = ";".join(f"{name}:{','.join(map(str, dims))}" for name, dims in self.shapes.items())
        words = {key: quote(str(name)) for key, name in names.items()}
        return command.format(**words, shapes=f" --input-shape {quote(shapes)}" if shapes else "")


@dataclass(frozen=True)
class _Kind:
    """suffix: the file is `<prefix>_<suffix>`. about: what the section shows. command: what writes the file, with the fields of
    a `Place` to fill in. read: its content → what is shown, the other fields as they are. target: the only one it is for."""

    suffix: str
    title: str
    about: str
    command: str
    read: Callable[[Analysis, Content], Analysis]
    target: str = ""


def analyses_beside(place: Place, present: Present) -> tuple[Analysis, ...]:
    """One for each kind, in the order of the page, read where its file lies; one that is not of `present` says so.

    Raises ConfigError for a file that is there and does not hold what its name says.
    """
    paths = {kind: output_path(place.prefix, kind.suffix) for kind in _KINDS}
    texts = {kind.suffix: _text(path) for kind, path in paths.items() if path.is_file()}
    return analyses_of(texts, place, present)


def analyses_of(texts: Mapping[str, str], place: Place, present: Present) -> tuple[Analysis, ...]:
    """The same from the contents of the files, by what follows the prefix in their names."""
    wanted = (kind for kind in _KINDS if kind.suffix in texts or kind.target in {"", place.target})
    return tuple(_analysis(kind, texts.get(kind.suffix), place, present) for kind in wanted)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}). Write it anew, or move it away.") from error


def _analysis(kind: _Kind, text: str | None, place: Place, present: Present) -> Analysis:
    path = output_path(place.prefix, kind.suffix)
    empty = Analysis(kind.title, kind.about, place.fill(kind.command))
    if text is None:
        return empty
    try:
        content = json.loads(text)
        return replace(kind.read(empty, content), source=path.name, stale=present.objection(subject_in(content)))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ConfigError(
            f"{path} does not hold what its name says ({type(error).__name__}: {error}). Write it anew with "
            f"`{empty.command}`, or move it away."
        ) from error


_KINDS = (
    _Kind(
        "compare.json",
        "Error flow",
        "How the error grows along the graph: of all layers before a tensor, and of the step that computes it alone.",
        "amct-lite compare {model} {exported} --data … -o {prefix}",
        sections.compare,
    ),
    _Kind(
        "sensitivity.json",
        "Sensitivity",
        "What each layer, quantized alone, does to the outputs of the network.",
        "amct-lite sensitivity {model} --record {record} --data … -o {prefix}",
        sections.sensitivity,
    ),
    _Kind(
        "search.json",
        "Mixed precision",
        "What each budget buys: the cheapest widths for every loss, and models of one width for comparison.",
        "amct-lite search {model} --data … --budget bitops=0.25 --target {target} -o {prefix}",
        sections.search,
    ),
    _Kind(
        "bitops.json",
        "Cost",
        "What each layer costs: multiply-accumulates, bit operations (FLOPs × bits of activation × bits of weight), bytes.",
        "amct-lite bitops {model} --record {record}{shapes} -o {prefix}",
        sections.bitops,
    ),
    _Kind(
        "explain.json",
        "Speed",
        "What ONNX Runtime executes of the quantized model: which layers became integer kernels, why the others did not, and "
        "where the time goes. Times are of the machine and the moment that measured them.",
        "amct-lite explain {exported} --float {model}{shapes} -o {prefix}",
        sections.explain,
    ),
    _Kind(
        "explain_deploy.json",
        "Fusion on the NPU",
        "Where AscendDequant meets the next AscendQuant, at most a Relu between them, one requantization is enough; elsewhere "
        "floats are written and read again.",
        "amct-lite explain {deploy} -o {prefix}",
        sections.handovers,
        "ascend",
    ),
    _Kind(
        "tuning.json",
        "Tuning",
        "Layers that were tried in float: the time of the whole model with them there, over that of the model before.",
        "amct-lite calibrate {model} --data … --target ort --tune -o {prefix}",
        sections.tuning,
        "ort",
    ),
    _Kind(
        "autocalibration.json",
        "Auto calibration",
        "Which layers went back to float to keep the user's metric: the ranking that was searched along, and each trial.",
        "amct-lite autocalibrate {model} --data … --evaluator … --max-loss … --target {target} -o {prefix}",
        sections.autocalibration,
    ),
)
