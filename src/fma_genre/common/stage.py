"""Run a stage: validate params.yaml, lock the stage, and report a user error in one line."""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fma_genre.common import documents, params
from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.common.files import remove, write_text
from fma_genre.common.params import Params

SOURCE = Path(__file__).resolve().parents[2]
DVC_LOCK = Path("dvc.lock")
WORK = Path("data/work")  # scratch folders and lock files of all stages; ignored by git and DVC
COMPLETE = "complete"  # name of the file that marks a scratch folder whose stage has written its outputs


def run(name: str, main: Callable[[Params], None]) -> None:
    """Run the stage `name`: load the parameters, lock the stage, and call `main`.

    A user error ends the process with a one-line message instead of a traceback.
    """
    with _handle_errors(name):
        parameters = params.load()
        with _locked(name):
            main(parameters)


def run_for_system(name: str, section: str, main: Callable[[Params, str], None]) -> None:
    """Run a stage for one system or waveform, as in `python src/train.py cnn`.

    Like `run`, but the command line names it by its key in `section` (models, baselines or waveforms), and `main`
    receives this key as its second argument.
    """
    if len(sys.argv) != 2:
        sys.exit(f"usage: python src/{name}.py KEY (a key of `{section}` in params.yaml)")
    key = sys.argv[1]
    with _handle_errors(f"{name}@{key}"):
        parameters = params.load()
        params.check_choice(key, getattr(parameters, section), section)
        with _locked(f"{name}@{key}"):
            main(parameters, key)


@contextmanager
def _handle_errors(name: str) -> Iterator[None]:
    """Exit with a one-line message if the block raises an error that the user can fix.

    SIGTERM ends the stage and its workers, as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with errors_in_one_line(name):
        yield


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Hold the stage's lock; raise InputError if the stage is already running.

    DVC's own lock is not enough: if DVC is killed, the stage keeps running.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(WORK / f"{name}.lock").acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"already running in {Path.cwd()}; wait for it or stop it") from error
    with lock:
        _discard_recorded_work()
        yield


# Scratch folders. -------------------------------------------------------------------------------------------------


@contextmanager
def scratch(name: str, inputs: object) -> Iterator[Path]:
    """Yield the scratch folder `data/work/<name>/<fingerprint>`, which keeps the files of an interrupted run.

    If the block succeeds, the folder is removed. If DVC runs the stage, however, the folder stays until dvc.lock shows
    that DVC has recorded the outputs: if DVC is killed before then, its next run deletes the outputs, and the stage
    restores them from the folder.
    """
    folder = WORK / name / fingerprint(inputs)
    folder.mkdir(parents=True, exist_ok=True)
    for outdated in folder.parent.iterdir():
        if outdated != folder:
            remove(outdated)

    complete = folder / COMPLETE
    complete.unlink(missing_ok=True)
    yield folder

    if "DVC_ROOT" in os.environ:
        write_text(complete, json.dumps(_hash_lock_entries(name)))
    else:
        remove(folder.parent)


def _discard_recorded_work() -> None:
    """Remove the scratch folders of all stages whose outputs DVC has recorded."""
    for complete in WORK.glob(f"*/*/{COMPLETE}"):
        if _is_recorded(complete):
            remove(complete.parent)


def _is_recorded(complete: Path) -> bool:
    """Return whether DVC has recorded the stage in dvc.lock since the stage wrote the file `complete`.

    A newer dvc.lock is not enough, since DVC may have rewritten it for another stage. If the stage's own entry has
    changed, DVC has recorded the stage. If dvc.lock is newer and no entry has changed, DVC has recorded the stage with
    the same results as before.
    """
    if not DVC_LOCK.exists() or DVC_LOCK.stat().st_mtime_ns <= complete.stat().st_mtime_ns:
        return False
    own_before, others_before = documents.read_json(complete)
    own_now, others_now = _hash_lock_entries(complete.parent.parent.name)
    return own_now != own_before or others_now == others_before


def _hash_lock_entries(name: str) -> tuple[str, str]:
    """Two hashes: one of the stage's entry in dvc.lock, and one of the entries of all other stages."""
    try:
        entries = dict(documents.read_yaml(DVC_LOCK)["stages"])
    except (InputError, FileNotFoundError, ValueError, TypeError, KeyError):  # missing, or truncated by a kill
        entries = {}
    own = entries.pop(name, None)
    return documents.hash_json(own), documents.hash_json(entries)


def fingerprint(inputs: object) -> str:
    """A hash of `inputs` (any JSON value), the loaded code and the installed packages, as 16 hexadecimal digits."""
    return documents.hash_json([inputs, _code(), _packages()])[:16]


def _code() -> dict[str, str]:
    """The sha256 of every loaded module of the project, by its path relative to `src/`."""
    loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    files = {Path(file).resolve() for file in loaded if file}
    own = [file for file in files if file.is_relative_to(SOURCE)]
    return {str(file.relative_to(SOURCE)): hashlib.sha256(file.read_bytes()).hexdigest() for file in own}


def _packages() -> list[str]:
    """Names and versions of the installed packages, e.g. `numpy-2.3.1.dist-info`."""
    return sorted(path.name for folder in sys.path for path in Path(folder).glob("*.dist-info"))
