"""CalibrationSession: the user's own calibration loop with plain ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amct_lite import ir
from amct_lite.calibration.tame import batch_size
from amct_lite.compat.calibration_model import expose, watches_in
from amct_lite.compat.collector import Collector
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, Feeds


@dataclass(frozen=True)
class NodeArg:
    """An input or output, with the attributes of ONNX Runtime's: dynamic dimensions are names or None."""

    name: str
    type: str
    shape: list[int | str | None] | None


class CalibrationSession:
    """Runs a calibration model as `onnxruntime.InferenceSession` would, and fills its record after `batch_num` runs.

    Nothing of a run stays in memory that a later process would miss; more runs change nothing.
    Raises UnsupportedModelError for a model that `quantize_model` did not write.
    """

    def __init__(self, modified_onnx_file: str | Path, options: RuntimeOptions | None = None) -> None:
        model = ir.load(modified_onnx_file).model
        watches = watches_in(model)
        self.batch_num = watches[0].batch_num
        self._collector = Collector(watches)
        self._inputs = [_node_arg(value) for value in model.graph.inputs]
        self._outputs = [_node_arg(value) for value in model.graph.outputs]
        self._taken = expose(model)
        self._session = open_session(model, options or RuntimeOptions())

    def get_inputs(self) -> list[NodeArg]:
        """The model's inputs, as `onnxruntime.InferenceSession` lists them."""
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """The model's outputs, without the statistics."""
        return list(self._outputs)

    def run(self, output_names: Sequence[str] | None, input_feed: Feeds) -> list[AnyArray]:
        """The outputs called `output_names`, all of the model's when None.

        Raises DataError when the feeds do not fit, CalibrationError for NaN and infinite values.
        """
        wanted = [arg.name for arg in self._outputs] if output_names is None else list(output_names)
        if self._collector.done:
            return self._session.run(input_feed, wanted)
        results = self._session.run(input_feed, [*self._taken, *wanted])
        shapes = {name: np.shape(array) for name, array in input_feed.items()}
        self._collector.add(results[: len(self._taken)], batch_size(input_feed), shapes, input_feed)
        return results[len(self._taken) :]


def _node_arg(value: ir.Value) -> NodeArg:
    dims = ir.dims_of(value)
    kind = value.dtype.name.lower() if value.dtype else "undefined"
    return NodeArg(str(value.name), f"tensor({kind})", None if dims is None else list(dims))
