"""How every stage runs: parameters checked first, once at a time in a checkout, what is wrong said in one line."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fma_genre import InputError, params

# Relative paths in params.yaml hold from here: DVC names the checkout when a temporary copy of it runs.
ROOT = Path(os.environ.get("DVC_ROOT", "."))
WORK = Path("data/work")  # unfinished work, ignored by git and DVC


def run(name: str, main: Callable[[dict[str, Any]], None]) -> None:
    """Runs `main` on the checked parameters; if the input is wrong, exits with a message and no traceback.

    A stage outlives a DVC that is killed: the lock keeps the next `dvc repro` from working beside it.
    """
    WORK.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(WORK / f"{name}.lock", timeout=0):
            main(params.load())
    except Timeout:
        sys.exit(f"{name}: already running in {Path.cwd()}; wait for it or stop it")
    except InputError as error:
        sys.exit(f"{name}: {error}")
    except FileNotFoundError as error:
        sys.exit(f"{name}: expected {error.filename}, found none: `dvc repro` runs the stages that make it")
    except OSError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def run_for_model(name: str, main: Callable[[dict[str, Any], str], None]) -> None:
    """`run` for a stage that is called with the name of a model."""
    if len(sys.argv) != 2 or "/" in sys.argv[1]:
        sys.exit(f"usage: python src/{name}.py MODEL")
    run(f"{name}@{sys.argv[1]}", lambda params: main(params, _model(params, sys.argv[1])))


def _model(params: dict[str, Any], name: str) -> str:
    if name not in params["models"]:
        raise InputError(f"expected a model of params.yaml ({', '.join(params['models'])}), found {name!r}")
    return name
