"""AMCT_SO: session options with which a stock `onnxruntime.InferenceSession` runs calibration models.

The only door to onnxruntime-extensions, which lets a Python function be the kernel of a node. Whatever happens in that
function, it must return: an exception that leaves it ends the process.
"""

from __future__ import annotations

import logging
from functools import cache, lru_cache
from typing import Any

import numpy as np

from amct_lite.calibration.tame import shared_rows
from amct_lite.compat.calibration_model import FEED_TYPE, OP_TYPE
from amct_lite.compat.collector import Collector
from amct_lite.compat.job import Feed, Watch
from amct_lite.errors import ConfigError
from amct_lite.runtime import session_options
from amct_lite.types import AnyArray, Feeds

_LOG = logging.getLogger(__name__)
_MOST_RUNS = 16
"""Calibrations of one process that are under way at a time. One that is finished, or was given up, makes room for others; if it
is run again, it goes on from its files."""
_MOST_NODES = 8192
"""Of these calibrations. Of one with more, nodes are read anew in each run."""
_FAILED = np.array([-7], dtype=np.int64)
"""No shape at all: the Reshape behind the node refuses it, so that the user's `run` fails."""


class _Runs:
    """The runs of one calibration model under way: complete when every node has been called."""

    def __init__(self) -> None:
        self._watches: dict[int, Watch] = {}
        self._arrays: dict[int, tuple[AnyArray, ...]] = {}
        self._feeds: Feeds = {}
        self._collector: Collector | None = None

    @property
    def done(self) -> bool:
        """Whether the record is complete, so that nothing need be looked at."""
        return self._collector is not None and self._collector.done

    def feed(self, name: str, values: AnyArray) -> None:
        """One input of the present run, a copy; all of them come before the first node is called."""
        self._feeds[name] = values

    def take(self, watch: Watch, arrays: tuple[AnyArray, ...], dims: AnyArray) -> None:
        """One node of the present run; arrays: copies, in the order of `nodes.OUTPUTS`."""
        if watch.number in self._arrays:  # the run before this one was given up
            self._arrays = {}
        self._watches[watch.number] = watch
        self._arrays[watch.number] = arrays
        if len(self._arrays) < watch.taps:
            return
        arrived, self._arrays = self._arrays, {}
        if self._collector is None:
            self._collector = Collector([self._watches[number] for number in range(watch.taps)])
        feeds, self._feeds = self._feeds, {}
        results = [array for number in range(watch.taps) for array in arrived[number]]
        shapes, first = {}, 0
        for name, rank in watch.inputs:
            shapes[name] = tuple(int(dim) for dim in dims[first : first + rank])
            first += rank
        self._collector.add(results, shared_rows(shapes.values()), shapes, feeds)

    def forget(self) -> None:
        """Give up the present run, after an error."""
        self._arrays = {}


@lru_cache(_MOST_NODES)
def _watch(text: str) -> Watch:
    return Watch.from_json(text)


@lru_cache(_MOST_RUNS)
def _runs(_record: str, _model: str, _task: str, _batch_num: int) -> _Runs:
    return _Runs()


def _called(*inputs: AnyArray, watch: str) -> AnyArray:
    """The kernel: takes in what one node saw and returns the shape it was given."""
    *statistics, dims, shape = inputs
    runs = None
    try:
        known = _watch(watch)
        runs = _runs(known.record, known.model, known.task, known.batch_num)
        if not runs.done:
            runs.take(known, tuple(np.array(array) for array in statistics), dims)
    except BaseException as error:
        if runs is not None:
            runs.forget()
        _LOG.error("%s: %s", type(error).__name__, error)
        return _FAILED
    return shape


@lru_cache(_MOST_NODES)
def _feed(text: str) -> Feed:
    return Feed.from_json(text)


def _fed(values: AnyArray, shape: AnyArray, *, feed: str) -> AnyArray:
    """The kernel: takes in one input of a run."""
    try:
        known = _feed(feed)
        runs = _runs(known.record, known.model, known.task, known.batch_num)
        if not runs.done:
            runs.feed(known.name, np.array(values, dtype=known.dtype))
    except BaseException as error:
        _LOG.error("%s: %s", type(error).__name__, error)
        return _FAILED
    return shape


@cache
def _options() -> Any:
    try:
        import onnxruntime_extensions as extensions  # type: ignore[import-not-found,import-untyped,unused-ignore]  # an extra
    except ImportError as error:
        raise ConfigError(
            "AMCT_SO needs the package onnxruntime-extensions, which is not installed: pip install 'amct-lite[dropin]'. "
            "Or run the model with amct_lite.CalibrationSession, which needs nothing more."
        ) from error
    kinds = extensions.PyCustomOpDef
    floats, integers = [kinds.dt_float] * 4, [kinds.dt_int64] * 3
    declare = extensions.onnx_op(
        op_type=OP_TYPE, inputs=[*floats, *integers], outputs=[kinds.dt_int64], attrs={"watch": kinds.dt_string}
    )
    declare(_called)
    extensions.onnx_op(
        op_type=FEED_TYPE,
        inputs=[kinds.dt_double, kinds.dt_int64],
        outputs=[kinds.dt_int64],
        attrs={"feed": kinds.dt_string},
    )(_fed)
    return session_options((extensions.get_library_path(),))


def __getattr__(name: str) -> Any:
    if name == "AMCT_SO":
        return _options()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
