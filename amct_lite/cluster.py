"""Workers of a Dask cluster. The only importer of Dask, which comes with the extra `dask`."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from amct_lite.errors import ConfigError
from amct_lite.workers import Workers

_SECONDS = 30
_SAME = ("amct-lite", "onnxruntime", "numpy")


class DaskWorkers(Workers):
    """The workers that a Dask client sees, one piece at a time for each thread they offer."""

    def __init__(self, client: Any, *, owned: bool = False) -> None:
        from distributed import KilledWorker

        super().__init__(client.get_executor(pure=False), count=sum(client.nthreads().values()))
        self._client = client
        self._owned = owned
        self._killed: type[BaseException] = KilledWorker
        self._sent: tuple[bytes, Any] | None = None

    def carried(self, payload: bytes) -> object:
        """Spread among the workers by Dask, not with every piece; what a lost worker held is sent anew."""
        if self._sent is None or self._sent[0] is not payload or self._sent[1].status != "finished":
            self._sent = payload, self._client.scatter(payload, broadcast=True)
        return self._sent[1]

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, self._killed) or super().is_lost(error)

    def close(self) -> None:
        self.executor.shutdown(wait=False)
        if self._owned:
            self._client.close()


def connect(address: str) -> DaskWorkers:
    """The workers of the Dask scheduler at `address`, such as tcp://host:8786.

    Raises ConfigError when Dask is not installed, the scheduler does not answer, it has no worker, or a worker cannot give the
    same results because it has other versions.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError("--cluster needs Dask. Install it with `pip install amct-lite[dask]`.") from None
    if not re.fullmatch(r"\w+://[^\s/]+:\d+/?", address):  # Dask would begin, and wait for itself at the end
        raise ConfigError(f"{address!r} is not the address of a Dask scheduler. Give it as tcp://HOST:8786.")
    try:
        client: Any = Client(address, timeout=_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]  # it has no types
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"there is no Dask scheduler at {address} ({type(error).__name__}: {error}). Give its address, tcp://HOST:8786."
        ) from error
    try:
        _require_workers(client, address)
    except BaseException:
        client.close()
        raise
    return DaskWorkers(client, owned=True)


def _require_workers(client: Any, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_SECONDS)
    except TimeoutError:
        raise ConfigError(f"the Dask scheduler at {address} has no workers. Start some: `dask worker {address}`.") from None
    here = versions()
    try:
        there: dict[str, dict[str, str]] = client.run(versions)
    except ImportError as error:
        raise ConfigError(f"the workers of {address} lack this package ({error}). Install amct-lite there, too.") from error
    for worker, found in there.items():
        if found != here:
            told = ", ".join(
                f"{name} {found.get(name, 'not installed')} (here {here[name]})"
                for name in here
                if found.get(name) != here[name]
            )
            raise ConfigError(f"the worker {worker} has {told}, which can give other results. Install the same versions.")


def versions() -> dict[str, str]:
    """Of what results depend on, in this process."""
    return {name: _version(name) for name in _SAME}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # run from a checkout
        return "not installed"
