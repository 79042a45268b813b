"""Runs a model written for ONNX Runtime's integer kernels: which of its layers became such kernels, and whether it still
computes what the fake-quant model computes.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, sqrt

import numpy as np

from amct_lite import ir
from amct_lite.errors import VerificationError
from amct_lite.numerics.metrics import sqnr_db
from amct_lite.runtime import RuntimeOptions, Session, open_executed, open_session
from amct_lite.types import AnyArray, Feeds, Skip
from amct_lite.validate.blockers import blockers
from amct_lite.validate.executed import executed

FLOAT_KERNELS = frozenset({"Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "LSTM"})
SELF_ROUNDING = frozenset({"DynamicQuantizeLSTM"})
"""They round more than the fake-quant model can show: the hidden state, anew at each step."""
INTEGER_KERNELS = frozenset(
    {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat", "MatMulInteger", "ConvInteger", "QLinearAveragePool"}
    | {"DynamicQuantizeMatMul"}
    | SELF_ROUNDING
)
LOST_DB = 3.0
"""How much the integer kernels may lose against the fake-quant model, both measured against the float model. They round ties
differently, which costs nothing on average; kernels that saturate or read a wrong scale lose far more."""
SCATTER_DB = 26.0
"""Over √n where an output has few values, n in all: chance makes the squares of as many errors differ so much in their sum, in
one case of 700 (3 standard deviations, of 10 / ln 10 · √(4 / n)). One code on a tie shows in a network with two outputs."""
EXACT_DB = 100.0
"""So far above the noise there is no rounding to integers left to see, only that of floats (2^-24 is 144 dB)."""
SELF_LOST_DB, SELF_EXACT_DB = 6.0, 30.0
"""As LOST_DB and EXACT_DB, where kernels round for themselves: a hidden state alone leaves 38 to 62 dB, unless a network is so
unstable that no step forgets the error of the one before."""
SHAKES, SHAKEN_BY = 4, 1e-6
"""Where the kernels seem to lose, the fake-quant model runs again, so often, on data each number of which is so much different:
in deep networks a code that turns on a tie turns a hundred behind it, and a letter that a recognizer of text is not sure of
changes the result by 9 dB (PP-OCRv6: 17.5 with the integer kernels, 26.8 with fake-quant, and 18.1 to 24.2 shaken)."""


@dataclass(frozen=True)
class Kernels:
    """What ONNX Runtime makes of a model. integer: how many of the `layers` are integer kernels; in_float: the others and why.
    quantize, dequantize: how many nodes of either kind are left. samples, sqnr_db: against the fake-quant model's outputs.
    judged: whether that had to be as near to the float model as the fake-quant model is; on random numbers nothing is."""

    layers: int
    integer: int
    in_float: tuple[Skip, ...]
    quantize: int
    dequantize: int
    samples: int
    sqnr_db: float
    judged: bool = True


def verify_kernels(
    model: ir.Model,
    fake_quant: ir.Model,
    layers: Sequence[str],
    feeds: Sequence[Feeds],
    exact: Sequence[Sequence[AnyArray]],
    options: RuntimeOptions,
) -> Kernels:
    """Open `model` with all optimizations and run it beside `fake_quant`.

    layers: names of the quantized layers. exact: the float model's outputs for each of `feeds`, empty where they are not known.
    Raises VerificationError when its outputs are further from the float model than quantization explains.
    """
    session, graph = open_executed(model, options)
    kernels = {str(node.name): node for node in graph.graph}
    ops = Counter(node.op_type for node in kernels.values())
    in_float = _in_float(model, layers, kernels)
    ours = _run(session, feeds)
    del session  # not in memory beside the next one
    reference = open_session(fake_quant, options)
    theirs = _run(reference, feeds)
    names = [str(value.name) for value in fake_quant.graph.outputs]
    _require_equal_kinds(fake_quant.graph.outputs, ours[0], theirs[0])
    reached, wanted = _outputs(ours), _outputs(theirs)
    if exact:
        alone = [shlex.quote(str(node.name)) for node in model.graph if node.op_type in SELF_ROUNDING]
        found = _qualities(names, _outputs(exact), reached, wanted)
        _require_equal_quality(found, alone, lambda: [_outputs(_run(reference, shaken)) for shaken in _shaken(feeds)])
    return Kernels(
        len(layers),
        len(layers) - len(in_float),
        in_float,
        ops["QuantizeLinear"],
        ops["DequantizeLinear"],
        len(feeds),
        _worst(wanted, reached),
        judged=bool(exact),
    )


def _in_float(model: ir.Model, layers: Sequence[str], kernels: Mapping[str, ir.Node]) -> tuple[Skip, ...]:
    """Those of `layers` that none of the executed `kernels` computes on integers, in their order."""
    stands_for = executed([node for node in model.graph if node.name in layers], kernels)
    executed_as = {name: kernels.get(stands_for.get(name, "")) for name in layers}
    left = {name: node for name, node in executed_as.items() if node is None or node.op_type not in INTEGER_KERNELS}
    if not left:
        return ()
    typed = ir.clone(model)  # the reasons are read off the types of the codes
    ir.infer_shapes(typed)
    nodes = {str(node.name): node for node in typed.graph if node.name in left}
    return tuple(
        Skip(name, nodes[name].op_type, "; ".join(blockers(nodes[name], executed_as[name])))
        if name in nodes
        else Skip(name, "?", "no node of the model has its name any more")
        for name in left
    )


def _run(session: Session, feeds: Sequence[Feeds]) -> list[list[AnyArray]]:
    return [session.run_apart({name: sample[name] for name in session.input_names}) for sample in feeds]


def _outputs(runs: Sequence[Sequence[AnyArray]]) -> list[AnyArray]:
    """Of each output its values in all of `runs`, one behind the other."""
    return [np.concatenate([array.reshape(-1) for array in arrays]) for arrays in zip(*runs, strict=True)]


def _measurable(exact: AnyArray, other: AnyArray) -> bool:
    """Whether both are numbers, and as many: how many there are may depend on the data."""
    return exact.dtype.kind == other.dtype.kind == "f" and exact.size == other.size


def _worst(exact: Sequence[AnyArray], other: Sequence[AnyArray]) -> float:
    """The SQNR, in dB, of the output that suffers most."""
    pairs = zip(exact, other, strict=True)
    return min((sqnr_db(left, right) for left, right in pairs if _measurable(left, right)), default=np.inf)


def _require_equal_kinds(outputs: Sequence[ir.Value], ours: Sequence[AnyArray], theirs: Sequence[AnyArray]) -> None:
    """Types, ranks, and the sizes that the model tells; others may depend on the data."""
    for value, left, right in zip(outputs, ours, theirs, strict=True):
        told = [axis for axis, size in enumerate(ir.dims_of(value) or ()) if isinstance(size, int)]
        alike = (left.ndim, left.dtype) == (right.ndim, right.dtype)
        if not alike or any(left.shape[axis] != right.shape[axis] for axis in told):
            raise VerificationError(
                f"output {str(value.name)!r} of the model for ONNX Runtime is {left.dtype} of shape {left.shape}, that of the "
                f"fake-quant model {right.dtype} of shape {right.shape}. The exported models do not agree; please report this "
                f"model."
            )


@dataclass(frozen=True)
class _Quality:
    """Of one output: what the float model says, and how near the kernels and the fake-quant model come to it, in dB."""

    index: int
    name: str
    exact: AnyArray
    reached: float
    wanted: float


def _qualities(
    names: Sequence[str], exact: Sequence[AnyArray], ours: Sequence[AnyArray], theirs: Sequence[AnyArray]
) -> list[_Quality]:
    return [
        _Quality(index, name, right, sqnr_db(right, left), sqnr_db(right, model))
        for index, (name, right, left, model) in enumerate(zip(names, exact, ours, theirs, strict=True))
        if _measurable(right, left) and _measurable(model, left)
    ]


def _require_equal_quality(
    outputs: Sequence[_Quality], alone: Sequence[str], shaken: Callable[[], list[list[AnyArray]]]
) -> None:
    """alone: the kernels that round for themselves. shaken: runs the fake-quant model on data that are a little different, and
    gives its outputs for each."""
    lost, enough = (SELF_LOST_DB, SELF_EXACT_DB) if alone else (LOST_DB, EXACT_DB)

    def suffices(output: _Quality, wanted: float) -> bool:
        may = max(lost, SCATTER_DB / sqrt(max(output.exact.size, 1)))
        return output.reached >= min(wanted - may, enough)

    worse = [output for output in outputs if not suffices(output, output.wanted)]
    runs = shaken() if worse else []
    for output in worse:
        others = [sqnr_db(output.exact, run[output.index]) for run in runs if _measurable(output.exact, run[output.index])]
        usable = [reached for reached in others if reached > -inf]  # noise that makes NaN says nothing
        if suffices(output, min([output.wanted, *usable])):
            continue
        rounding = f"or keep in float what rounds a hidden state at each step (--skip {' --skip '.join(alone)})"
        remedy = rounding if alone else "otherwise please report this model"
        raise VerificationError(
            f"output {output.name!r}: ONNX Runtime's integer kernels compute something else than the model says: "
            f"{output.reached:.1f} dB above the noise, where the fake-quant model reaches {output.wanted:.1f} dB. On a CPU "
            f"without VNNI, int8 products can saturate: use 7-bit weights (weight.bits 7); {remedy}."
        )


def _shaken(feeds: Sequence[Feeds]) -> Iterator[list[Feeds]]:
    """`feeds` with a little noise in what are floats, several times."""
    generator = np.random.default_rng(0)
    for _ in range(SHAKES):
        yield [{name: _with_noise(array, generator) for name, array in sample.items()} for sample in feeds]


def _with_noise(array: AnyArray, generator: np.random.Generator) -> AnyArray:
    """Each number by its own share: zeros of a mask stay zeros beside its -1e38."""
    if array.dtype.kind != "f":
        return array
    share = max(SHAKEN_BY, float(np.finfo(array.dtype).eps))
    shaken: AnyArray = (array * (1 + share * generator.standard_normal(array.shape))).astype(array.dtype)
    return shaken
