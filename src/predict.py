"""The genre of audio files, by the promoted model: the three likeliest, with their probabilities.

    python src/predict.py FILE… [--json] [--plot FOLDER] [--model FOLDER]

A line a file, as soon as it is known; with --json an object a line. A file that cannot be read is a line on the
standard error, and the exit code is then 1. --plot draws each file's votes over time.
"""

import stage  # noqa: F401 – Ctrl-C ends it without a word

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from fma_genre import InputError, params, plotting, printable
from fma_genre.audio import UnreadableClipError
from fma_genre.device import make_deterministic
from fma_genre.ensemble import Ensemble, Heard

ROOT = Path(__file__).parents[1]
PROMOTED = ROOT / "models/promoted"
TOP = 3


def main() -> int:
    arguments = parse()
    make_deterministic(seed=0)
    try:
        ensemble = Ensemble(arguments.model)
        parameters = params.load(ROOT / "params.yaml")
        if arguments.model == PROMOTED and params.is_synthetic(parameters):
            print("predict: the model has learnt from the synthetic demo and knows nothing of music", file=sys.stderr)
    except InputError as error:
        sys.exit(f"predict: {error}")
    names = [printable(str(path)) for path in arguments.files]
    widths = (max(map(len, names)), max(len(printable(genre)) for genre in ensemble.settings.classes))
    pictures = pictures_of(arguments.plot, arguments.files)
    failed = 0
    for name, path, picture in zip(names, arguments.files, pictures, strict=True):
        try:
            heard = ensemble.hear(path)
        except (RuntimeError, MemoryError) as error:  # a model may ask for more memory than there is
            reason = str(error).partition("\n")[0] or "not enough memory"
            failed = complain(f"{name}: cannot be judged by {arguments.model}: {reason[:200]}")
            continue
        except (UnreadableClipError, OSError) as error:
            found = error.strerror if isinstance(error, OSError) else error
            failed = complain(f"{name}: expected audio, found: {found}")
            continue
        genres = likeliest(heard, ensemble.settings.classes)
        print(as_json(path, heard, genres) if arguments.json else as_row(name, genres, *widths), flush=True)
        if picture:
            colour = plotting.colours(parameters["models"]).get(ensemble.settings.model, plotting.GREY)
            title = f"{printable(path.name)}: {plotting.label(next(iter(genres)))}"
            try:
                draw(heard, ensemble, title, colour, picture)
            except OSError as error:
                failed = complain(f"{name}: no picture in {printable(str(arguments.plot))}: {error.strerror}")
    return failed


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The genre of audio files, by the promoted model.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="audio: MP3, WAV, FLAC, Ogg, …")
    parser.add_argument("--json", action="store_true", help="an object a line, for programs")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw each file's votes over time there, as SVG")
    parser.add_argument("--model", type=Path, default=PROMOTED, metavar="FOLDER", help="such as models/cnn")
    return parser.parse_args()


def complain(message: str) -> int:
    """Says what is wrong with one file, and gives the exit code of that."""
    print(f"predict: {message}", file=sys.stderr)
    return 1


def likeliest(heard: Heard, classes: list[str]) -> dict[str, float]:
    """The three likeliest genres and their probabilities, means over the file's segments."""
    means = heard.probabilities.mean(axis=0)
    return {classes[place]: float(means[place]) for place in np.argsort(-means, kind="stable")[:TOP]}


def as_row(name: str, genres: dict[str, float], name_width: int, genre_width: int) -> str:
    cells = [f"{printable(genre):<{genre_width}} {100 * share:5.1f} %" for genre, share in genres.items()]
    return "   ".join([f"{name:<{name_width}}", *cells])


def as_json(path: Path, heard: Heard, genres: dict[str, float]) -> str:
    shares = {genre: round(share, 6) for genre, share in genres.items()}
    return json.dumps({"file": str(path), "seconds": round(heard.seconds, 3), "genres": shares})


def pictures_of(folder: Path | None, files: list[Path]) -> Iterator[Path | None]:
    """For each file one of its name, numbered where that is taken by another."""
    taken: set[Path] = set()
    for path in files:
        if not folder:
            yield None
            continue
        names = (folder / f"{path.name}{f'-{number}' if number else ''}.svg" for number in count())
        picture = next(name for name in names if name not in taken)
        taken.add(picture)
        yield picture


def draw(heard: Heard, ensemble: Ensemble, title: str, colour: str, path: Path) -> None:
    votes = plotting.Votes(title, heard.picture, heard.starts, heard.probabilities, heard.seconds)
    figure = plotting.votes(
        [votes], ensemble.settings.classes, ensemble.frequencies, colour,
        f"How the segments vote (the darker, the surer), by {ensemble.settings.model}",
    )  # fmt: skip
    plotting.save(figure, path)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a word
    sys.exit(main())
