"""Predict the genre of audio files with the promoted model.

    python src/predict.py FILE… [--json] [--plot FOLDER] [--model FOLDER]

Prints one line for each file, with its three most probable genres, as soon as they are known. With --json, each line is
a JSON object:

    {"file": "a.mp3", "seconds": 30.0, "silent": false, "genres": {"Folk": 0.81, "Rock": 0.12, "Pop": 0.05}}

The first line on standard error names the model and its training data. A file of digital silence has no genre: its line
is `silence`, and its JSON object has `"silent": true` and no genres. For an unreadable file, a one-line error is
printed, and the exit code is 1. If more than a tenth of a file cannot be decoded, or if its band is narrower than that
of the training data, a warning is printed, and the exit code stays 0.

--plot draws the votes of each file's segments over time, except for silent files. A figure replaces an existing file of
the same name, but never a folder.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from fma_genre import Ensemble, InputError
from fma_genre.common import params
from fma_genre.common.errors import errors_in_one_line, printable
from fma_genre.learning.device import make_deterministic
from fma_genre.prediction import AudioFileError, FilePrediction
from fma_genre.results import style
from fma_genre.results.votes import Clip, votes

ROOT = Path(__file__).parents[1]
PROMOTED = ROOT / "models/promoted"
TOP_GENRES = 3  # number of genres printed
MAX_MISSING = 0.1  # largest share of a file that may be undecodable without a warning


def main() -> int:
    arguments = parse_arguments()
    make_deterministic(seed=0)
    model = Ensemble(arguments.model)
    colour = colour_of(model.settings.key) if arguments.plot else ""
    print(f"predict: {model.description}", file=sys.stderr)

    names = [printable(str(path)) for path in arguments.files]
    widths = (max(map(len, names)), max(len(printable(genre)) for genre in model.classes))
    failed = 0
    for name, path, figure in zip(names, arguments.files, figure_paths(arguments.plot, arguments.files), strict=True):
        try:
            prediction = model.predict_file(path)
        except AudioFileError as error:
            failed = print_error(str(error))
            continue
        except (RuntimeError, MemoryError) as error:  # a model may need more memory than is available
            reason = str(error).partition("\n")[0] or "not enough memory"
            failed = print_error(f"{name}: prediction with {arguments.model} failed: {reason[:200]}")
            continue

        print(as_json(path, prediction) if arguments.json else as_row(name, prediction, *widths), flush=True)
        if prediction.missing > MAX_MISSING * (prediction.seconds + prediction.missing):
            print_error(f"{name}: {prediction.missing:.1f} s could not be decoded")
        if model.is_narrow(prediction):
            print_error(f"{name}: {narrow_band(prediction, model)}")
        if figure and not prediction.silent:
            try:
                style.save(draw(prediction, model, path, colour), figure)
            except (InputError, OSError) as error:
                found = getattr(error, "strerror", None) or error
                failed = print_error(f"{name}: cannot write a figure to {arguments.plot}: {found}")
    return failed


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predict the genre of audio files with the promoted model.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="audio file: MP3, WAV, FLAC, Ogg, M4A, …")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw each file's votes over time into this folder")
    parser.add_argument("--model", type=Path, default=PROMOTED, metavar="FOLDER", help="another model, e.g. models/cnn")
    return parser.parse_args()


def print_error(message: str) -> int:
    """Print an error for one file; return the exit code."""
    print(f"predict: {printable(message)}", file=sys.stderr)
    return 1


def top(prediction: FilePrediction) -> dict[str, float]:
    """The most probable genres with their probabilities; empty if the file is silent."""
    return dict(islice(prediction.genres.items(), TOP_GENRES))


def as_row(name: str, prediction: FilePrediction, name_width: int, genre_width: int) -> str:
    cells = [f"{printable(genre):<{genre_width}} {100 * share:5.1f} %" for genre, share in top(prediction).items()]
    return "   ".join([f"{name:<{name_width}}", *(cells or ["silence"])])


def as_json(path: Path, prediction: FilePrediction) -> str:
    shares = {genre: round(share, 6) for genre, share in top(prediction).items()}
    seconds, silent = round(prediction.seconds, 3), prediction.silent
    return json.dumps({"file": str(path), "seconds": seconds, "silent": silent, "genres": shares}, allow_nan=False)


def narrow_band(prediction: FilePrediction, model: Ensemble) -> str:
    """Warning that a file's band is narrower than that of the training data."""
    found, expected = (f"{band / 1000:.1f} kHz" for band in (prediction.band, model.band))
    return f"no sound above {found}; the model was trained on sound up to {expected}, so errors are more likely"


def figure_paths(folder: Path | None, files: list[Path]) -> Iterator[Path | None]:
    """Yield a path for each file's figure, or None for each file if `folder` is None.

    A figure has the name of its file, with a number if that name is already taken.
    """
    taken = {path.resolve() for path in files}
    for path in files:
        if not folder:
            yield None
            continue
        names = (folder / f"{path.name}{f'-{number}' if number else ''}.svg" for number in count())
        figure = next(name for name in names if name.resolve() not in taken)
        taken.add(figure.resolve())
        yield figure


def colour_of(key: str) -> str:
    """The colour of a model in all figures; grey if params.yaml no longer has a model of this name."""
    return style.colours(params.load(ROOT / "params.yaml").models).get(key, style.GREY)


def draw(prediction: FilePrediction, model: Ensemble, path: Path, colour: str) -> style.Figure:
    genre = next(iter(prediction.genres))
    title = f"{printable(path.name)}: {style.label(genre)}"
    clip = Clip(title, prediction.picture, prediction.starts, prediction.probabilities, prediction.seconds)
    caption = f"Votes of the segments by {model.settings.key} (darker: more probable)"
    return votes([clip], model.classes, model.frequencies, colour, caption)


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # end silently if the reader of the output, e.g. `head`, ends
    with errors_in_one_line("predict"):
        sys.exit(main())
