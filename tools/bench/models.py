"""ResNet50, MobileNetV2, ViT-S/16, YOLOv8n, a U-Net and a CRNN in real sizes with random weights: nothing to download.

Weights follow He's rule with the gain that the layer's input asks for, so activations keep their size in depth.
The same seed gives the same bytes; with and without BatchNormalization nodes it is the same function.

    python tools/bench/models.py resnet50|mobilenetv2|vit|yolov8n|unet|crnn OUT.onnx [--keep-bn] [--seed 0]

prints the layer counts and the spread of the output for one noise image.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

AFTER_RELU, LINEAR = 2.0, 1.0
"""Gain of a layer's weights: the half of the signal that a Relu took away is given back."""

EPSILON = 1e-5


class NetWriter:
    """Collects nodes and initializers; each method appends one layer and returns the name of its output."""

    def __init__(self, seed: int, *, keep_bn: bool) -> None:
        self.random = np.random.default_rng(seed)
        self.keep_bn = keep_bn
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, name: str, array: np.ndarray) -> str:
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op_type: str, name: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        output = output or f"{name}.output"
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=name, **attributes))
        return output

    def conv(self, name: str, source: str, shape: tuple[int, int, int], *, gain: float, stride: int = 1, group: int = 1) -> str:
        """shape: (input channels, output channels, kernel). Convolution and BatchNormalization, folded or not."""
        channels_in, channels_out, kernel = shape
        fan_in = channels_in // group * kernel * kernel
        size = (channels_out, channels_in // group, kernel, kernel)
        weight = self.random.standard_normal(size, np.float32) * np.float32(np.sqrt(gain / fan_in))
        scale, var = self.random.uniform(0.8, 1.2, (2, channels_out)).astype(np.float32)
        bias, mean = self.random.normal(0, 0.1, (2, channels_out)).astype(np.float32)
        attributes = {
            "kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4, "group": group,
        }  # fmt: skip
        if not self.keep_bn:
            factor = scale / np.sqrt(var + EPSILON)
            weight, bias = weight * factor[:, None, None, None], bias - mean * factor
            constants = [self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
            return self.node("Conv", name, source, *constants, **attributes)
        output = self.node("Conv", name, source, self.constant(f"{name}.weight", weight), **attributes)
        statistics = {"scale": scale, "bias": bias, "mean": mean, "var": var}
        constants = [self.constant(f"{name}.bn.{key}", array) for key, array in statistics.items()]
        return self.node("BatchNormalization", f"{name}.bn", output, *constants, epsilon=EPSILON)

    def relu(self, name: str, source: str) -> str:
        return self.node("Relu", f"{name}.relu", source)

    def silu(self, name: str, source: str, shape: tuple[int, int, int], *, stride: int = 1) -> str:
        """shape: as of `conv`, which it begins with."""
        x = self.conv(name, source, shape, gain=AFTER_RELU, stride=stride)
        return self.node("Mul", f"{name}.mul", x, self.node("Sigmoid", f"{name}.sigmoid", x))

    def relu6(self, name: str, source: str) -> str:
        return self.node("Clip", f"{name}.relu6", source, "relu6.min", "relu6.max")

    def linear(self, name: str, source: str, shape: tuple[int, int], *, gain: float) -> str:
        """shape: (features in, features out). MatMul and Add, as PyTorch exports a Linear behind three dimensions."""
        weight = self.random.standard_normal(shape, np.float32) * np.float32(np.sqrt(gain / shape[0]))
        product = self.node("MatMul", f"{name}.matmul", source, self.constant(f"{name}.weight", weight))
        bias = self.constant(f"{name}.bias", self.random.normal(0, 0.1, shape[1]).astype(np.float32))
        return self.node("Add", f"{name}.add", bias, product)

    def layer_norm(self, name: str, source: str, features: int) -> str:
        scale = self.constant(f"{name}.scale", self.random.uniform(0.8, 1.2, features).astype(np.float32))
        bias = self.constant(f"{name}.bias", self.random.normal(0, 0.1, features).astype(np.float32))
        return self.node("LayerNormalization", name, source, scale, bias)

    def lstm(self, name: str, source: str, features: int, hidden: int) -> str:
        """Both directions: (steps, N, features) → (steps, N, 2 hidden). Weights as PyTorch begins with."""
        shapes = {"weight": (2, 4 * hidden, features), "recurrence": (2, 4 * hidden, hidden), "bias": (2, 8 * hidden)}
        draws = {key: self.random.uniform(-1, 1, shape).astype(np.float32) for key, shape in shapes.items()}
        constants = [self.constant(f"{name}.{key}", draw / np.float32(np.sqrt(hidden))) for key, draw in draws.items()]
        x = self.node("LSTM", name, source, *constants, hidden_size=hidden, direction="bidirectional")
        joined = self.constant(f"{name}.joined", np.array([0, 0, -1]))
        return self.node("Reshape", f"{name}.reshape", self.node("Transpose", f"{name}.turn", x, perm=[0, 2, 1, 3]), joined)

    def classifier(self, source: str, channels: int) -> None:
        weight = self.random.standard_normal((1000, channels), np.float32) * np.float32(np.sqrt(1 / channels))
        constants = [self.constant("fc.weight", weight), self.constant("fc.bias", np.zeros(1000, np.float32))]
        self.node("Gemm", "fc", source, *constants, transB=1, output="logits")

    def model(self, name: str, output: str = "logits", shape: tuple[int, ...] = (1000,)) -> onnx.ModelProto:
        image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 224, 224])
        result = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", *shape])
        graph = helper.make_graph(self.nodes, name, [image], [result], self.initializers)
        model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
        onnx.checker.check_model(model)
        return model


def resnet50(*, seed: int = 0, keep_bn: bool = False) -> onnx.ModelProto:
    """Version 1.5 (the stride in the 3x3): 53 Conv, 16 residual Adds, one Gemm."""
    net = NetWriter(seed, keep_bn=keep_bn)
    x = net.relu("stem", net.conv("stem.conv", "input", (3, 64, 7), gain=LINEAR, stride=2))
    x = net.node("MaxPool", "stem.pool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for index in range(blocks):
            stride = 2 if stage > 1 and index == 0 else 1
            x = _bottleneck(net, f"stage{stage}.block{index}", x, (channels, width), stride=stride)
            channels = 4 * width
    x = net.node("Flatten", "flatten", net.node("GlobalAveragePool", "pool", x))
    net.classifier(x, channels)
    return net.model("resnet50")


def _bottleneck(net: NetWriter, name: str, source: str, channels: tuple[int, int], *, stride: int) -> str:
    channels_in, width = channels
    # Two equal arms share the signal; beside an identity the residual arm is small, as in a trained net.
    arm = AFTER_RELU / (2 if channels_in != 4 * width else 8)
    x = net.relu(f"{name}.conv1", net.conv(f"{name}.conv1", source, (channels_in, width, 1), gain=AFTER_RELU))
    x = net.relu(f"{name}.conv2", net.conv(f"{name}.conv2", x, (width, width, 3), gain=AFTER_RELU, stride=stride))
    x = net.conv(f"{name}.conv3", x, (width, 4 * width, 1), gain=arm)
    if channels_in != 4 * width:
        source = net.conv(f"{name}.shortcut", source, (channels_in, 4 * width, 1), gain=arm, stride=stride)
    return net.relu(name, net.node("Add", f"{name}.add", x, source))


def mobilenetv2(*, seed: int = 0, keep_bn: bool = False) -> onnx.ModelProto:
    """Width 1.0: 52 Conv (17 of them depthwise), 10 residual Adds, Clip(0, 6), ReduceMean, one Gemm."""
    net = NetWriter(seed, keep_bn=keep_bn)
    net.constant("relu6.min", np.float32(0))
    net.constant("relu6.max", np.float32(6))
    x = net.relu6("stem", net.conv("stem.conv", "input", (3, 32, 3), gain=LINEAR, stride=2))
    channels, index = 32, 0
    settings = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expansion, channels_out, repeats, first_stride in settings:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            x = _inverted_residual(net, f"block{index}", x, (channels, channels * expansion, channels_out), stride=stride)
            channels, index = channels_out, index + 1
    x = net.relu6("head", net.conv("head.conv", x, (channels, 1280, 1), gain=LINEAR))
    net.classifier(net.node("ReduceMean", "pool", x, axes=[2, 3], keepdims=0), 1280)
    return net.model("mobilenetv2")


def _inverted_residual(net: NetWriter, name: str, source: str, channels: tuple[int, int, int], *, stride: int) -> str:
    channels_in, hidden, channels_out = channels
    x = source
    if hidden != channels_in:
        x = net.relu6(f"{name}.expand", net.conv(f"{name}.expand", x, (channels_in, hidden, 1), gain=LINEAR))
    x = net.conv(f"{name}.depthwise", x, (hidden, hidden, 3), gain=AFTER_RELU, stride=stride, group=hidden)
    x = net.relu6(f"{name}.depthwise", x)
    adds = stride == 1 and channels_in == channels_out
    x = net.conv(f"{name}.project", x, (hidden, channels_out, 1), gain=AFTER_RELU / 2 if adds else AFTER_RELU)
    return net.node("Add", f"{name}.add", x, source) if adds else x


def vit(*, seed: int = 0, keep_bn: bool = False) -> onnx.ModelProto:
    """ViT-S/16: 197 tokens of 384 features, 12 blocks with 6 heads, GELU by Erf; it has no BatchNormalization to keep."""
    net = NetWriter(seed, keep_bn=False)
    features, tokens = 384, 197
    for name, value in {"gelu.sqrt2": np.sqrt(2), "gelu.one": 1, "gelu.half": 0.5, "attention.scale": 1 / 8}.items():
        net.constant(name, np.float32(value))
    net.constant("patches.shape", np.array([0, features, -1]))
    net.constant("heads.shape", np.array([0, tokens, 3, 6, 64]))
    net.constant("joined.shape", np.array([0, tokens, features]))
    weight = net.random.standard_normal((features, 3, 16, 16), np.float32) * np.float32(np.sqrt(LINEAR / 768))
    x = net.node(
        "Conv", "embedding", "input", net.constant("embedding.weight", weight), kernel_shape=[16, 16], strides=[16, 16]
    )
    x = net.node("Transpose", "tokens", net.node("Reshape", "patches", x, "patches.shape"), perm=[0, 2, 1])
    front = net.constant("pads", np.array([0, 1, 0, 0, 0, 0]))  # the place of the class token
    position = net.random.standard_normal((1, tokens, features), np.float32) * np.float32(0.2)
    x = net.node("Add", "positioned", net.node("Pad", "class", x, front), net.constant("position", position))
    for index in range(12):
        x = _encoder(net, f"block{index}", x, features)
    x = net.layer_norm("norm", x, features)
    net.classifier(net.node("Gather", "first", x, net.constant("zero", np.int64(0)), axis=1), features)
    return net.model("vit")


def _encoder(net: NetWriter, name: str, source: str, features: int) -> str:
    x = net.linear(f"{name}.qkv", net.layer_norm(f"{name}.norm1", source, features), (features, 3 * features), gain=LINEAR)
    x = net.node("Transpose", f"{name}.heads", net.node("Reshape", f"{name}.split", x, "heads.shape"), perm=[2, 0, 3, 1, 4])
    query, key, value = (
        net.node("Gather", f"{name}.{part}", x, net.constant(f"{name}.{part}.index", np.int64(i)), axis=0)
        for i, part in enumerate(("query", "key", "value"))
    )
    turned = net.node("Transpose", f"{name}.turned", key, perm=[0, 1, 3, 2])
    scores = net.node("Mul", f"{name}.scaled", net.node("MatMul", f"{name}.scores", query, turned), "attention.scale")
    mixed = net.node("MatMul", f"{name}.mixed", net.node("Softmax", f"{name}.softmax", scores, axis=-1), value)
    joined = net.node(
        "Reshape", f"{name}.joined", net.node("Transpose", f"{name}.back", mixed, perm=[0, 2, 1, 3]), "joined.shape"
    )
    source = net.node("Add", f"{name}.add1", net.linear(f"{name}.proj", joined, (features, features), gain=LINEAR / 4), source)
    x = net.linear(f"{name}.fc1", net.layer_norm(f"{name}.norm2", source, features), (features, 4 * features), gain=LINEAR)
    erf = net.node("Erf", f"{name}.erf", net.node("Div", f"{name}.div", x, "gelu.sqrt2"))
    x = net.node("Mul", f"{name}.mul", x, net.node("Add", f"{name}.shifted", erf, "gelu.one"))
    x = net.linear(f"{name}.fc2", net.node("Mul", f"{name}.gelu", x, "gelu.half"), (4 * features, features), gain=LINEAR / 4)
    return net.node("Add", f"{name}.add2", x, source)


def yolov8n(*, seed: int = 0, keep_bn: bool = False) -> onnx.ModelProto:
    """63 Conv, most with SiLU, stages that are split and concatenated (C2f), two nearest Resizes, heads on 28, 14 and 7 pixels;
    one Conv more makes distances of 16 bins."""
    net = NetWriter(seed, keep_bn=keep_bn)
    twice = net.constant("twice", np.array([1, 1, 2, 2], np.float32))

    def enlarged(name: str, source: str) -> str:
        return net.node(
            "Resize", name, source, "", twice, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        )

    x = net.silu("stem", "input", (3, 16, 3), stride=2)
    levels, channels = [], 16
    for index, (width, repeats) in enumerate(((32, 1), (64, 2), (128, 2), (256, 1)), start=1):
        x = net.silu(f"down{index}", x, (channels, width, 3), stride=2)
        x = _c2f(net, f"stage{index}", x, (width, width), repeats, adds=True)
        levels, channels = [*levels, x], width
    x = net.silu("pool.in", x, (256, 128, 1))
    pooled = [x]
    for index in range(3):
        pooled.append(net.node("MaxPool", f"pool{index}", pooled[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
    deep = net.silu("pool.out", net.node("Concat", "pooled", *pooled, axis=1), (512, 256, 1))
    x = net.node("Concat", "up1.joined", enlarged("up1", deep), levels[2], axis=1)
    middle = _c2f(net, "up1.stage", x, (384, 128), 1, adds=False)
    x = net.node("Concat", "up2.joined", enlarged("up2", middle), levels[1], axis=1)
    fine = _c2f(net, "up2.stage", x, (192, 64), 1, adds=False)
    x = net.node("Concat", "back1.joined", net.silu("back1", fine, (64, 64, 3), stride=2), middle, axis=1)
    middle = _c2f(net, "back1.stage", x, (192, 128), 1, adds=False)
    x = net.node("Concat", "back2.joined", net.silu("back2", middle, (128, 128, 3), stride=2), deep, axis=1)
    deep = _c2f(net, "back2.stage", x, (384, 256), 1, adds=False)
    flat = net.constant("flat", np.array([0, 144, -1]))
    heads = []
    for name, source, width in (("fine", fine, 64), ("middle", middle, 128), ("deep", deep, 256)):
        parts = []
        for part, hidden, count in (("box", 64, 64), ("class", 80, 80)):
            y = net.silu(f"{name}.{part}1", source, (width, hidden, 3))
            y = net.silu(f"{name}.{part}2", y, (hidden, hidden, 3))
            parts.append(net.conv(f"{name}.{part}3", y, (hidden, count, 1), gain=LINEAR))
        heads.append(net.node("Reshape", f"{name}.flat", net.node("Concat", f"{name}.head", *parts, axis=1), flat))
    x = net.node("Concat", "heads", *heads, axis=2)
    box, scores = (f"{part}.all" for part in ("box", "class"))
    net.nodes.append(
        helper.make_node("Split", [x, net.constant("parts", np.array([64, 80]))], [box, scores], name="parted", axis=1)
    )
    x = net.node(
        "Transpose",
        "bins",
        net.node("Reshape", "sides", box, net.constant("by.side", np.array([0, 4, 16, -1]))),
        perm=[0, 2, 1, 3],
    )
    weight = net.constant("distance.weight", np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1))
    x = net.node("Conv", "distance", net.node("Softmax", "likely", x, axis=1), weight, kernel_shape=[1, 1])
    x = net.node("Reshape", "boxes", x, net.constant("four", np.array([0, 4, -1])))
    net.node("Concat", "found", x, net.node("Sigmoid", "scores", scores), axis=1, output="found")
    return net.model("yolov8n", "found", (84, 1029))


def _c2f(net: NetWriter, name: str, source: str, channels: tuple[int, int], repeats: int, *, adds: bool) -> str:
    channels_in, width = channels
    half = width // 2
    parts = [f"{name}.left", f"{name}.right"]
    x = net.silu(f"{name}.in", source, (channels_in, width, 1))
    net.nodes.append(
        helper.make_node(
            "Split", [x, net.constant(f"{name}.halves", np.array([half, half]))], parts, name=f"{name}.split", axis=1
        )
    )
    for index in range(repeats):
        x = net.silu(f"{name}.{index}.conv1", parts[-1], (half, half, 3))
        x = net.silu(f"{name}.{index}.conv2", x, (half, half, 3))
        parts.append(net.node("Add", f"{name}.{index}.add", parts[-1], x) if adds else x)
    joined = net.node("Concat", f"{name}.joined", *parts, axis=1)
    return net.silu(f"{name}.out", joined, ((2 + repeats) * half, width, 1))


def unet(*, seed: int = 0, keep_bn: bool = False) -> onnx.ModelProto:
    """16 to 256 channels: 19 Conv, four levels joined across, each enlarged by a ConvTranspose; a mask of 224×224 pixels."""
    net = NetWriter(seed, keep_bn=keep_bn)

    def pair(name: str, source: str, channels: tuple[int, int]) -> str:
        x = net.relu(f"{name}.conv1", net.conv(f"{name}.conv1", source, (*channels, 3), gain=AFTER_RELU))
        return net.relu(f"{name}.conv2", net.conv(f"{name}.conv2", x, (channels[1], channels[1], 3), gain=AFTER_RELU))

    x, channels, widths = "input", 3, (16, 32, 64, 128)
    levels = []
    for index, width in enumerate(widths):
        levels.append(pair(f"down{index}", x, (channels, width)))
        x = net.node("MaxPool", f"pool{index}", levels[-1], kernel_shape=[2, 2], strides=[2, 2])
        channels = width
    x, channels = pair("deep", x, (128, 256)), 256
    for index, width in reversed(list(enumerate(widths))):
        weight = net.random.standard_normal((channels, width, 2, 2), np.float32) * np.float32(np.sqrt(AFTER_RELU / channels))
        bias = net.constant(f"up{index}.bias", net.random.normal(0, 0.1, width).astype(np.float32))
        x = net.node("ConvTranspose", f"up{index}", x, net.constant(f"up{index}.weight", weight), bias, strides=[2, 2])
        x = pair(f"across{index}", net.node("Concat", f"joined{index}", x, levels[index], axis=1), (2 * width, width))
        channels = width
    net.node("Sigmoid", "sigmoid", net.conv("last", x, (16, 2, 1), gain=LINEAR), output="mask")
    return net.model("unet", "mask", (2, 224, 224))


def crnn(*, seed: int = 0, keep_bn: bool = False) -> onnx.ModelProto:
    """Reads lines of text: six Conv, two LSTM of 256 in both directions, scores of 37 characters for each of 28 columns."""
    net = NetWriter(seed, keep_bn=keep_bn)
    x, channels = "input", 3
    for index, (width, pool) in enumerate(
        ((64, [2, 2]), (128, [2, 2]), (256, [2, 2]), (256, [2, 1]), (512, [2, 1]), (512, [2, 1]))
    ):
        gain = AFTER_RELU if index else LINEAR
        x = net.relu(f"conv{index}", net.conv(f"conv{index}", x, (channels, width, 3), gain=gain))
        x = net.node("MaxPool", f"pool{index}", x, kernel_shape=pool, strides=pool)
        channels = width
    x = net.node("Transpose", "columns", net.node("ReduceMean", "mean", x, axes=[2], keepdims=0), perm=[2, 0, 1])
    x = net.lstm("lstm1", net.lstm("lstm0", x, 512, 256), 512, 256)
    net.node("Transpose", "lines", net.linear("fc", x, (512, 37), gain=LINEAR), perm=[1, 0, 2], output="scores")
    return net.model("crnn", "scores", (28, 37))


MODELS = {"resnet50": resnet50, "mobilenetv2": mobilenetv2, "vit": vit, "yolov8n": yolov8n, "unet": unet, "crnn": crnn}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--keep-bn", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = MODELS[args.model](seed=args.seed, keep_bn=args.keep_bn)
    args.out.write_bytes(model.SerializeToString(deterministic=True))

    import onnxruntime

    session = onnxruntime.InferenceSession(str(args.out), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).standard_normal((1, 3, 224, 224), np.float32)
    output = session.run(None, {"input": image})[0]
    count = {op: sum(node.op_type == op for node in model.graph.node) for op in ("Conv", "Gemm", "MatMul", "LSTM", "Add")}
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, {count}, output std {output.std():.3f}")


if __name__ == "__main__":
    main()
