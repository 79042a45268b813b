"""Models with QuantizeLinear and DequantizeLinear as other tools write them, small and by hand."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto
from small_nets import net

_RNG = np.random.default_rng(3)
CODES = _RNG.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8)
CODES[0, 0, 0, 0] = -128
CODES2 = _RNG.integers(-127, 128, (5, 4, 1, 1)).astype(np.int8)
SCALES = np.array([0.003, 0.004, 0.0021, 0.005], np.float32)
SCALES2 = np.float32(0.006)


def scalars(**values: float) -> dict[str, np.ndarray]:
    return {name: np.array(value, np.float32) for name, value in values.items()}


def bias_codes(scale_d: float, scale_w: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """(int32 codes, their scales)."""
    scale = np.float32(scale_d) * np.broadcast_to(scale_w, count).astype(np.float32)
    return np.random.default_rng(count).integers(-4000, 4000, count).astype(np.int32), scale


def onnxruntime_form() -> ModelProto:
    """uint8 data, int8 weights and int32 biases with DQ, the Relu taken away: its work is done by a zero point of 0."""
    b1, sb1 = bias_codes(0.02, SCALES, 4)
    b2, sb2 = bias_codes(0.05, SCALES2, 5)
    return net(
        """net (float[N,3,8,8] x) => (float[N,5,8,8] y) {
          [q0] xq = QuantizeLinear(x, sx, zx)
          [d0] xd = DequantizeLinear(xq, sx, zx)
          [dw1] w1d = DequantizeLinear<axis = 0>(w1q, sw1, zw1)
          [db1] b1d = DequantizeLinear<axis = 0>(b1q, sb1)
          [conv1] a = Conv<pads = [1,1,1,1]>(xd, w1d, b1d)
          [q1] aq = QuantizeLinear(a, sa, za)
          [d1] ad = DequantizeLinear(aq, sa, za)
          [dw2] w2d = DequantizeLinear(w2q, sw2, zw2)
          [db2] b2d = DequantizeLinear<axis = 0>(b2q, sb2)
          [conv2] c = Conv(ad, w2d, b2d)
          [q2] cq = QuantizeLinear(c, sc, zc)
          [d2] y = DequantizeLinear(cq, sc, zc)
        }""",
        **scalars(sx=0.02, sa=0.05, sc=0.1, sw2=float(SCALES2)),
        sw1=SCALES,
        zw1=np.zeros(4, np.int8),
        zw2=np.int8(0),
        w1q=CODES,
        w2q=CODES2,
        b1q=b1,
        sb1=sb1,
        b2q=b2,
        sb2=sb2,
        zx=np.uint8(120),
        za=np.uint8(0),
        zc=np.uint8(130),
    )


def torch_form() -> ModelProto:
    """int8 data, float weights with Q and Clip to 127 codes and DQ, float biases, a residual Add with quantized inputs."""
    float_weight = (CODES * SCALES.reshape(-1, 1, 1, 1)).astype(np.float32)
    square = np.random.default_rng(5).standard_normal((4, 4, 1, 1)).astype(np.float32)
    square_scales = np.abs(square).max(axis=(1, 2, 3)) / 127
    return net(
        """net (float[1,3,8,8] x) => (float[1,4] y) {
          [q0] xq = QuantizeLinear(x, sx, zx)
          [d0] xd = DequantizeLinear(xq, sx, zx)
          [qw1] w1q = QuantizeLinear<axis = 0>(w1, sw1, zw)
          [dw1] w1d = DequantizeLinear<axis = 0>(w1q, sw1, zw)
          [conv1] a = Conv<pads = [1,1,1,1]>(xd, w1d, b1)
          [relu] r = Relu(a)
          [q1] rq = QuantizeLinear(r, sr, zr)
          [d1] rd = DequantizeLinear(rq, sr, zr)
          [qw2] w2q = QuantizeLinear<axis = 0>(w2, sw2, zw)
          [cw2] w2c = Clip(w2q, low, high)
          [dw2] w2d = DequantizeLinear<axis = 0>(w2c, sw2, zw)
          [conv2] c = Conv(rd, w2d, b2)
          [q2] cq = QuantizeLinear(c, sc, zc)
          [d2] cd = DequantizeLinear(cq, sc, zc)
          [add] s = Add(cd, rd)
          [q3] sq = QuantizeLinear(s, sc, zc)
          [d3] sd = DequantizeLinear(sq, sc, zc)
          [pool] p = GlobalAveragePool(sd)
          [flat] f = Flatten(p)
          [q4] fq = QuantizeLinear(f, sc, zc)
          [d4] fd = DequantizeLinear(fq, sc, zc)
          [qw3] w3q = QuantizeLinear(w3, sw3, zero)
          [dw3] w3d = DequantizeLinear(w3q, sw3, zero)
          [fc] y = Gemm<transB = 1>(fd, w3d, b3)
        }""",
        **scalars(sx=0.02, sr=0.04, sc=0.06, sw3=0.008),
        w1=float_weight,
        sw1=SCALES,
        w2=square,
        sw2=square_scales,
        b2=(4,),
        w3=(4, 4),
        b3=(4,),
        b1=(4,),
        low=np.int8(-127),
        high=np.int8(127),
        zero=np.int8(0),
        zx=np.int8(3),
        zr=np.int8(-128),
        zc=np.int8(-10),
        zw=np.zeros(4, np.int8),
    )


def one_conv(weight: str = "", body: str = "", **values: object) -> ModelProto:
    """x → Q → DQ → Conv → y with int8 data. weight, body: lines that stand for those of the weight and of the Conv."""
    weight = weight or "[dw] wd = DequantizeLinear<axis = 0>(wq, sw, zw)"
    text = f"""net (float[1,3,8,8] x) => (float[1,4,6,6] y) {{
      [q] xq = QuantizeLinear(x, sx, zx)
      [d] xd = DequantizeLinear(xq, sx, zx)
      {weight}
      {body or "[conv] y = Conv(xd, wd)"}
    }}"""
    defaults = {"sx": np.float32(0.02), "zx": np.int8(0), "wq": CODES, "sw": SCALES, "zw": np.zeros(4, np.int8)}
    return net(text, **(defaults | values))
