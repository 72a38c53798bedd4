"""Caches of numba and matplotlib where the user has no home to write to, as in `docker run -u`.

librosa, which asks numba for a cache, ends with a traceback there, and matplotlib complains. Both look for a folder
when they are imported: to import this module earlier is enough. `errors` does, which everything else imports.
"""

import os
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

HOME = {"XDG_CACHE_HOME": "~/.cache", "XDG_CONFIG_HOME": "~/.config"}  # the defaults of these variables
_KEPT: list[TemporaryDirectory[str]] = []  # until the process ends


def provide() -> None:
    """Name a temporary folder for the caches if their own cannot be made; worker processes inherit it.

    It is for this user alone, since numba runs what it finds in its cache.
    """
    if all(_writable(os.environ.get(variable) or default) for variable, default in HOME.items()):
        return
    beside_the_code = _writable(sysconfig.get_path("purelib"))  # where numba looks first
    wanted = ["MPLCONFIGDIR"] if beside_the_code else ["MPLCONFIGDIR", "NUMBA_CACHE_DIR"]
    missing = [variable for variable in wanted if variable not in os.environ]
    if missing:
        _KEPT.append(TemporaryDirectory(prefix="fma-genre-", ignore_cleanup_errors=True))
        os.environ.update(dict.fromkeys(missing, _KEPT[-1].name))


def _writable(folder: str) -> bool:
    """Whether the folder can be written to, or made."""
    try:
        path = Path(folder).expanduser().absolute()
    except RuntimeError:  # a user without a home
        return False
    nearest = next(place for place in (path, *path.parents) if place.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


provide()
