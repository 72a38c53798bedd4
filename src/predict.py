"""The genre of audio files, by the promoted model: the three likeliest, with their probabilities.

    python src/predict.py FILE… [--json] [--plot FOLDER] [--model FOLDER]

Prints a line a file, as soon as it is known; with --json, a JSON object a line:

    {"file": "a.mp3", "seconds": 30.0, "silent": false, "genres": {"Folk": 0.81, "Rock": 0.12, "Pop": 0.05}}

A file that is all digital silence has no genre: its line says `silence`, its object has `"silent": true` and no genres,
and no figure is drawn of it. An unreadable file is a line on the standard error, and the exit code is then 1. So is a
file of which more than a tenth cannot be decoded, but the exit code stays 0. --plot draws the votes of each file's
segments over time, and replaces only files.

The first line on the standard error says which model it is, and what it was trained on.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from fma_genre.common import params
from fma_genre.common.errors import InputError, in_one_line, printable
from fma_genre.features.audio import UnreadableClipError
from fma_genre.learning.checkpoint import Settings
from fma_genre.learning.device import make_deterministic
from fma_genre.prediction import Ensemble, FilePrediction
from fma_genre.results import style
from fma_genre.results.votes import Clip, votes

ROOT = Path(__file__).parents[1]
PROMOTED = ROOT / "models/promoted"
TOP = 3  # genres printed
MISSING = 0.1  # share of a file that is worth a line if it cannot be decoded


def main() -> int:
    arguments = parse()
    make_deterministic(seed=0)
    ensemble = load(arguments.model)
    colours = style.colours(params.load(ROOT / "params.yaml").models) if arguments.plot else {}
    colour = colours.get(ensemble.settings.key, style.GREY)
    print(f"predict: {described(ensemble.settings)}", file=sys.stderr)

    names = [printable(str(path)) for path in arguments.files]
    widths = (max(map(len, names)), max(len(printable(genre)) for genre in ensemble.classes))
    failed = 0
    for name, path, figure in zip(names, arguments.files, figure_paths(arguments.plot, arguments.files), strict=True):
        try:
            prediction = ensemble.predict_file(path)
        except InputError as error:  # the model's fault, whichever file it is
            raise InputError(f"{arguments.model}: {error}") from error
        except (RuntimeError, MemoryError) as error:  # a model may ask for more memory than there is
            reason = str(error).partition("\n")[0] or "not enough memory"
            failed = print_error(f"{name}: {arguments.model} cannot predict it: {reason[:200]}")
            continue
        except (UnreadableClipError, OSError) as error:
            found = getattr(error, "strerror", None) or error
            failed = print_error(f"{name}: expected audio, found: {found}")
            continue

        genres = likeliest(prediction, ensemble.classes)
        print(as_json(path, prediction, genres) if arguments.json else as_row(name, genres, *widths), flush=True)
        if prediction.missing > MISSING * (prediction.seconds + prediction.missing):
            print_error(f"{name}: {prediction.missing:.1f} s of it could not be decoded")
        if figure and not prediction.silent:
            try:
                style.save(draw(prediction, ensemble, path, colour), figure)
            except (InputError, OSError) as error:
                found = getattr(error, "strerror", None) or error
                failed = print_error(f"{name}: no figure in {arguments.plot}: {found}")
    return failed


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The genre of audio files, by the promoted model.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="audio: MP3, WAV, FLAC, Ogg, M4A, …")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw each file's votes over time there, as SVG")
    parser.add_argument("--model", type=Path, default=PROMOTED, metavar="FOLDER", help="such as models/cnn")
    return parser.parse_args()


def load(folder: Path) -> Ensemble:
    """Raise InputError if the folder is not a trained model's, or is not there yet."""
    if not folder.exists():
        raise InputError(f"{folder}: expected a trained model, found none: `make repro` trains and promotes one")
    return Ensemble(folder)


def described(settings: Settings) -> str:
    """Which model it is, and what it was trained on; params.yaml may have changed since."""
    if settings.store.synthetic:
        return f"the model {settings.key} was trained on the synthetic demo and knows nothing of music"
    return f"the model {settings.key} was trained on {style.label(settings.store.dataset)}"


def print_error(message: str) -> int:
    """Print an error for one file; return the exit code."""
    print(f"predict: {printable(message)}", file=sys.stderr)
    return 1


def likeliest(prediction: FilePrediction, classes: tuple[str, ...]) -> dict[str, float]:
    """The three likeliest genres and their probabilities, means over the file's segments; none if it is silent."""
    if prediction.silent:
        return {}
    means = prediction.shares
    return {classes[place]: float(means[place]) for place in np.argsort(-means, kind="stable")[:TOP]}


def as_row(name: str, genres: dict[str, float], name_width: int, genre_width: int) -> str:
    cells = [f"{printable(genre):<{genre_width}} {100 * share:5.1f} %" for genre, share in genres.items()]
    return "   ".join([f"{name:<{name_width}}", *(cells or ["silence"])])


def as_json(path: Path, prediction: FilePrediction, genres: dict[str, float]) -> str:
    shares = {genre: round(share, 6) for genre, share in genres.items()}
    seconds, silent = round(prediction.seconds, 3), prediction.silent
    return json.dumps({"file": str(path), "seconds": seconds, "silent": silent, "genres": shares}, allow_nan=False)


def figure_paths(folder: Path | None, files: list[Path]) -> Iterator[Path | None]:
    """A path for each file's figure, with its name, and a number where another file has that name."""
    taken = {path.resolve() for path in files}
    for path in files:
        if not folder:
            yield None
            continue
        names = (folder / f"{path.name}{f'-{number}' if number else ''}.svg" for number in count())
        figure = next(name for name in names if name.resolve() not in taken)
        taken.add(figure.resolve())
        yield figure


def draw(prediction: FilePrediction, ensemble: Ensemble, path: Path, colour: str) -> style.Figure:
    genre = next(iter(likeliest(prediction, ensemble.classes)))
    title = f"{printable(path.name)}: {style.label(genre)}"
    clip = Clip(title, prediction.picture, prediction.starts, prediction.probabilities, prediction.seconds)
    caption = f"Votes of the segments (the darker, the surer), by {ensemble.settings.key}"
    return votes([clip], ensemble.classes, ensemble.frequencies, colour, caption)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a word
    with in_one_line("predict"):
        sys.exit(main())
