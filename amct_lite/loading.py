"""From a file to a prepared model: loaded, checked, raised to the opset the exporters need, folded and named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from amct_lite import ir, passes, qat
from amct_lite.errors import UnsupportedModelError
from amct_lite.passes.dequantize_first import dequantize_first
from amct_lite.passes.gone import operators, renamed
from amct_lite.types import FUSE_ALL, Fusion, Gone, PassReport, QuantRecord

EXPORT_OPSET = 13
"""The first opset with per-channel QuantizeLinear/DequantizeLinear."""

_QDQ_OPS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_QUANTIZED_OPS = frozenset(
    {"DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
    | {"DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm"}
    | {"AscendQuant", "AscendDequant", "AscendAntiQuant"}
)
_REFUSED = {"": _QUANTIZED_OPS, "com.microsoft": _QUANTIZED_OPS | _QDQ_OPS}
"""By domain: of the standard, and of ONNX Runtime, which has a Q and DQ of its own for 16 bits below opset 21."""
_BLOCKED_DOMAIN = "com.microsoft.nchwc"
"""Of the kernels that ONNX Runtime chooses for the processor at hand."""
_CALIBRATION_DOMAIN = "amct.calibration"
"""Of the bypass nodes that watch the runs of a calibration model."""
_STATED = "amct_lite.float_types"
Qdq = Literal["refuse", "take", "strip"]
"""What becomes of QuantizeLinear and DequantizeLinear: the model is refused, its scales are kept, or dropped."""


@dataclass(frozen=True)
class Unbalanced:
    """What a model was, and what was to be known of it, before its layers were balanced."""

    prepared: ir.Model
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SourceModel:
    """A model ready to be planned. original: as loaded (opset raised, nothing folded); notes: what the user should know.
    file_opset: of the file, before it was raised. unbalanced: what it was before its layers were balanced (None: they were
    not). trained: what a QDQ model said whose scales are to be taken. stated_types: `float_types` as a model says
    them that was prepared before (None: it says nothing). gone: what the file has and `prepared` has not."""

    original: ir.Model
    prepared: ir.Model
    reports: tuple[PassReport, ...]
    notes: tuple[str, ...]
    path: Path | None
    file_opset: int
    unbalanced: Unbalanced | None = None
    trained: qat.Trained | None = None
    stated_types: Mapping[str, ir.DataType] | None = None
    gone: tuple[Gone, ...] = ()

    @property
    def unfused(self) -> tuple[str, ...]:
        """The layers that were kept apart from a normalization on purpose."""
        return tuple(dict.fromkeys(layer for report in self.reports for layer in report.unfused))

    @property
    def taken_apart(self) -> bool:
        """Whether operators of the model became several for the sake of integer kernels."""
        return any(report.changed for report in self.reports if report.name == passes.take_apart.NAME)

    @property
    def name(self) -> str:
        return self.path.name if self.path else "model"

    def file(self, folder: Path) -> Path:
        """The user's own; of a model that came from memory, one that is written into `folder`."""
        if self.path is not None:
            return self.path
        ir.save(self.original, folder / "float_model.onnx")
        return folder / "float_model.onnx"

    @cached_property
    def float_types(self) -> Mapping[str, ir.DataType]:
        """Value of the original → float16 or float32; empty where there is no float16."""
        return _float_types(self.original) if self.stated_types is None else self.stated_types

    @property
    def half_nodes(self) -> frozenset[str]:
        """Nodes of the prepared model whose result is float16 in the original, or stands for one that is no more there."""
        types = self.float_types
        nodes = self.prepared.graph if types else ()
        return frozenset(str(n.name) for n in nodes if all(types.get(str(o.name)) != ir.DataType.FLOAT for o in n.outputs))


def _float_types(model: ir.Model) -> Mapping[str, ir.DataType]:
    if not _mentions_half(model.graph):
        return {}
    typed = ir.clone(model)
    ir.infer_shapes(typed)
    kinds = {ir.DataType.FLOAT16, ir.DataType.FLOAT}
    values = (*typed.graph.inputs, *(output for node in typed.graph for output in node.outputs))
    return {str(value.name): value.dtype for value in values if value.dtype in kinds}


def state_float_types(model: ir.Model, source: SourceModel) -> None:
    """Let `model`, made of the prepared `source`, say in its metadata what was float16 there, for whoever loads it."""
    if source.float_types:
        model.metadata_props[_STATED] = json.dumps({name: int(dtype) for name, dtype in source.float_types.items()})


def _take_stated_types(model: ir.Model) -> dict[str, ir.DataType] | None:
    """The inverse, which takes it out of the model; None for what nobody said, or not so."""
    try:
        stated = json.loads(model.metadata_props.pop(_STATED, "null"))
        return None if stated is None else {str(name): ir.DataType(dtype) for name, dtype in stated.items()}
    except (ValueError, AttributeError, TypeError):
        return None


def _mentions_half(graph: ir.Graph) -> bool:
    values = (*graph.inputs, *graph.initializers.values(), *graph.outputs, *(o for node in graph for o in node.outputs))
    return any(value.dtype == ir.DataType.FLOAT16 for value in values)


def load_prepared(model: str | Path | ir.Model, fusion: Fusion = FUSE_ALL, qdq: Qdq = "refuse") -> SourceModel:
    """Load (or take) a model and prepare it; the file or object given is not modified. What is prepared is a float model.

    Raises UnsupportedModelError for a model that cannot be taken, with the reason and the remedy; ConfigError for a name in
    `fusion` that the model does not have.
    """
    loaded = ir.LoadedModel(ir.clone(model), None, ()) if isinstance(model, ir.Model) else ir.load(model)
    _refuse_blocked(loaded)
    _refuse_quantized(loaded, qdq)
    stated = _take_stated_types(loaded.model)
    raised, note = ir.raise_opset(loaded.model, EXPORT_OPSET)
    notes = (*loaded.notes, *((note,) if note else ()))
    if qat.is_qdq(raised):
        source = _without_qdq(raised, fusion, keep=qdq == "take")
        stated = stated or dict(_float_types(raised))
    else:
        prepared = passes.prepare(raised, fusion)
        source = SourceModel(raised, prepared.model, prepared.reports, (), None, 0, gone=prepared.gone)
    notes = (*notes, *source.notes, *(n for report in source.reports for n in report.notes))
    opset = ir.opset(loaded.model)
    gone = (*source.gone, *renamed(operators(loaded.model), operators(raised)))
    return replace(source, notes=notes, path=loaded.path, file_opset=opset, stated_types=stated, gone=gone)


def _without_qdq(model: ir.Model, fusion: Fusion, *, keep: bool) -> SourceModel:
    """`model`, whose scales are kept or not, as a float model, all in float32. What is kept is prepared with its Q and DQ in
    place, so that nothing is folded across them."""
    joined = ir.clone(model)
    passes.lift_constants.run(joined)
    passes.widen_float16.run(joined)
    passes.fold_constants.run(joined)
    dequantize_first(joined)
    constants = qat.dequantize_constants(joined)
    notes = qat.join_pairs(joined)
    if not keep:
        count = qat.restore_activations(joined)
        qat.strip(joined, outputs=True)
        prepared = passes.prepare(joined, fusion)
        one = "1 activation that the range of a QuantizeLinear stood for is a Clip now"
        more = f"{count} activations that the ranges of QuantizeLinear stood for are Clip now"
        notes += ((one if count == 1 else more),) if count else ()
        return SourceModel(joined, prepared.model, prepared.reports, notes, None, 0, gone=prepared.gone)
    notes += qat.sign_outputs(joined)
    prepared = passes.prepare(joined, fusion)
    trained = qat.trained_of(joined, prepared.model, constants)
    qat.strip(prepared.model, outputs=False)
    passes.merge_matmul_bias.run(prepared.model)  # a Q stood between the product and who asks it for its size
    return SourceModel(joined, prepared.model, prepared.reports, notes, None, 0, trained=trained, gone=prepared.gone)


def fusion_of(record: QuantRecord, fusion: Fusion, unfused: Iterable[str] = (), *, taken_apart: bool = False) -> Fusion:
    """How a model was prepared that `record` holds the scales of: its layers with skip_fusion stay apart, and operators are
    taken apart if it names their parts.

    fusion: what else is wanted. unfused, taken_apart: of the calibration that the record came from; it decides for all other
    layers, and for a record that names no parts, which may stay float.
    """
    named = {layer.key for layer in record.layers if layer.skip_fusion}
    parts = tuple(f"{part}:" for part in (passes.take_apart.PART, passes.take_apart.LIMIT))
    taken_apart = taken_apart or any(part in layer.key for layer in record.layers for part in parts)
    kept = fusion.apart | named | (set(unfused) - record.by_key.keys())
    return replace(fusion, apart=kept, take_apart=taken_apart)


def _refuse_blocked(loaded: ir.LoadedModel) -> None:
    found = [node for node in loaded.model.graph.all_nodes() if node.domain == _BLOCKED_DOMAIN]
    if found:
        raise UnsupportedModelError(
            f"{loaded.path or 'the model'} was written by ONNX Runtime for one kind of processor: {len(found)} nodes such as "
            f"{found[0].name} ({_BLOCKED_DOMAIN}.{found[0].op_type}) hold their weights in blocks. Give the model it was made "
            f"from, or let ONNX Runtime write it with GraphOptimizationLevel.ORT_ENABLE_EXTENDED."
        )


def _refuse_quantized(loaded: ir.LoadedModel, qdq: Qdq) -> None:
    main = set(loaded.model.graph)
    nodes = list(loaded.model.graph.all_nodes())
    nodes += [node for function in loaded.model.functions.values() for node in function.all_nodes()]
    pairs = [node for node in nodes if node.op_type in _QDQ_OPS and not node.domain]
    found = [node for node in nodes if node.op_type in _REFUSED.get(node.domain, ())]
    found = found or [node for node in pairs if node not in main]
    what = loaded.path or "the model"
    if any(node.domain == _CALIBRATION_DOMAIN for node in main):
        raise UnsupportedModelError(
            f"{what} is a calibration model, written by quantize_model or quantize_preprocess. Give the float model it was "
            f"made from."
        )
    if found:
        raise UnsupportedModelError(
            f"{what} is already quantized: it holds {len(found)} nodes such as {found[0].name} "
            f"({found[0].op_type}). Give the float model it was made from."
        )
    if pairs and qdq == "refuse":
        raise UnsupportedModelError(
            f"{what} is already quantized: it holds {len(pairs)} QuantizeLinear and DequantizeLinear nodes. "
            f"`amct-lite convert` (convert_qat_model) keeps its scales; `amct-lite calibrate --strip-qdq` drops them and "
            f"calibrates anew. Or give the float model that it was made from."
        )
