"""The last look at a model before it leaves: ONNX's own checker, shape inference included."""

from __future__ import annotations

import onnx
from onnx_ir import Model

from amct_lite import scratch
from amct_lite.errors import ExportError
from amct_lite.ir.writing import needs_external_data, save, to_bytes


def full_check(model: Model) -> None:
    """`onnx.checker` with full_check; a model too large for one protobuf goes through a temporary folder.

    Raises ExportError with the checker's message.
    """
    try:
        if needs_external_data(model):
            with scratch.folder() as folder:
                path = folder / "model.onnx"
                save(model, path)
                onnx.checker.check_model(str(path), full_check=True)
        else:
            onnx.checker.check_model(to_bytes(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"the exported model is not valid ONNX: {str(error).strip()}. This is a defect of the exporter or of a "
            f"custom operator; please report it with the model."
        ) from error
