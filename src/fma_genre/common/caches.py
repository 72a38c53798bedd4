"""Cache folders for numba and matplotlib when the user has no writable home, as under `docker run -u`.

Without a writable cache folder, importing librosa fails with a traceback from numba, and matplotlib prints a warning.
Both libraries choose their cache folder when they are imported, so this module must be imported before them. `errors`
imports this module, and every other module imports `errors`.
"""

import os
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory

XDG_DEFAULTS = {"XDG_CACHE_HOME": "~/.cache", "XDG_CONFIG_HOME": "~/.config"}
_TEMPORARY: list[TemporaryDirectory[str]] = []  # keeps the temporary folder until the process ends


def provide() -> None:
    """Set the cache variables to a temporary folder if a default folder is not writable.

    Worker processes inherit the variables. The folder is private to the user, because numba runs the code in it.
    """
    if all(_is_writable(os.environ.get(variable) or default) for variable, default in XDG_DEFAULTS.items()):
        return
    needed = ["MPLCONFIGDIR"]
    if not _is_writable(sysconfig.get_path("purelib")):  # numba first tries to cache next to the installed package
        needed.append("NUMBA_CACHE_DIR")
    missing = [variable for variable in needed if variable not in os.environ]
    if missing:
        _TEMPORARY.append(TemporaryDirectory(prefix="fma-genre-", ignore_cleanup_errors=True))
        os.environ.update(dict.fromkeys(missing, _TEMPORARY[-1].name))


def _is_writable(folder: str) -> bool:
    """Return whether the folder is writable or, if it does not exist, can be created."""
    try:
        path = Path(folder).expanduser().absolute()
    except RuntimeError:  # the user has no home
        return False
    existing = next(ancestor for ancestor in (path, *path.parents) if ancestor.exists())
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


provide()
