"""Model card: what a model was trained on, how good it is, what it reads, what it cannot do, and where it comes from.

The card is the README.md in the folder of the promoted model, where the Hugging Face hub looks for it. Programs read
settings.json instead, so a model works without its card. The card cannot name the commit of its model, which is made
afterwards. It has the hash of metrics/comparison.json instead, which that commit records in dvc.lock.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import pandas as pd

from fma_genre import store
from fma_genre.common import documents, schema
from fma_genre.common.errors import InputError
from fma_genre.common.params import Count, Train
from fma_genre.common.schema import Name, Range, Rest
from fma_genre.results.markdown import code, name, table
from fma_genre.store import Description

T = TypeVar("T")

FILE = "README.md"
MODEL = "this model"  # name of a row
SPLITS = ("training", "validation", "test")
METRICS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}  # names, by key
Share = Annotated[float, Range(0, 1)]

METADATA = """\
---
pipeline_tag: audio-classification
tags:
- music
- genre
---"""
DEMO = "**This model was trained on a synthetic demo. It knows nothing about music, and its scores say nothing.**"
USE = """\
In a checkout of fma-genre, where FOLDER is the folder of this file:

```bash
python src/predict.py --model FOLDER song.mp3
```"""
ORIGIN = """\
In a checkout of fma-genre, the first commit that this command lists has these scores, and the code and the parameters
that the model was trained with:

```bash
git log --all --reverse --oneline -m -S {} -- dvc.lock
```"""
DEMO_LICENCE = "The clips of the demo are synthesised without recordings, under CC0 1.0."
MUSIC_LICENCES = (
    "The clips that the model was trained on keep their own licences. In the Free Music Archive, each artist chose the"
    " licence of a clip (column `track/license` of tracks.csv); many of these licences exclude commercial use. The"
    " archive's metadata are under CC BY 4.0. Find out whether these licences restrict your use of the model."
)


@dataclass(frozen=True)
class Model:
    """Facts about a trained model in its settings.json."""

    key: Name
    train: Train
    store: Description
    others: Rest


@dataclass(frozen=True)
class Scores:
    """Scores of a system in metrics/comparison.json, with the bounds of their intervals."""

    accuracy: Share
    accuracy_low: Share
    accuracy_high: Share
    precision: Share
    precision_low: Share
    precision_high: Share
    recall: Share
    recall_low: Share
    recall_high: Share
    f1: Share
    f1_low: Share
    f1_high: Share
    validation_accuracy: Share
    others: Rest
    calibration_error: Share | None = None


@dataclass(frozen=True)
class Comparison:
    """Facts about the test tracks and all systems in metrics/comparison.json."""

    dataset: str
    n_test: Count
    n_artists: Count
    confidence: Share
    systems: Mapping[str, Any]
    ensembles: Mapping[str, Any]
    others: Rest

    def scores(self, group: str, key: str) -> Scores:
        """Scores of one of the `systems` or `ensembles`; raise InputError for the first missing or invalid one."""
        return schema.read(Scores, getattr(self, group).get(key), f"{group}.{key}")


def from_files(folder: Path, index: Path, comparison: Path) -> str:
    """Return the card of the model in `folder`, in Markdown.

    Args:
        folder: folder of the model.
        index: path of data/index.csv (see `fma_genre.store`).
        comparison: path of metrics/comparison.json.

    Raises:
        InputError: a file is damaged, or the files are of different data sets.
        FileNotFoundError: a file does not exist.
    """
    settings = folder / "settings.json"
    model, compared = _read(Model, settings), _read(Comparison, comparison)
    tracks = store.used(store.read_index(index))
    _check_same(settings, "the data set", model.store.dataset, compared.dataset, comparison)
    _check_same(settings, "the genres", list(model.store.classes), sorted(tracks["genre"].unique()), index)
    try:
        return model_card(model, tracks, compared, hashlib.md5(documents.read_bytes(comparison)).hexdigest())
    except InputError as error:
        raise InputError(f"{comparison}: {error}") from None


def _read(kind: type[T], path: Path) -> T:
    values = documents.read_json(path)
    try:
        return schema.read(kind, values, "")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _check_same(settings: Path, what: str, found: object, expected: object, source: Path) -> None:
    """Raise InputError if the model was trained on something else than what `source` describes."""
    if found != expected:
        expected_text = f"{what} {schema.abbreviated(expected)} as in {source}"
        raise InputError(f"{settings}: expected {expected_text}, found {schema.abbreviated(found)}: run `dvc repro`")


def model_card(model: Model, tracks: pd.DataFrame, comparison: Comparison, md5: str) -> str:
    """Return the card in Markdown.

    Args:
        tracks: rows of the used tracks in the index (see `fma_genre.store`).
        md5: hash of the comparison's file, as in dvc.lock.

    Raises:
        InputError: the comparison lacks scores of the model.
    """
    synthetic, scores = model.store.synthetic, _scores(model, comparison)
    paragraphs = [
        METADATA,
        f"# {code(model.key)}, a model of music genre",
        *([DEMO] if synthetic else []),
        _summary(model),
        "## Use",
        USE,
        "## Data",
        *_data(model.store, tracks),
        "## Scores",
        table([["", *METRICS.values(), "validation accuracy"], *([row, *_cells(scores[row])] for row in scores)]),
        _legend(comparison),
        "## Input",
        _input(model),
        "## Origin",
        ORIGIN.format(md5),
        "## Licences",
        "The code of fma-genre is under the MIT licence.",
        DEMO_LICENCE if synthetic else MUSIC_LICENCES,
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(model.store, tracks, scores[MODEL])),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _summary(model: Model) -> str:
    runs = model.train.runs
    if runs == 1:
        return "The model predicts the genre of a recording with a single network."
    return (
        f"The model predicts the genre of a recording. It is an ensemble of {runs} networks that differ only in their"
        " random seed: its probabilities are the mean of theirs."
    )


def _data(description: Description, tracks: pd.DataFrame) -> list[str]:
    """Describe the data set, and count the tracks and artists of each split."""
    synthetic = ", a synthetic demo" if description.synthetic else ""
    genres = [[name(genre), *_counts(tracks[tracks["genre"] == genre])] for genre in description.classes]
    artists = tracks.drop_duplicates(["artist_id", "split"])
    shared = int(artists["artist_id"].duplicated().sum())
    return [
        f"The data set is {code(description.dataset)}{synthetic}. Each track has one genre. The model was trained only"
        " on the training tracks.",
        table([["tracks", *SPLITS], *genres, ["all", *_counts(tracks)], ["artists", *_counts(artists)]]),
        f"Artists with tracks in more than one split: {shared or 'none'}.",
    ]


def _counts(rows: pd.DataFrame) -> list[str]:
    return [str((rows["split"] == split).sum()) for split in SPLITS]


def _scores(model: Model, comparison: Comparison) -> dict[str, Scores]:
    """Scores of the model and of its networks, and of a trivial system to compare with, by name of the row."""
    majority = {"always the most frequent genre": comparison.scores("systems", "majority")}
    networks = comparison.scores("systems", model.key)
    if model.train.runs == 1:
        return {MODEL: networks, **majority}
    ensemble = comparison.scores("ensembles", f"{model.key}_ensemble")
    return {MODEL: ensemble, "one network, on average": networks, **majority}


def _legend(comparison: Comparison) -> str:
    return (
        f"The scores are in %, on {comparison.n_test} test tracks by {comparison.n_artists} artists. In brackets:"
        f" {100 * comparison.confidence:g} % intervals from a bootstrap over artists and, for the average of networks,"
        " over runs. Precision, recall and F1 are macro averages."
    )


def _cells(scores: Scores) -> list[str]:
    intervals = [[getattr(scores, f"{metric}{bound}") for bound in ("", "_low", "_high")] for metric in METRICS]
    cells = [f"{_percent(value)} [{_percent(low)}, {_percent(high)}]" for value, low, high in intervals]
    return [*cells, _percent(scores.validation_accuracy)]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _input(model: Model) -> str:
    description = model.store
    segment = model.train.segment_frames * description.hop / description.sample_rate
    return (
        "The model reads audio of any length, sample rate and number of channels. It mixes the channels, and resamples"
        f" to {description.sample_rate:,} Hz, so nothing above {description.sample_rate / 2000:g} kHz is used. It reads"
        f" windows of {description.seconds:g} s, and classifies segments of {segment:.2f} s of the representation"
        f" {code(description.representation)}. The prediction is the mean over all segments. settings.json has all"
        " settings."
    )


def _limits(description: Description, tracks: pd.DataFrame, scores: Scores) -> Iterator[str]:
    test = tracks["genre"][tracks["split"] == "test"].value_counts()
    fewest = min(int(test.get(genre, 0)) for genre in description.classes)
    yield "Each recording gets one of these genres, even if none fits. Only silence gets none."
    yield f"The scores of single genres are uncertain: the rarest genre has {fewest} test tracks."
    yield "The genres are those of this data set. Others draw the lines between genres differently."
    yield f"The test clips last up to {description.seconds:g} s. Scores on whole songs were not measured."
    yield "Recordings unlike the test clips, such as those with a narrower band, may have more errors."
    if scores.calibration_error is not None:
        points = f"{_percent(scores.calibration_error)} points"
        yield f"A probability is not the chance to be right: on the test tracks, they differ by {points} on average."
