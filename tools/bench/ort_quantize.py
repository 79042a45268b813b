"""Quantizes a model with onnxruntime.quantization, as its documentation recommends for static int8 on CPU.

    python tools/bench/ort_quantize.py MODEL.onnx DATA_DIR OUT.onnx --method MinMax [--format QOperator] [--activations int8]

Pre-processing (symbolic shapes, graph optimization), QDQ format, per-channel int8 weights, uint8 activations by default.
Entropy and Percentile keep every activation of every image until the end: a memory limit protects the machine.
Needs onnx, onnxruntime and sympy.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path


def quantize(model: Path, data: Path, out: Path, method: str, form: str, activations: str) -> None:
    import numpy as np
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.files = iter(sorted(data.glob("*.npz")))

        def get_next(self) -> dict[str, np.ndarray] | None:
            file = next(self.files, None)
            if file is None:
                return None
            with np.load(file) as archive:
                return dict(archive)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        try:
            quant_pre_process(model, prepared)
        except Exception as error:  # of any kind; models need no preparation to be quantized
            print(f"quantized without preparation, which fails: {type(error).__name__} {error}", file=sys.stderr)
            prepared = model
        quantize_static(
            prepared,
            out,
            Reader(),
            quant_format=QuantFormat[form],
            per_channel=True,
            activation_type=QuantType.QUInt8 if activations == "uint8" else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--method", choices=("MinMax", "Percentile", "Entropy"), required=True)
    parser.add_argument("--format", choices=("QDQ", "QOperator"), default="QDQ")
    parser.add_argument("--activations", choices=("uint8", "int8"), default="uint8")
    parser.add_argument("--memory-limit", type=float, metavar="GIB")
    args = parser.parse_args()
    if args.memory_limit:
        limit = int(args.memory_limit * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    quantize(args.model, args.data, args.out, args.method, args.format, args.activations)


if __name__ == "__main__":
    main()
