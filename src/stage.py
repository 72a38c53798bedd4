"""How every stage runs: parameters checked first, once at a time in a checkout, what is wrong said in one line."""

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fma_genre import InputError, params
from fma_genre.files import remove

# Relative paths in params.yaml hold from here: DVC names the checkout when a temporary copy of it runs.
ROOT = Path(os.environ.get("DVC_ROOT", "."))
WORK = Path("data/work")  # unfinished work, ignored by git and DVC
FINISHED = "finished"  # marks a folder whose work is
signal.signal(signal.SIGINT, signal.SIG_DFL)  # while a stage's modules are imported, Ctrl-C has nothing to say


def run(name: str, main: Callable[[dict[str, Any]], None]) -> None:
    """Runs `main` on the checked parameters; if the input is wrong, exits with a message and no traceback.

    A stage outlives a DVC that is killed: the lock keeps the next `dvc repro` from working beside it. SIGTERM, like
    Ctrl-C, stops it together with its workers.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        WORK.mkdir(parents=True, exist_ok=True)
        with FileLock(WORK / f"{name}.lock", timeout=0):
            main(params.load())
    except Timeout:
        sys.exit(f"{name}: already running in {Path.cwd()}; wait for it or stop it")
    except InputError as error:
        sys.exit(f"{name}: {error}")
    except FileNotFoundError as error:
        sys.exit(f"{name}: expected {error.filename}, found none: `dvc repro` runs the stages that make it")
    except OSError as error:
        where = "" if error.filename else f" in {Path.cwd()}"
        sys.exit(f"{name}: {error}{where}")
    except KeyboardInterrupt:
        sys.exit(130)


def run_for_model(name: str, main: Callable[[dict[str, Any], str], None]) -> None:
    """`run` for a stage that is called with a model: its name, or what DVC calls the stage, e.g. train@cnn."""
    model = sys.argv[-1].rpartition("@")[2]
    if len(sys.argv) != 2 or "/" in model:
        sys.exit(f"usage: python src/{name}.py MODEL")
    run(f"{name}@{model}", lambda params: main(params, _model(params, model)))


@contextmanager
def work(name: str, inputs: object) -> Iterator[Path]:
    """A folder for a stage's unfinished work, `data/work/<name>/<fingerprint>`, with what a stopped run left in it.

    The fingerprint is that of the inputs (anything that JSON can hold), of the code and of the installed packages:
    other work is removed. When the block has ended well, the folder stays until `forget`: DVC still has to read the
    outputs, and would delete them before the next run if it were stopped meanwhile.
    """
    described = json.dumps([inputs, _code(), _packages()], sort_keys=True)
    folder = WORK / name / hashlib.sha256(described.encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.parent.iterdir():
        if other != folder:
            remove(other)
    yield folder
    (folder / FINISHED).touch()


def forget(name: str) -> None:
    """Removes a stage's finished work: for stages that read its outputs, which run when DVC has them."""
    for marker in WORK.glob(f"{name}/*/{FINISHED}"):
        remove(marker.parent.parent)


def _code() -> list[str]:
    """Hashes of the project's modules that are loaded."""
    source = Path(__file__).resolve().parent
    loaded = (getattr(module, "__file__", None) for module in sys.modules.values())
    files = {Path(file).resolve() for file in loaded if file}
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_relative_to(source))


def _packages() -> list[str]:
    return sorted(path.name for folder in sys.path for path in Path(folder).glob("*.dist-info"))


def _model(params: dict[str, Any], name: str) -> str:
    if name not in params["models"]:
        raise InputError(f"expected a model of params.yaml ({', '.join(params['models'])}), found {name!r}")
    return name
