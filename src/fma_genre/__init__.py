"""Music genre classification on the Free Music Archive.

    from fma_genre import load

    model = load("models/promoted")
    model("song.mp3")  # {"Folk": 0.84, "Jazz": 0.14, …}

`load` returns an `Ensemble`. If the folder contains no model, or the file is not audio, an `InputError` explains the
problem in one line.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["Ensemble", "InputError", "load"]

if TYPE_CHECKING:
    from fma_genre.common.errors import InputError
    from fma_genre.prediction import Ensemble, load
else:  # hidden from type checkers: with `__getattr__`, they would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used, so that stages and `import fma_genre` do not wait for PyTorch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("fma_genre.prediction"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
