"""Processes that share work: who starts them stops them, and one that is killed is an error in one line."""

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from joblib import Parallel
from joblib.externals.loky.process_executor import TerminatedWorkerError

from fma_genre import InputError


def share(parallel: Parallel, tasks: Iterable[Any], advice: Callable[[], str]) -> Iterator[Any]:
    """What `parallel`, which returns a generator, makes of the tasks.

    A terminal sends Ctrl-C to all its processes. Workers never see it: they are started while it is ignored, and
    inherit that.

    Raises:
        InputError: a worker was killed, from outside or for want of memory; `advice` says the rest.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        results = parallel(tasks)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield from results
    except TerminatedWorkerError as error:
        raise InputError(f"a worker process was killed, perhaps for want of memory: {advice()}") from error
