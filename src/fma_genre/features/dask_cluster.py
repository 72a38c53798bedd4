"""Workers for extraction: processes on this machine, or the Dask cluster that DASK_SCHEDULER_ADDRESS names."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from joblib import Parallel, parallel_config

import fma_genre
from fma_genre.common.errors import InputError
from fma_genre.common.workers import worker_count
from fma_genre.features.frames import frame_count

ADDRESS = "DASK_SCHEDULER_ADDRESS"
SOURCE = Path(fma_genre.__file__).resolve().parents[1]


@contextmanager
def open_workers(tasks: int) -> Iterator[Parallel]:
    """Yield a joblib engine for a number of tasks. It returns results as soon as they are ready, in any order."""
    if os.environ.get(ADDRESS):
        with _dask(os.environ[ADDRESS]), parallel_config("dask"):
            yield _engine(-1)  # the whole cluster
    else:
        with parallel_config("loky"):
            yield _engine(min(worker_count(), tasks))


def _engine(jobs: int) -> Parallel:
    return Parallel(n_jobs=jobs, batch_size=1, return_as="generator_unordered")


@contextmanager
def _dask(address: str) -> Iterator[None]:
    """Connect to a scheduler, send this checkout's code to its workers, and restart them with the code.

    Raises:
        InputError: Dask is not installed, or the scheduler is not running or cannot import the project.
    """
    try:
        from distributed import Client
        from distributed.comm import connect
        from distributed.diagnostics.plugin import UploadDirectory
    except ImportError as error:
        raise InputError(f"{ADDRESS}: expected Dask, found no such package: pip install '.[dask]'") from error

    async def try_to_connect() -> None:
        await (await connect(address)).close()

    try:
        # A Client that cannot connect stays half open until it is garbage, and may then block the next one.
        asyncio.run(try_to_connect())
        client = Client(address)
    except (OSError, ValueError, AssertionError) as error:  # AssertionError: Dask's event loop did not start in 10 s
        raise InputError(f"{ADDRESS}: expected a running scheduler, found none at {address}: {error}") from error
    with client:
        client.register_plugin(UploadDirectory(str(SOURCE), restart_workers=True, update_path=True, skip_words=()))
        try:
            client.submit(frame_count, 1, 1, 1).result()
        except RuntimeError as error:  # without this check, joblib would wait forever
            raise InputError(
                f"{ADDRESS}: expected a scheduler that can import the project, found one that cannot:"
                " start it in the checkout with PYTHONPATH=src"
            ) from error
        yield
