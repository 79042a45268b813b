"""Quantizes a model to static int8 with NNCF or onnxsim, as their documentation shows it; see requirements.txt.

    peers/bin/python tools/bench/peers/quantize.py nncf|onnxsim MODEL.onnx DATA_DIR OUT.onnx

NNCF: its defaults, which correct biases, and all samples. onnxsim: the whole graph, MinMax, a scale a channel.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx

Samples = list[dict[str, np.ndarray]]


def with_nncf(model: Path, samples: Samples) -> onnx.ModelProto:
    import nncf

    return nncf.quantize(onnx.load(model), nncf.Dataset(samples), subset_size=len(samples))


def with_onnxsim(model: Path, samples: Samples) -> onnx.ModelProto:
    import onnxsim

    return onnxsim.quantize_static(onnx.load(model), samples, method="minmax", full_graph=True, per_channel=True)


TOOLS = {"nncf": with_nncf, "onnxsim": with_onnxsim}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    samples = []
    for file in sorted(args.data.glob("*.npz")):
        with np.load(file) as archive:
            samples.append(dict(archive))
    onnx.save(TOOLS[args.tool](args.model, samples), args.out)


if __name__ == "__main__":
    main()
