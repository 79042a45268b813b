"""Execution providers: what a name stands for, how exactly one computes, and where the nodes of a session went.

Nothing here runs a model: `runtime.py` does, and tells what this installation of ONNX Runtime has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from amct_lite.errors import ConfigError
from amct_lite.registry import did_you_mean

CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
_PACKAGES = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "cann": "onnxruntime-cann",
    "openvino": "onnxruntime-openvino",
}
_EXACT = {
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "CANNExecutionProvider": {"precision_mode": "must_keep_origin_dtype"},
    "OpenVINOExecutionProvider": {"precision": "ACCURACY"},
}
"""Options by which a provider computes float32 as float32: ranges and comparisons are to be those of the model itself.
TF32 keeps 10 bits of a value; CANN, and OpenVINO on a GPU, take float16 unless told otherwise."""


def short_name(provider: str) -> str:
    """`cuda` of `CUDAExecutionProvider`."""
    return provider.removesuffix(_SUFFIX).lower()


def full_name(asked: str, available: Sequence[str]) -> str:
    """One of `available`; `cuda` stands for `CUDAExecutionProvider`.

    Raises ConfigError with what there is when there is no such provider.
    """
    short = {short_name(name): name for name in available}
    name = short.get(short_name(asked))
    if name is None:
        package = _PACKAGES.get(short_name(asked))
        near = "" if package else did_you_mean(asked, (*available, *short, *_PACKAGES))
        raise ConfigError(
            f"execution provider {asked!r} is not available{near}; this onnxruntime has {', '.join(available)}. "
            f"Install {f'{package} instead of onnxruntime' if package else 'the package that brings it'}, or choose another."
        )
    return name


def with_options(name: str) -> tuple[str, dict[str, str]]:
    """The provider as a session takes it."""
    return name, dict(_EXACT.get(name, {}))


def require_started(asked: Sequence[str], started: Sequence[str]) -> None:
    """ONNX Runtime leaves a provider out without a word when its libraries or its device are missing. Raises ConfigError."""
    missing = [name for name in asked if name not in started]
    if missing:
        raise ConfigError(
            f"execution provider {missing[0]} is installed, but does not start: its libraries or its device are missing, and "
            f"ONNX Runtime would run the model on {', '.join(started)} instead. Mend the installation, or leave it out."
        )


def placement_remark(asked: Sequence[str], nodes: Sequence[tuple[str, str]] | None) -> str:
    """Where the nodes run when not all of them run on the first of `asked`; empty when they do.

    nodes: (provider, operator type) of each; None where this ONNX Runtime does not tell.
    """
    first = asked[0]
    if first == CPU:
        return ""
    if nodes is None:
        return f"how many nodes ran on {first} is not told by this version of ONNX Runtime"
    elsewhere = [(provider, op) for provider, op in nodes if provider != first]
    if not elsewhere:
        return ""
    kinds = Counter(op for _, op in elsewhere).most_common()
    shown = ", ".join(f"{op} × {count}" for op, count in kinds[:5]) + (", …" if len(kinds) > 5 else "")
    others = ", ".join(dict.fromkeys(provider for provider, _ in elsewhere))
    count = len(nodes) - len(elsewhere)
    return f"{first} ran {count} of the {len(nodes)} nodes of the calibration; the others ran on {others}: {shown}"
