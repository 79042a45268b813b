"""`amct-lite bitops` in a terminal and as JSON."""

from __future__ import annotations

import json


def test_a_row_a_layer_and_the_totals_in_each_arithmetic(amct, calibrated, digits):
    done = amct("bitops", digits, "--record", calibrated.file("record.txt"), "--input-shape", "images:1,1,8,8")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    # 3·3·1 products for each of 32·8·8 outputs, (2·9 - 1 + 1) · 2048 · 8 · 8
    assert next(row for row in rows if row[:1] == ["stem.conv"])[:9] == [
        "stem.conv", "Conv", "1×32×8×8", "18.4", "k", "8×8", "2.36", "M", "13.1",
    ]  # fmt: skip
    assert [row[0] for row in rows if row and row[0] in {"fp32", "fp16", "record"}] == ["fp32", "fp16", "record"]
    assert "digits.onnx at images (1, 1, 8, 8): 140 k MACs, 281 k FLOPs, 4.78 k parameters in 6 layers" in done.out


def test_json_has_the_totals(amct, digits):
    done = amct("bitops", digits, "--input-shape", "images:1,1,8,8", "--json")
    assert json.loads(done.out)["total"]["macs"] == 140416


def test_an_open_shape_ends_with_the_option_to_pass(amct, digits):
    done = amct("bitops", digits)
    assert done.code == 10
    assert 'Pass --input-shape "images:1,1,8,8"' in done.err
