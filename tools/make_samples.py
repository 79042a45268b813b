"""Makes samples/digits: trains a small CNN on scikit-learn's 8x8 digits and writes it as ONNX, with its data.

The graph is meant to look like what a training framework exports: BatchNormalization kept as nodes, a depthwise
convolution, Clip(0, 6), a residual Add, pooling, a Gemm at the end, a dynamic batch. Running it twice gives the same
bytes on the same machine (fixed seed, one thread); another processor may round the training differently.

    pip install "amct-lite[samples]"     # scikit-learn and torch (a CPU build will do); about one minute of training
    python tools/make_samples.py [--out samples/digits]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import nn

SEED = 7
TEST, CALIBRATION = 397, 64
WIDTH, EPOCHS, BATCH = 32, 40, 64
DEFAULT_OUT = Path(__file__).resolve().parents[1] / "samples" / "digits"


def conv_bn(channels_in: int, channels_out: int, kernel: int, groups: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the image size, followed by BatchNormalization."""
    conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out))


class Digits(nn.Module):
    """(N, 1, 8, 8) images in 0..1 -> (N, 10) logits. `to_onnx` writes the same forward pass as nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_bn(1, WIDTH, 3)
        self.depthwise1 = conv_bn(WIDTH, WIDTH, 3, groups=WIDTH)
        self.pointwise1 = conv_bn(WIDTH, WIDTH, 1)
        self.depthwise2 = conv_bn(WIDTH, WIDTH, 3, groups=WIDTH)
        self.pointwise2 = conv_bn(WIDTH, 2 * WIDTH, 1)
        self.classifier = nn.Linear(2 * WIDTH, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.stem(images).relu()
        x = (self.pointwise1(self.depthwise1(x).clamp(0, 6)) + x).relu()
        x = nn.functional.avg_pool2d(x, 2)
        x = self.pointwise2(self.depthwise2(x).clamp(0, 6)).relu()
        return self.classifier(x.mean((2, 3)))


def split() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """train, calibration (the first of the training images) and test, each (images (n, 1, 8, 8) float32, labels)."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    images = (digits.images / 16).astype(np.float32)[order, None]
    labels = digits.target.astype(np.int64)[order]
    held_out, chosen = slice(0, TEST), slice(TEST, TEST + CALIBRATION)
    parts = {"test": held_out, "calibration": chosen, "train": slice(TEST, None)}
    return {name: (images[part], labels[part]) for name, part in parts.items()}


def train(images: np.ndarray, labels: np.ndarray) -> Digits:
    """A trained network in evaluation mode."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    network = Digits()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    steps = EPOCHS * (len(x) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x))[: len(x) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


class GraphWriter:
    """Collects nodes and initializers in the order of the forward pass; each method returns its output's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, array: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op_type: str, name: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        output = output or f"{name}.output"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=name, **attributes))
        return output

    def conv_bn(self, name: str, layer: nn.Sequential, source: str) -> str:
        """`layer` is what the function conv_bn made."""
        conv, norm = layer[0], layer[1]
        weight = self.constant(f"{name}.weight", conv.weight.detach().numpy())
        kernel, pad = list(conv.kernel_size), list(conv.padding)
        x = self.node("Conv", name, source, weight, kernel_shape=kernel, pads=pad * 2, group=conv.groups)
        statistics = {"scale": norm.weight, "bias": norm.bias, "mean": norm.running_mean, "var": norm.running_var}
        names = [self.constant(f"{name}.bn.{key}", value.detach().numpy()) for key, value in statistics.items()]
        return self.node("BatchNormalization", f"{name}.bn", x, *names, epsilon=norm.eps)


def to_onnx(network: Digits) -> onnx.ModelProto:
    """The forward pass of `network` in ONNX, opset 17: input `images` (N, 1, 8, 8), output `logits` (N, 10)."""
    g = GraphWriter()
    low, high = g.constant("relu6.min", np.float32(0)), g.constant("relu6.max", np.float32(6))
    stem = g.node("Relu", "stem.relu", g.conv_bn("stem.conv", network.stem, "images"))

    x = g.conv_bn("block1.depthwise", network.depthwise1, stem)
    x = g.node("Clip", "block1.relu6", x, low, high)
    x = g.conv_bn("block1.pointwise", network.pointwise1, x)
    x = g.node("Relu", "block1.relu", g.node("Add", "block1.add", x, stem))
    x = g.node("AveragePool", "pool", x, kernel_shape=[2, 2], strides=[2, 2])

    x = g.conv_bn("block2.depthwise", network.depthwise2, x)
    x = g.node("Clip", "block2.relu6", x, low, high)
    x = g.conv_bn("block2.pointwise", network.pointwise2, x)
    x = g.node("Relu", "block2.relu", x)

    x = g.node("Flatten", "flatten", g.node("GlobalAveragePool", "global_pool", x))
    weight = g.constant("classifier.weight", network.classifier.weight.detach().numpy())
    bias = g.constant("classifier.bias", network.classifier.bias.detach().numpy())
    g.node("Gemm", "classifier", x, weight, bias, output="logits", transB=1)

    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 1, 8, 8])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])
    graph = helper.make_graph(g.nodes, "digits", [images], [logits], g.initializers)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)], producer_name="digits")
    onnx.checker.check_model(model, full_check=True)
    return model


def write(out: Path, model: onnx.ModelProto, parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """digits.onnx, calibration/NN.npy (one image a file) and test.npz (x, y)."""
    (out / "calibration").mkdir(parents=True, exist_ok=True)
    (out / "digits.onnx").write_bytes(model.SerializeToString(deterministic=True))
    for index, image in enumerate(parts["calibration"][0]):
        np.save(out / "calibration" / f"{index:02d}.npy", image[None])
    x, y = parts["test"]
    np.savez_compressed(out / "test.npz", x=x, y=y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    out = parser.parse_args().out
    parts = split()
    network = train(*parts["train"])
    write(out, to_onnx(network), parts)
    x, y = parts["test"]
    with torch.no_grad():
        predicted = network(torch.from_numpy(x)).argmax(1).numpy()
    size = (out / "digits.onnx").stat().st_size
    print(f"{out / 'digits.onnx'}: {size:,} bytes, {100 * (predicted == y).mean():.2f} % on {len(y)} test images")


if __name__ == "__main__":
    main()
