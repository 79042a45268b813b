"""The gate to ONNX Runtime: the only module that imports `onnxruntime`.

A `Session` runs a model of any size; what ONNX Runtime refuses becomes an error that says what and where.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # it ships no types

from amct_lite import ir, scratch
from amct_lite.errors import CalibrationError, ConfigError, DataError, UnsupportedModelError
from amct_lite.overflow import may_overflow, on_arm
from amct_lite.providers import CPU, full_name, placement_remark, require_started, short_name, with_options
from amct_lite.registry import did_you_mean
from amct_lite.types import AnyArray, Feeds

_ALIGNMENT = 64
_HEAVY = 1 << 26
"""Weights, 256 MB as floats, that are not worth their memory more than once."""
_RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"
_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
FLOAT_PRODUCTS = "session.qdq_matmulnbits_accuracy_level"
"""With 1, ONNX Runtime from 1.32 on multiplies data of 16 bits by weights of 8 as they are. By itself it rounds these data to 8
bits first."""
NO_INTEGER_KERNELS = "session.disable_quant_qdq", "1"
"""Of a QuantizeLinear and a DequantizeLinear ONNX Runtime makes nothing then: each computes what it says."""
_CONFIG = {"session.intra_op.allow_spinning": "0", FLOAT_PRODUCTS: "1"}
"""Unless the user says otherwise. Idle threads that spin take the cores from the statistics computed between two runs."""
_FATAL_ONLY = 4
"""An error comes as an exception that holds the same text; it need not stand in the terminal twice."""
MISINFERRED = (
    "A size that ONNX infers is not the one that is computed. So it is with a pool whose last window, by ceil_mode, would "
    "start behind the image (export the model for opset 22 or later), and with a ConvTranspose that has both auto_pad and "
    "output_padding (give it pads)."
)


@dataclass(frozen=True)
class RuntimeOptions:
    """How to run models.

    providers : in the order of preference; `cuda` stands for `CUDAExecutionProvider`.
    threads : 0 leaves the choice to ONNX Runtime.
    session_config : its session config entries, such as ("session.intra_op.allow_spinning", "1").
    disabled_optimizers : names of its graph transformers.
    """

    providers: tuple[str, ...] = (CPU,)
    threads: int = 0
    custom_op_libraries: tuple[str, ...] = ()
    session_config: tuple[tuple[str, str], ...] = ()
    disabled_optimizers: tuple[str, ...] = ()

    def on_cpu(self) -> RuntimeOptions:
        """The same on the CPU, whose arithmetic is the reference."""
        return replace(self, providers=(CPU,))


def is_heavy(*models: ir.Model | Path) -> bool:
    """Whether one of `models` is so large that it should not be in memory beside others: its weights as floats, which those
    of integers may become while it runs."""
    return any(isinstance(model, ir.Model) and ir.parameter_count(model) >= _HEAVY for model in models)


def beside_others(options: RuntimeOptions, model: ir.Model) -> RuntimeOptions:
    """For sessions of `model` and of what was made of it, several at a time: large weights are read where they lie in files,
    and not packed anew for the kernels, which takes as much memory as they do for each session. That is slower."""
    if not is_heavy(model):
        return options
    return replace(options, session_config=(("session.disable_prepacking", "1"), *options.session_config))


def without_overflow(options: RuntimeOptions, model: ir.Model) -> RuntimeOptions:
    """On ARM without integer kernels where these cannot sum up the weights of `model`, unless the user says otherwise."""
    if not on_arm() or not may_overflow(model):
        return options
    return replace(options, session_config=(NO_INTEGER_KERNELS, *options.session_config))


@dataclass(frozen=True)
class InputSpec:
    """An input of a session. shape: None where a dimension is dynamic, None as a whole for what is no tensor."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | None, ...] | None


class Session:
    """A model ready to run; see `open_session`. Safe to use from several threads.

    placement: a sentence about nodes that do not run on the execution provider that was asked for; empty when all do.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        inputs: tuple[InputSpec, ...],
        placement: str = "",
        weights: tuple[onnxruntime.OrtValue, ...] = (),
    ) -> None:
        self._session = session
        self._weights = weights  # read by the session where they are
        self.placement = placement
        self.inputs = inputs
        self.input_names: tuple[str, ...] = tuple(spec.name for spec in inputs)
        self.output_names: tuple[str, ...] = tuple(entry.name for entry in session.get_outputs())

    def run(self, feeds: Feeds, names: Sequence[str] | None = None) -> list[AnyArray]:
        """The outputs called `names`, all of them when None, in that order. As long as one of them lives, so does all the
        memory that the session has worked in, also when the session itself is gone; see `run_apart`.

        Raises DataError if the feeds do not fit the inputs, CalibrationError if a node fails on them, UnsupportedModelError for
        an output that is no tensor.
        """
        feeds = {name: np.asarray(array) if isinstance(array, np.generic) else array for name, array in feeds.items()}
        self._check(feeds)
        wanted = list(self.output_names if names is None else names)
        try:
            results: list[AnyArray] = self._session.run(wanted, {name: _aligned(array) for name, array in feeds.items()})
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            if type(error).__name__ == "InvalidArgument" and "while running" not in str(error):
                raise DataError(f"ONNX Runtime does not accept the data: {message_of(error)}") from error
            shapes = ", ".join(f"{name} {np.shape(array)}" for name, array in feeds.items())
            raise CalibrationError(
                f"the model cannot be run on this data ({shapes}): {message_of(error)} Check that the data fit the model."
            ) from error
        if other := next(
            (name for name, array in zip(wanted, results, strict=True) if not isinstance(array, np.ndarray)), None
        ):
            raise UnsupportedModelError(
                f"output {other!r} is a sequence or map, and only tensors can be compared. End the model before it is made."
            )
        return results

    def run_apart(self, feeds: Feeds) -> list[AnyArray]:
        """All outputs, in memory of their own: for those that are to outlive the session. Raises as `run`."""
        return [apart(array) for array in self.run(feeds)]

    def run_inside(self, tensors: Feeds, names: Sequence[str] | None = None) -> list[AnyArray]:
        """As `run`, of a piece of a model, on tensors that the model has computed in front of it. Raises UnsupportedModelError
        where one of them has not the size that onnx infers."""
        for spec in self.inputs:
            shape = tensors[spec.name].shape
            if not _fits(spec, shape):
                raise UnsupportedModelError(
                    f"{spec.name!r}, inside of the model, has shape {shape}, its readers expect {_shown(spec)}. {MISINFERRED}"
                )
        return self.run(tensors, names)

    def end_profile(self) -> str:
        """The file that ONNX Runtime wrote its profile to."""
        path: str = self._session.end_profiling()
        return path

    def _check(self, feeds: Feeds) -> None:
        for name in feeds:
            if name not in self.input_names:
                raise DataError(
                    f"the data have an input {name!r}, which the model does not have"
                    f"{did_you_mean(name, self.input_names)}; its inputs are {', '.join(self.input_names)}."
                )
        for spec in self.inputs:
            if spec.name not in feeds:
                raise DataError(
                    f"the data have nothing for input {spec.name!r} of the model; they have {', '.join(feeds) or 'no input'}."
                )
            _check_feed(spec, feeds[spec.name])


def apart(output: AnyArray) -> AnyArray:
    """An output of `Session.run` in memory of its own; what is no array is such already."""
    return output.copy() if isinstance(output, np.ndarray) else output


def available_providers() -> tuple[str, ...]:
    """Execution providers that this installation has, by their short names."""
    return tuple(map(short_name, onnxruntime.get_available_providers()))


def open_session(
    model: ir.Model | ir.Sent, options: RuntimeOptions | None = None, *, optimize: bool = True, profile: Path | None = None
) -> Session:
    """Make `model` (bytes: a serialized one) ready to run; weights that lie in files are read from there.

    optimize : False leaves the graph as it is, so that each node computes what it says. profile : time all kernels, into a
    file whose name begins so.
    Raises ConfigError for options that this installation does not have, UnsupportedModelError for a model that ONNX
    Runtime does not take.
    """
    chosen = options or RuntimeOptions()
    if optimize and profile is None and isinstance(model, ir.Model):  # what is timed runs as it does elsewhere
        chosen = without_overflow(chosen, model)
    settings = _settings(chosen, optimize)
    if profile is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile)
    return _opened(model, chosen, settings)


def open_executed(model: ir.Model | Path, options: RuntimeOptions | None = None) -> tuple[Session, ir.Model]:
    """A session on the CPU with all optimizations for this machine, and the graph that it really executes: that for its nodes
    alone, the data of its constants are gone.

    Raises as `open_session`.
    """
    chosen = (options or RuntimeOptions()).on_cpu()
    settings = _settings(chosen, optimize=True)
    with scratch.folder() as place:
        written = place / "optimized.onnx"
        settings.optimized_model_filepath = str(written)
        settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", "constants")
        settings.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        session = _opened(model, chosen, settings)
        return session, ir.load(written).model


def optimized(model: ir.Model | Path, options: RuntimeOptions | None = None) -> ir.Model:
    """The graph of `open_executed` alone."""
    return open_executed(model, options)[1]


def _opened(model: ir.Model | ir.Sent, options: RuntimeOptions, settings: onnxruntime.SessionOptions) -> Session:
    providers = [full_name(asked, onnxruntime.get_available_providers()) for asked in options.providers]
    if providers[0] != CPU:
        settings.add_session_config_entry(_RECORD_PLACEMENT, "1")
    # With a plan, the second run takes its memory as one block, beside what the first one took.
    heavy = isinstance(model, ir.Model) and is_heavy(model)
    settings.enable_mem_pattern = not heavy
    if heavy:
        _return_what_is_freed()
    source, weights = _source(model, settings)
    started = [with_options(name) for name in providers]
    session = _started(source, settings, providers=started, disabled_optimizers=list(options.disabled_optimizers))
    require_started(providers, session.get_providers())
    placement = placement_remark(providers, _nodes(session) if providers[0] != CPU else None)
    return Session(session, tuple(_spec(entry) for entry in session.get_inputs()), placement, weights)


def _started(source: str | bytes, settings: onnxruntime.SessionOptions, **given: Any) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(source, settings, **given)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        raise UnsupportedModelError(
            f"ONNX Runtime {onnxruntime.__version__} does not take the model: {message_of(error)}{_hint(str(error))}"
        ) from error


def session_options(libraries: tuple[str, ...]) -> onnxruntime.SessionOptions:
    """ONNX Runtime's own options object, for sessions that the user opens; its optimizations stay on."""
    return _settings(RuntimeOptions(custom_op_libraries=libraries), optimize=True)


def _source(
    model: ir.Model | ir.Sent, settings: onnxruntime.SessionOptions
) -> tuple[str | bytes, tuple[onnxruntime.OrtValue, ...]]:
    """What to give to ONNX Runtime, `settings` saying where the rest of it is, and what must outlive the session."""
    if isinstance(model, Path):
        if not model.is_file():
            raise UnsupportedModelError(f"{model} does not exist. Check the path of the model.")
        return str(model), ()
    if isinstance(model, bytes):
        return model, ()
    attached = ir.attached(model) if isinstance(model, ir.Model) else model
    weights = tuple(map(_shared, attached.weights.values()))
    settings.add_session_config_entry(_EXTERNAL_FOLDER, attached.folder)
    settings.add_external_initializers(list(attached.weights), list(weights))
    return attached.graph, weights


def _return_what_is_freed() -> None:
    """To the system. glibc keeps what a session had for the thread that opened it, and another thread's takes as much again."""
    if sys.platform == "linux":
        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _shared(tensor: ir.TensorProtocol) -> onnxruntime.OrtValue:
    """The same memory as a value of ONNX Runtime; numpy has no words for all of its types."""
    array = tensor.numpy()
    bits = np.require(array, requirements=["C", "ALIGNED"]).reshape(array.shape).view(f"u{array.itemsize}")
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, tensor.dtype.value)


def _settings(options: RuntimeOptions, optimize: bool) -> onnxruntime.SessionOptions:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _FATAL_ONLY
    settings.use_deterministic_compute = True
    settings.intra_op_num_threads = options.threads
    if not optimize:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Otherwise it dequantizes all weights first, and holds them until their layers run.
        settings.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    for key, value in {**_CONFIG, **dict(options.session_config)}.items():
        try:
            settings.add_session_config_entry(key, value)
        except RuntimeError as error:
            raise ConfigError(f"session config {key!r}: {value!r} is not accepted: {message_of(error)}") from error
    for library in options.custom_op_libraries:
        _register(settings, library)
    return settings


def _nodes(session: onnxruntime.InferenceSession) -> list[tuple[str, str]] | None:
    """(provider, operator type) of each node; None before ONNX Runtime 1.24, which does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    parts = session.get_provider_graph_assignment_info()
    return [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]


def _register(settings: onnxruntime.SessionOptions, library: str) -> None:
    if not Path(library).is_file():
        raise ConfigError(f"custom-op library {library} does not exist. Give the path of the shared library.")
    try:
        settings.register_custom_ops_library(library)
    except Exception as error:  # as above
        raise ConfigError(f"custom-op library {library} cannot be loaded: {message_of(error)}") from error


def _spec(entry: onnxruntime.NodeArg) -> InputSpec:
    match = re.fullmatch(r"tensor\((\w+)\)", entry.type)
    if match is None:
        return InputSpec(entry.name, np.dtype(object), None)
    shape = tuple(dim if isinstance(dim, int) else None for dim in entry.shape)
    return InputSpec(entry.name, _dtype(match.group(1)), shape)


def _dtype(name: str) -> np.dtype[Any]:
    """numpy's type for ONNX Runtime's word; strings are objects."""
    if name == "string":
        return np.dtype(object)
    return ir.DataType[name.upper()].numpy()


def _aligned(array: AnyArray) -> AnyArray:
    """`array` where ONNX Runtime's reductions always take the same course: they begin and end value by value up to an address
    that fits their vectors, so a sum over an input depends in its last bit on where the input lies in memory."""
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        return array
    if array.flags.c_contiguous and array.ctypes.data % _ALIGNMENT == 0:
        return array
    memory = np.empty(array.nbytes + _ALIGNMENT, dtype=np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    copy = memory[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _check_feed(spec: InputSpec, array: AnyArray) -> None:
    if spec.shape is None:
        return
    if not isinstance(array, np.ndarray):
        raise DataError(f"input {spec.name!r} is a {type(array).__name__}. Give a numpy array.")
    strings = spec.dtype == object and array.dtype.kind in "OSU"
    if array.dtype != spec.dtype and not strings:
        raise DataError(
            f"input {spec.name!r} has type {array.dtype}, the model expects {spec.dtype}. Convert the data, for "
            f"example with array.astype({str(spec.dtype)!r})."
        )
    if not _fits(spec, array.shape):
        raise DataError(f"input {spec.name!r} has shape {array.shape}, the model expects {_shown(spec)}. Check the loader.")


def _fits(spec: InputSpec, shape: tuple[int, ...]) -> bool:
    """ONNX Runtime says () also where the rank is open, and looks at scalars itself."""
    return ir.shape_fits(shape, spec.shape or None)


def _shown(spec: InputSpec) -> str:
    return f"({', '.join('?' if dim is None else str(dim) for dim in spec.shape or ())})"


def message_of(error: BaseException) -> str:
    """The first line of ONNX Runtime's message without its prefix of codes, ending in a full stop."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0]).strip()
    return text if text.endswith(".") else f"{text}."


def _hint(message: str) -> str:
    if "is not a registered function/op" in message:
        return " If it is a custom operator, pass the library that implements it (--custom-ops FILE)."
    return " Check that the original model runs in ONNX Runtime."
