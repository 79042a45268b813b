"""Sources in float16 in AMCT's flow: op_data_type in the record, and a deploy model in float16, in other processes as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from small_nets import images, net, to_float16

import amct_lite as amct

HALF = onnx.TensorProto.FLOAT16


def calibrated(tmp_path: Path, model: onnx.ModelProto) -> tuple[Path, Path, Path]:
    """The model, its calibration model, and the record, which is complete."""
    paths = tmp_path / "net.onnx", tmp_path / "modified.onnx", tmp_path / "record.txt"
    onnx.save(model, paths[0])
    amct.create_quant_config(tmp_path / "config.json", paths[0])
    amct.quantize_model(tmp_path / "config.json", *paths)
    dtype = np.float16 if model.graph.input[0].type.tensor_type.elem_type == HALF else np.float32
    amct.CalibrationSession(paths[1]).run(None, {"x": images()[0]["x"].astype(dtype)})
    return paths


def dequants(path: Path) -> dict[str, int]:
    """AscendDequant → its dtype."""
    nodes = [node for node in onnx.load(path).graph.node if node.op_type == "AscendDequant"]
    return {node.name: next(a.i for a in node.attribute if a.name == "dtype") for node in nodes}


def test_float16_goes_the_whole_way(tmp_path: Path) -> None:
    model, modified, record = calibrated(tmp_path, to_float16(net()))
    assert {layer.data_type for layer in amct.read_record(record).layers} == {"FLOAT16"}
    amct.save_model(modified, record, tmp_path / "a")
    amct.convert_model(model, record, tmp_path / "b")
    saved, converted = tmp_path / "a_deploy_model.onnx", tmp_path / "b_deploy_model.onnx"
    assert set(dequants(saved).values()) == {1}
    assert onnx.TensorProto.FLOAT not in {v.type.tensor_type.elem_type for v in onnx.load(saved).graph.value_info}
    assert saved.read_bytes() == converted.read_bytes()


def test_an_edited_type_is_honoured_by_both(tmp_path: Path) -> None:
    model, modified, record = calibrated(tmp_path, net())
    text = record.read_text()
    assert "op_data_type" not in text
    edited = text.replace('key: "conv2"\n  value {\n', 'key: "conv2"\n  value {\n    op_data_type: "FLOAT16"\n')
    assert edited != text
    record.write_text(edited)
    amct.save_model(modified, record, tmp_path / "a")
    amct.convert_model(model, record, tmp_path / "b")
    assert dequants(tmp_path / "a_deploy_model.onnx") == {f"conv{i}.dequant": int(i == 2) for i in (1, 2, 3, 4)}
    assert (tmp_path / "a_deploy_model.onnx").read_bytes() == (tmp_path / "b_deploy_model.onnx").read_bytes()


def test_a_damaged_remark_on_types_is_not_used(tmp_path: Path) -> None:
    """Without it the deploy model is float32 between its float16 inputs and outputs, and right all the same."""
    _, modified, record = calibrated(tmp_path, to_float16(net()))
    model = onnx.load(modified)
    for entry in model.metadata_props:
        entry.value = "[1]"
    onnx.save(model, modified)
    amct.save_model(modified, record, tmp_path / "a")
    deploy = onnx.load(tmp_path / "a_deploy_model.onnx")
    assert [v.type.tensor_type.elem_type for v in (*deploy.graph.input, *deploy.graph.output)] == [HALF, HALF]
