"""Workers of a Dask cluster. The only importer of Dask, which comes with the extra `dask`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from threading import Timer
from typing import Any

from amct_lite.errors import ConfigError
from amct_lite.workers import Workers

_ADDRESS = re.compile(r"(\w+)://[^\s/]+:\d+/?")
_SECONDS = 10
_PATIENCE = 1.0
"""Seconds of silence before it is said what is waited for."""
_ENCRYPTED = frozenset({"tls", "wss"})
_CERTIFICATES = tuple(f"distributed.comm.tls.{key}" for key in ("ca-file", "client.cert", "client.key"))
_HOW_TO_CERTIFY = (
    "Set these keys to the PEM files of the cluster, in ~/.config/dask/distributed.yaml or as "
    "DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__CLIENT__CERT and …__CLIENT__KEY in the environment."
)
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


def connect(address: str, tell: Callable[[str], None] = lambda _text: None) -> DaskWorkers:
    """The workers of the Dask scheduler at `address`, such as tcp://host:8786. tell: what is waited for, if it takes a while.

    Certificates for tls:// come from Dask's own configuration.
    Raises ConfigError when Dask is not installed, has no certificates for tls://, the scheduler does not answer, it has no
    worker, or a worker cannot give the same results because it has other versions.
    """
    try:
        from distributed import Client
        from distributed.comm.registry import backends
    except ImportError:
        raise ConfigError("--cluster needs Dask. Install it with `pip install 'amct-lite[dask]'`.") from None
    try:  # Dask itself would begin, and wait for itself at the end
        backends[_ADDRESS.fullmatch(address)[1]].get_connector()  # type: ignore[index,no-untyped-call]
    except (TypeError, KeyError):  # no match, no such scheme, or one whose transport is not installed
        raise ConfigError(f"{address!r} is not the address of a Dask scheduler. Give it as tcp://HOST:8786.") from None
    _require_encryption(address)
    try:
        with _told(f"waiting for the Dask scheduler at {address}, {_SECONDS} s at most", tell):
            client: Any = Client(address, timeout=_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]  # no types
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"no Dask scheduler can be reached at {address} ({type(error).__name__}: {error}). Give its address, tcp://HOST:8786."
        ) from error
    try:
        with _told(f"waiting for workers of {address}, {_SECONDS} s at most", tell):
            _require_workers(client, address)
    except BaseException:
        client.close()
        raise
    return DaskWorkers(client, owned=True)


def _require_encryption(address: str) -> None:
    """Dask would begin without what its own configuration lacks, and print its traceback. Raises ConfigError."""
    from distributed.security import Security

    scheme = address.partition(":")[0]
    try:
        security: Any = Security()  # type: ignore[no-untyped-call]
        certified = security.get_connection_args("client")["ssl_context"] is not None
    except (OSError, ValueError) as error:
        raise ConfigError(f"Dask cannot encrypt with {_certificates()}: {error}. {_HOW_TO_CERTIFY}") from error
    if scheme == "tls" and not certified:
        raise ConfigError(f"{address} needs certificates, and Dask's configuration has {_certificates()}. {_HOW_TO_CERTIFY}")
    if scheme not in _ENCRYPTED and security.require_encryption:
        raise ConfigError(
            f"Dask's configuration asks for encryption (distributed.comm.require-encryption), which {scheme}:// has not. "
            "Give the scheduler's address as tls://HOST:8786, or turn that off."
        )


def _certificates() -> str:
    """What is set, with what it is set to."""
    import dask.config

    return ", ".join(f"{key} = {dask.config.get(key, None) or 'not set'}" for key in _CERTIFICATES)


@contextmanager
def _told(text: str, tell: Callable[[str], None]) -> Iterator[None]:
    timer = Timer(_PATIENCE, tell, [text])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
