"""Worker processes. They leave Ctrl-C to their parent. If a worker is killed, the parent raises an InputError."""

import os
import re
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from joblib import Parallel, cpu_count
from joblib.externals.loky.process_executor import TerminatedWorkerError

from fma_genre.common.errors import InputError
from fma_genre.common.schema import mismatch


def worker_count() -> int:
    """Number of worker processes or threads: FMA_WORKERS if set, else one per core. The results do not depend on it."""
    setting = os.environ.get("FMA_WORKERS", "")
    if not setting:
        return cpu_count()
    if not re.fullmatch("[1-9][0-9]{0,3}", setting):
        raise mismatch("FMA_WORKERS", "a number of processes from 1 to 9999", setting)
    return int(setting)


def run_in_workers(parallel: Parallel, tasks: Iterable[Any], hint: Callable[[], str]) -> Iterator[Any]:
    """Yield the results of `parallel(tasks)`; `parallel` must return a generator.

    A terminal sends Ctrl-C to the workers, too. To make them ignore it, this process ignores it while they start. A
    SIGTERM is deferred meanwhile, because joblib cannot stop workers that are only partly started.

    Raises:
        InputError: a worker was killed, e.g. by the kernel when memory ran out. The message ends with `hint()`.
    """
    results, arrived = _start(parallel, tasks)
    try:
        if arrived:
            signal.raise_signal(signal.SIGTERM)
        yield from results
    except SystemExit:
        _stop(results)
        raise
    except TerminatedWorkerError as error:
        raise InputError(f"a worker process was killed, perhaps because memory ran out: {hint()}") from error


def _stop(results: Generator[Any]) -> None:
    """Stop the workers. A thread of joblib that was about to send them a task may fail, which is not reported."""
    report, threading.excepthook = threading.excepthook, lambda _: None
    try:
        results.close()
    finally:
        threading.excepthook = report


def _start(parallel: Parallel, tasks: Iterable[Any]) -> tuple[Generator[Any], list[int]]:
    """Start the workers; return the generator of the results, and the SIGTERMs that arrived meanwhile."""
    arrived: list[int] = []
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    on_terminate = signal.signal(signal.SIGTERM, lambda number, _: arrived.append(number))
    try:
        return parallel(tasks), arrived
    finally:
        signal.signal(signal.SIGINT, on_interrupt)
        signal.signal(signal.SIGTERM, on_terminate)
