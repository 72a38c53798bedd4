"""Worker processes: they ignore Ctrl-C themselves, and a killed worker becomes an InputError."""

import os
import re
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from joblib import Parallel, cpu_count
from joblib.externals.loky.process_executor import TerminatedWorkerError

from fma_genre.common.errors import InputError
from fma_genre.common.schema import wrong


def worker_count() -> int:
    """Number of worker processes: FMA_WORKERS if it is set, else one a core. No result depends on it."""
    setting = os.environ.get("FMA_WORKERS", "")
    if not setting:
        return cpu_count()
    if not re.fullmatch("[1-9][0-9]{0,3}", setting):
        raise wrong("FMA_WORKERS", "a number of processes from 1 to 9999", setting)
    return int(setting)


def run_in_workers(parallel: Parallel, tasks: Iterable[Any], hint: Callable[[], str]) -> Iterator[Any]:
    """Yield the results of `parallel(tasks)`; `parallel` must return a generator.

    A terminal sends Ctrl-C to every process of the group. Workers are started while it is ignored, and inherit that.

    Raises:
        InputError: a worker was killed, e.g. by the kernel when memory ran out; `hint()` ends the message.
    """
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        results = parallel(tasks)
    finally:
        signal.signal(signal.SIGINT, handler)
    try:
        yield from results
    except TerminatedWorkerError as error:
        raise InputError(f"a worker process was killed, perhaps because memory ran out: {hint()}") from error
