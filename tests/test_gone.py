"""A setting may name what the user sees in the file, and preparing takes away: it is said what became of that."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from small_nets import net, saved

from amct_lite.cli import group
from amct_lite.config import Override, QuantConfig
from amct_lite.errors import ConfigError
from amct_lite.inspection import inspect
from amct_lite.passes.gone import what_became
from amct_lite.types import Gone

NET = """net (float[N,3,16,16] x) => (float[N,8,16,16] y) {
  [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
  [norm1] b = BatchNormalization(a, gamma, beta, mean, var)
  [same] c = Identity(b)
  [conv2] d = Conv<group = 8, pads = [1,1,1,1]>(c, w2, b2)
  [mul2] e = Mul(d, factor)
  [three] t = Constant<value_float = 3.0>()
  [add3] f = Add(e, t)
  [clip3] g = Clip(f, zero, six)
  [by_hand] h = Div(g, six)
  [gated] i = Mul(e, h)
  [swish] j = HardSwish(i)
  [negative] n = Neg(factor)
  [shifted] k = Mul(j, n)
  [unread] u = Tanh(k)
  [join] l = Concat<axis = 1>(k, j)
  [bound] m = Relu(l)
  [conv3] y = Conv(m, w5, b3)
}"""
NUMBERS = {name: np.full(8, 1.5, np.float32) for name in ("gamma", "beta", "mean", "var")} | {
    "factor": np.full((1, 8, 1, 1), 1.25, np.float32),
    "zero": np.float32(0),
    "six": np.float32(6),
    "w5": (8, 16, 1, 1),
}
FOLDED = "is folded into the layer beside it: name that layer"
PART = "is part of a HardSigmoid, or of its product, for ONNX Runtime"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return saved(net(NET, **NUMBERS), tmp_path)


@pytest.mark.parametrize(
    ("target", "named", "became"),
    [
        ("ascend", "norm1", f"norm1 {FOLDED}"),
        ("ascend", "BatchNormalization", f"norm1 {FOLDED}"),
        ("ascend", "norm*", f"norm1 {FOLDED}"),
        ("ascend", "mul2", f"mul2 {FOLDED}"),
        ("ascend", "Identity", "same hands its input on unchanged: leave it out"),
        ("ascend", "Constant", "three is a constant: leave it out"),
        ("ascend", "Neg", "negative is computed beforehand, as it reads constants and fixed sizes alone: leave it out"),
        ("ascend", "Tanh", "unread gives nothing that the outputs need: leave it out"),
        ("ort", "Add", f"add3 {PART}"),
        ("ort", "by_hand", f"by_hand {PART}"),
    ],
)
def test_a_name_of_what_is_gone_is_told_what_became_of_it(model: Path, target: str, named: str, became: str) -> None:
    message = re.escape(f"{named!r} is not there any more when the model is prepared: {became}")
    plain = QuantConfig(target=target)
    for asking in (
        replace(plain, skip=(named,)),
        replace(plain, layers={named: Override(bits=16)}),
        replace(plain, tensors={f"{named}:0": Override()}),
    ):
        with pytest.raises(ConfigError, match=message):
            inspect(model, asking)
    inspect(model, QuantConfig(target="generic", skip=("Add", "by_hand")))


def test_a_bound_that_stands_in_front_of_a_concat_is_named_by_its_parts(tmp_path: Path) -> None:
    text = """net (float[N,3,16,16] x) => (float[N,8,14,14] y) {
      [conv1] a = Conv<pads = [1,1,1,1]>(x, w1, b1)
      [conv2] b = Conv<pads = [1,1,1,1]>(x, w1, b1)
      [join] c = Concat<axis = 1>(a, b)
      [bound] d = Relu(c)
      [conv3] y = Conv(d, w5)
    }"""
    model = saved(net(text, w5=(8, 16, 3, 3)), tmp_path)
    message = r"skip: 'bound' is not there any more .*: bound stands in front of the Concat or Transpose before it, in parts"
    with pytest.raises(ConfigError, match=message):
        inspect(model, QuantConfig(skip=("bound",)))
    assert not inspect(model, QuantConfig(skip=("bound.part*", "Relu"))).plan.reads


def test_an_operator_that_newer_opsets_call_otherwise_is_told_so(tmp_path: Path) -> None:
    text = "net (float[N,3,16,16] x) => (float[N,3,32,32] y) { [up] a = Upsample(x, scales) [conv] y = Conv(a, w) }"
    model = saved(net(text, opset=9, scales=np.array([1, 1, 2, 2], np.float32), w=(3, 3, 1, 1)), tmp_path)
    with pytest.raises(
        ConfigError, match=r"skip: 'Upsample' is not there any more .*: up is a Resize in newer opsets.*: name that"
    ):
        inspect(model, QuantConfig(skip=("Upsample",)))
    assert inspect(model, QuantConfig(skip=("Resize", "up"))).plan.layers


def test_what_became_of_several_is_said_once_for_each_reason() -> None:
    gone = [Gone("a", "Add", "is folded"), Gone("b", "Add", "is a constant"), Gone("c", "Add", "is folded")]
    assert what_became("Add", gone) == "a (the first of 2) is folded; b is a constant"
    assert what_became("Mul", gone) == ""


def test_commands_say_it(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "quant.yaml"
    file.write_text("skip: [BatchNormalization]\n")
    for command in (["inspect", model, "--config", file], ["config", "check", file, model]):
        done = CliRunner().invoke(group, list(map(str, command)), standalone_mode=False)
        said = f"{file}:1: skip: 'BatchNormalization' is not there any more when the model is prepared: norm1 {FOLDED}"
        assert isinstance(done.exception, ConfigError)
        assert said in str(done.exception)
