"""A Dask cluster as an executor, for a class that is too large for one machine."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

_CONNECT_SECONDS = 20


class Cluster:
    """The workers that a scheduler has."""

    patience = None  # the scheduler notices what is gone
    tries_alone = 1  # it has tried it on several workers itself

    def __init__(self, address: str, same: Callable[[], Any] | None = None) -> None:
        """Connect.

        Args:
            address: as the scheduler prints it, such as tcp://10.0.0.5:8786.
            same: what it returns on each worker must be what it returns here.

        Raises:
            OSError: if nothing answers there, or it has no workers.
            ValueError: if Dask is not installed, or a worker has other software.
        """
        try:
            from distributed import Client
            from distributed.scheduler import KilledWorker
        except ImportError as error:
            raise ValueError(f"--scheduler needs Dask ({error}): pip install 'lora_lab[cluster]'") from error
        self.lost = (KilledWorker,)
        try:
            self._client = Client(address, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise OSError(
                f"no Dask scheduler answers at {address} ({error}): start one with 'dask scheduler', "
                "or leave --scheduler out"
            ) from error
        try:
            self._require(address, same)
        except BaseException:
            self._client.close()
            raise
        self._executor = self._client.get_executor(pure=False)

    def submit(self, function: Callable[[Any], Any], job: Any) -> "Future[Any]":
        """Start a job."""
        return self._executor.submit(function, job)

    def close(self) -> None:
        """Disconnect; the cluster stays."""
        self._executor.shutdown()
        self._client.close()

    def stop(self) -> None:
        """Disconnect, and let nothing more be started."""
        self._executor.shutdown(wait=False)
        self._client.close()

    def _require(self, address: str, same: Callable[[], Any] | None) -> None:
        threads = self._client.nthreads()
        if not threads:
            raise OSError(f"the scheduler at {address} has no workers: start them with 'dask worker {address}'")
        self.width = 2 * sum(threads.values())  # so that none waits for its next job
        if same is None:
            return
        ours = same()
        for worker, theirs in self._client.run(same, on_error="return").items():
            if theirs != ours:
                what = f"raises {theirs!r}" if isinstance(theirs, Exception) else f"has {theirs}, and here is {ours}"
                raise ValueError(
                    f"the worker {worker} has other software ({what}): install the same version of lora_lab there"
                )
