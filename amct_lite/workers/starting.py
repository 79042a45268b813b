"""Processes that Ctrl-C does not reach, from their first moment on: it is for the process that gives out the work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess


class Shielded(SpawnProcess):
    """Else Python would end with a traceback while it is loaded."""

    def start(self) -> None:
        with _blocked():
            super().start()


class ShieldedContext(SpawnContext):
    """Processes are started afresh: a fork of one in which ONNX Runtime has threads can hang."""

    Process = Shielded


@contextmanager
def interrupted_later() -> Iterator[None]:
    """Ctrl-C counts when this is over: an executor that starts its processes and threads is not left with half of them."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is None:
        yield  # it interrupts the main thread alone
        return
    pressed = threading.Event()
    signal.signal(signal.SIGINT, lambda _number, _frame: pressed.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if pressed.is_set():
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _blocked() -> Iterator[None]:
    """For who is started now, as long as it lives."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
