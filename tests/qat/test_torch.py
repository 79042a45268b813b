"""What PyTorch writes after quantization-aware training (torch.ao, FX graph mode) is taken."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_nets import ONE_THREAD, run

from amct_lite import ir
from amct_lite.converting import convert_qdq
from amct_lite.loading import load_prepared

pytestmark = pytest.mark.filterwarnings("ignore")  # torch.ao and the ONNX exporter have deprecations of their own
X = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conv, BatchNormalization, a residual Add and a Linear; uint8 data, int8 weights with a scale a channel."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from torch.ao import quantization as ao
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    class Net(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.norm, self.relu = torch.nn.BatchNorm2d(8), torch.nn.ReLU()
            self.conv2, self.fc = torch.nn.Conv2d(8, 8, 1), torch.nn.Linear(8, 5)

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = self.relu(self.norm(self.conv1(x)))
            x = x + self.conv2(x)
            return self.fc(x.mean((2, 3)))

    torch.manual_seed(0)
    data = ao.FakeQuantize.with_args(observer=ao.MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8)
    weight = ao.FakeQuantize.with_args(
        observer=ao.MovingAveragePerChannelMinMaxObserver,
        quant_min=-128,
        quant_max=127,
        dtype=torch.qint8,
        qscheme=torch.per_channel_symmetric,
    )
    wanted = ao.QConfigMapping().set_global(ao.QConfig(activation=data, weight=weight))
    example = torch.from_numpy(X)
    net = prepare_qat_fx(Net().train(), wanted, (example,))
    for _ in range(3):
        net(torch.randn(8, 3, 8, 8))
    net.eval()
    net.apply(ao.disable_observer)
    path = tmp_path_factory.mktemp("torch") / "qat.onnx"
    torch.onnx.export(net, (example,), str(path), dynamo=False, opset_version=17, input_names=["x"])
    return path


def test_all_layers_and_the_residual_add_keep_their_scales(trained):
    result = convert_qdq(trained, options=ONE_THREAD)
    assert [layer.key for layer in result.record.layers] == ["/conv1/Conv", "/conv2/Conv", "/fc/Gemm", "/Add:0", "/Add:1"]
    assert {skip.op_type for skip in result.report.skips} == {"QuantizeLinear"}
    assert result.exports.deploy is not None
    assert result.report.outputs[0].sqnr_db > 35


def test_uint8_data_move_by_128(trained):
    given = set()
    for node in load_prepared(trained, qdq="take").original.graph:
        if node.op_type == "QuantizeLinear":
            scale, zero_point = (ir.constant_of(value) for value in node.inputs[1:3])
            given.add((float(scale.reshape(-1)[0]), int(zero_point.reshape(-1)[0]) - 128))  # type: ignore[union-attr]
    result = convert_qdq(trained, options=ONE_THREAD)
    found = [(layer.activation.scale[0], layer.activation.zero_point[0]) for layer in result.record.layers]
    assert set(found) <= given


def test_the_fake_quant_model_computes_what_torch_trained(trained):
    result = convert_qdq(trained, options=ONE_THREAD)
    expected, found = run(trained, {"x": X})[0], run(result.exports.fake_quant, {"x": X})[0]
    step = np.abs(expected).max() / 64
    assert np.abs(expected - found).max() < step


@pytest.fixture(scope="module", params=["qat", "static"])
def eager(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Eager mode, converted: integer kernels in PyTorch, Q, Cast and DQ in the file. With what PyTorch computes on X."""
    torch = pytest.importorskip("torch")
    from torch.ao import quantization as ao

    class Net(torch.nn.Module):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
            self.conv1, self.norm, self.relu = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()
            self.conv2, self.add = torch.nn.Conv2d(8, 8, 1), torch.ao.nn.quantized.FloatFunctional()
            self.fc = torch.nn.Linear(8 * 64, 5)

        def forward(self, x):  # type: ignore[no-untyped-def]
            x = self.relu(self.norm(self.conv1(self.quant(x))))
            x = self.add.add(x, self.conv2(x))
            return self.dequant(self.fc(torch.flatten(x, 1)))

    torch.manual_seed(0)
    trains = request.param == "qat"
    net = Net().train(trains)
    fused = [["conv1", "norm", "relu"]]
    net = ao.fuse_modules_qat(net, fused) if trains else ao.fuse_modules(net, fused)
    net.qconfig = ao.get_default_qat_qconfig("x86") if trains else ao.get_default_qconfig("x86")
    net = ao.prepare_qat(net) if trains else ao.prepare(net)
    for _ in range(3):
        net(torch.randn(8, 3, 8, 8))
    net = ao.convert(net.eval())
    path = tmp_path_factory.mktemp("eager") / "eager.onnx"
    torch.onnx.export(net, (torch.from_numpy(X),), str(path), dynamo=False, opset_version=17, input_names=["x"])
    return path, net(torch.from_numpy(X)).numpy()


def test_eager_mode_is_taken_whole(eager: tuple[Path, np.ndarray]) -> None:
    path, expected = eager
    result = convert_qdq(path, options=ONE_THREAD)
    layers = {layer.key: layer for layer in result.record.layers}
    assert [entry.op_type for entry in result.report.layers] == ["Conv", "Conv", "Gemm", "Add", "Add"]
    assert layers["/conv1/Conv"].weight is not None
    assert len(layers["/conv1/Conv"].weight.scale) == 8
    (ours,) = run(result.exports.fake_quant, {"x": X})
    step = np.unique(np.abs(np.diff(np.unique(expected)))).min()  # of the last Q, which is left out in front of a float output
    # Half a step of that Q; PyTorch's kernels round their products once more than DQ, Conv and Q do: a step now and then.
    assert np.abs(ours - expected).max() <= 1.6 * step
