"""CalibrationSession: the user's own calibration loop with plain ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from amct_lite import ir
from amct_lite.calibration.tame import batch_size
from amct_lite.compat.calibration_model import expose, watches_in
from amct_lite.compat.collector import Collector
from amct_lite.runtime import RuntimeOptions, open_session
from amct_lite.types import AnyArray, Feeds


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
        self.output_names = tuple(str(value.name) for value in model.graph.outputs)
        self._taken = expose(model)
        self._session = open_session(model, options or RuntimeOptions())
        self.input_names = self._session.input_names

    def run(self, output_names: Sequence[str] | None, input_feed: Feeds) -> list[AnyArray]:
        """The outputs called `output_names`, all of the model's when None.

        Raises DataError when the feeds do not fit, CalibrationError for NaN and infinite values.
        """
        wanted = list(self.output_names if output_names is None else output_names)
        if self._collector.done:
            return self._session.run(input_feed, wanted)
        results = self._session.run(input_feed, [*self._taken, *wanted])
        shapes = {name: np.shape(array) for name, array in input_feed.items()}
        self._collector.add(results[: len(self._taken)], batch_size(input_feed), shapes)
        return results[len(self._taken) :]
