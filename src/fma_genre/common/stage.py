"""Entry point of every stage: validates params.yaml, locks the checkout, reports user errors in one line."""

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
from fma_genre.common.errors import InputError, in_one_line
from fma_genre.common.files import remove, write_text
from fma_genre.common.params import Params

SOURCE = Path(__file__).resolve().parents[2]
LOCK_FILE = Path("dvc.lock")
WORK = Path("data/work")  # ignored by git and DVC
COMPLETE = "complete"  # a file that marks the scratch folder of a stage which has written its outputs


def run(name: str, main: Callable[[Params], None]) -> None:
    """Run `main` on the parameters; exit with one line instead of a traceback if something the user gave is wrong."""
    with _ending_in_one_line(name):
        parameters = params.load()
        with _alone(name):
            main(parameters)


def run_for_system(name: str, section: str, main: Callable[[Params, str], None]) -> None:
    """`run` for a stage whose argument is a key of `section`, models or baselines: `python src/train.py cnn`."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python src/{name}.py KEY, a key of `{section}` in params.yaml")
    key = sys.argv[1]
    with _ending_in_one_line(f"{name}@{key}"):
        parameters = params.load()
        params.check_choice(key, getattr(parameters, section), section)
        with _alone(f"{name}@{key}"):
            main(parameters, key)


@contextmanager
def _ending_in_one_line(name: str) -> Iterator[None]:
    """Exit with one line for the errors that the user can do something about.

    SIGTERM, like Ctrl-C, ends the stage and its workers.
    """
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with in_one_line(name):
        yield


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Lock the stage; raises InputError if it runs already, since a stage outlives a DVC that is killed."""
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(WORK / f"{name}.lock").acquire(timeout=0)
    except Timeout as error:
        raise InputError(f"already running in {Path.cwd()}; wait for it or stop it") from error
    with lock:
        _discard_recorded_work()
        yield


# Unfinished work. -------------------------------------------------------------------------------------------------


@contextmanager
def scratch(name: str, inputs: object) -> Iterator[Path]:
    """A folder for unfinished work, `data/work/<name>/<fingerprint>`, with what a stopped run left in it.

    When the block succeeds, the folder is removed. Under DVC it stays until dvc.lock tells that DVC has recorded the
    outputs: DVC deletes unrecorded ones, and the next run restores them from here.
    """
    folder = WORK / name / fingerprint(inputs)
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if other != folder:
            remove(other)

    complete = folder / COMPLETE
    complete.unlink(missing_ok=True)
    yield folder

    if "DVC_ROOT" in os.environ:
        write_text(complete, json.dumps(_lock_entries(name)))
    else:
        remove(folder.parent)


def _discard_recorded_work() -> None:
    """Remove the scratch folders of all stages whose outputs DVC has recorded since."""
    for complete in WORK.glob(f"*/*/{COMPLETE}"):
        if _is_recorded(complete):
            remove(complete.parent)


def _is_recorded(complete: Path) -> bool:
    """Whether DVC has written dvc.lock for this stage since it was complete, and not just for another one.

    The stage's own entry tells. If it is as it was, DVC has recorded the same results again, unless others changed.
    """
    if not LOCK_FILE.exists() or LOCK_FILE.stat().st_mtime_ns <= complete.stat().st_mtime_ns:
        return False
    own, others = documents.read_json(complete)
    own_now, others_now = _lock_entries(complete.parent.parent.name)
    return own_now != own or others_now == others


def _lock_entries(name: str) -> list[str]:
    """Hashes of the stage's entry in dvc.lock, and of the entries of all other stages."""
    try:
        stages = dict(documents.read_yaml(LOCK_FILE)["stages"])
    except (InputError, FileNotFoundError, ValueError, TypeError, KeyError):  # absent, or cut off by a kill
        stages = {}
    parts = (stages.pop(name, None), stages)
    return [hashlib.sha256(json.dumps(part, sort_keys=True, default=str).encode()).hexdigest() for part in parts]


def fingerprint(inputs: object) -> str:
    """Identifies work by its inputs (anything that JSON holds), the loaded code and the installed packages."""
    described = json.dumps([inputs, _code(), _packages()], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _code() -> dict[str, str]:
    """Hash of every loaded module of the project, by its path below `src/`."""
    loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    files = {Path(file).resolve() for file in loaded if file}
    own = [file for file in files if file.is_relative_to(SOURCE)]
    return {str(file.relative_to(SOURCE)): hashlib.sha256(file.read_bytes()).hexdigest() for file in own}


def _packages() -> list[str]:
    return sorted(path.name for folder in sys.path for path in Path(folder).glob("*.dist-info"))
