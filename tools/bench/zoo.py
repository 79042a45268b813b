"""Networks as torchvision and timm build them, with random weights: latency of our model for ONNX Runtime beside float and
beside onnxruntime.quantization (MinMax, a scale a channel, QDQ and QOperator), and how near each is to float.

    python tools/bench/zoo.py WORK_DIR [NETWORK …] [--rounds 5] [--threads 2]

WORK_DIR keeps what was exported and quantized: remove <network>_ort_model.onnx to quantize again. Ratios are to the float
model. SQNR in dB, of one output of a network that was never trained: it tells a broken model from a working one, no more.
Times as in latency.py, in processes of their own that take turns. Needs torch, torchvision, timm and onnxscript, and
amct_lite, onnxruntime and sympy.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import process
from images import image
from latency import measure

HERE = Path(__file__).parent
SAMPLES = 8
SIZES = {"inception_v3": 299, "mobilevit_s": 256}
"""Pixels, where they are not 224."""
TORCHVISION = (
    *("mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_v2_s", "densenet121", "shufflenet_v2_x1_0"),
    *("googlenet", "inception_v3", "mnasnet1_0", "regnet_y_400mf", "resnext50_32x4d"),
    *("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "swin_t"),
)
TIMM = (
    *("resnetv2_50", "seresnet50", "ghostnet_100", "mobilenetv4_conv_small", "cspdarknet53", "xception41", "ese_vovnet19b_dw"),
    *("hrnet_w18_small", "mobilevit_s", "pvt_v2_b0"),
)
OFF = 0.01
"""Scales of branches that begin so small are zeros, or as good as zeros."""
AUXILIARY = {"googlenet", "inception_v3"}


def network(name: str) -> Any:
    if name in TIMM:
        import timm

        return timm.create_model(name)
    import torchvision

    more: dict[str, object] = {"aux_logits": False, "init_weights": False} if name in AUXILIARY else {}
    more |= {"weights_backbone": None} if name in {"lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"} else {}
    return torchvision.models.get_model(name, weights=None, **more)


def export(name: str, path: Path) -> None:
    """Normalizations know the spread of what they see, and no branch is switched off, as in a trained network."""
    import torch

    class OneOutput(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network(name)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.network(x)
            return found["out"] if isinstance(found, dict) else found

    torch.manual_seed(0)
    model = OneOutput().train()
    for kind, parameter in model.named_parameters():
        if not kind.endswith("bias") and float(parameter.detach().abs().max()) < OFF:
            torch.nn.init.uniform_(parameter, 0.5, 1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.5
    size = SIZES.get(name, 224)
    with torch.no_grad():
        for _ in range(4):
            model(torch.randn(4, 3, size, size))
    torch.onnx.export(model.eval(), (torch.randn(1, 3, size, size),), path, dynamo=True, external_data=False, verbose=False)


def samples(folder: Path, size: int) -> Path:
    data = folder / f"samples_{size}"
    data.mkdir(exist_ok=True)
    for index in range(SAMPLES):
        pixels = image(index)
        more = max(size - pixels.shape[-1], 0)
        np.savez(data / f"{index}.npz", x=np.pad(pixels, [(0, 0), (0, 0), (0, more), (0, more)], mode="wrap"))
    return data


def built(command: list[str], path: Path) -> Path | None:
    """`path`, written by `command` unless it is there; None where that fails."""
    if not path.exists():
        run = process.measure([sys.executable, *command])
        if not path.exists():
            print(f"{path.name}: {run.output.strip().splitlines()[-1]}", file=sys.stderr)
    return path if path.exists() else None


def sqnr(reference: Path, quantized: Path, data: Path) -> float:
    import onnxruntime

    sessions = [onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (reference, quantized)]
    with np.load(data / "0.npz") as archive:
        truth, found = (session.run(None, dict(archive))[0] for session in sessions)
    return float(10 * np.log10((truth**2).sum() / ((found - truth) ** 2).sum()))


def row(name: str, work: Path, rounds: int, threads: int) -> list[str]:
    model, data = work / f"{name}.onnx", samples(work, SIZES.get(name, 224))
    if not model.exists():
        subprocess.run([sys.executable, __file__, str(work), name, "--export"], check=True, stdout=subprocess.DEVNULL)
    command = ["-m", "amct_lite", "calibrate", str(model), "--data", str(data), "--target", "ort", "-o", str(work / name)]
    paths = [built(command, work / f"{name}_ort_model.onnx")]
    for form in ("QDQ", "QOperator"):
        theirs = work / f"{name}.{form}.onnx"
        command = [str(HERE / "ort_quantize.py"), str(model), str(data), str(theirs), "--method", "MinMax", "--format", form]
        paths.append(built(command, theirs))
    return [name, *compared(model, paths, data / "0.npz", lambda path: sqnr(model, path, data), rounds, threads)]


def compared(
    model: Path, paths: list[Path | None], sample: Path, decibels: Callable[[Path], float], rounds: int, threads: int
) -> list[str]:
    """Milliseconds of `model`; the time of each of `paths` by that; `decibels` of each. Of None there is nothing to tell."""
    there = [path for path in paths if path is not None]
    first, *times = measure([model, *there], threads=threads, rounds=rounds, seconds=0.5, sample=sample)
    told = {path: (f"{time / first:.2f}", f"{decibels(path):.1f}") for path, time in zip(there, times, strict=True)}
    shares, qualities = zip(*(told[path] if path is not None else ("-", "-") for path in paths), strict=True)
    return [f"{first:.2f}", *shares, *qualities]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("networks", nargs="*", default=[*TORCHVISION, *TIMM])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--export", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if unknown := set(args.networks) - {*TORCHVISION, *TIMM}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join((*TORCHVISION, *TIMM))}")
    if args.export:  # in a process of its own: torch would take memory and threads from what is measured
        export(args.networks[0], args.work / f"{args.networks[0]}.onnx")
        return
    rows = []
    for name in args.networks:
        rows.append(row(name, args.work, args.rounds, args.threads))
        print(*rows[-1], file=sys.stderr, flush=True)
    print(process.format_table(["network", "float ms", "ours", "QDQ", "QOp", "ours dB", "QDQ dB", "QOp dB"], rows))


if __name__ == "__main__":
    main()
