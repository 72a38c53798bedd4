"""Figures in plots/comparison: their headings, their order, and the numbers that they show."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fma_genre.common.files import atomic
from fma_genre.results import charts
from fma_genre.results.comparison import Comparison
from fma_genre.results.predictions import Example
from fma_genre.results.report import headline
from fma_genre.results.result import Result
from fma_genre.results.style import colours, label, save
from fma_genre.results.tables import genre_table
from fma_genre.results.votes import Clip, votes


def accuracy(comparison: Comparison) -> Figure:
    intervals = {result.key: result.intervals["accuracy"] for result in comparison.rows}
    runs = {result.key: result.run_scores["accuracy"].tolist() for result in comparison.rows}
    models = [model.key for model in comparison.models]
    return charts.accuracies(intervals, runs, models, headline(comparison), confidence=comparison.confidence)


def differences(comparison: Comparison) -> Figure:
    intervals = {found.key: found.intervals["accuracy"] for found in comparison.differences}
    models = [model.key for model in comparison.models]
    return charts.differences(intervals, models, comparison.reference.key, confidence=comparison.confidence)


def genres(comparison: Comparison) -> Figure:
    return charts.genre_scores({result.key: genre_table(result, comparison) for result in comparison.systems})


def agreement(comparison: Comparison) -> Figure:
    correct = {model.key: model.labels == comparison.actual for model in comparison.models}
    return charts.agreements(correct, comparison.tracks["genre"], comparison.genres)


def curves(comparison: Comparison) -> Figure:
    tables = {model.key: model.system.curve for model in comparison.models}
    runs = {model.key: model.runs for model in comparison.models}
    return charts.learning_curves({model: table for model, table in tables.items() if table is not None}, runs)


def confusion_of(model: Result, comparison: Comparison) -> Figure:
    """Draw the confusion matrix of a model, averaged over its runs."""
    order = [comparison.classes.index(genre) for genre in comparison.genres]
    matrix = model.matrices.mean(axis=0)[np.ix_(order, order)]
    accuracy = f"{100 * model.intervals['accuracy'].value:.1f}"
    title = f"{model.key}: {accuracy} % correct (cells: % of the actual genre)"
    return charts.confusion(matrix, comparison.genres, _colour(model, comparison), title)


def votes_of(model: Result, comparison: Comparison) -> Figure:
    """Draw the segment predictions of a model for its example clips, averaged over the runs."""
    predictions = model.system.predictions
    assert predictions.frequencies is not None
    clips = [_clip(example, model, comparison) for example in predictions.examples]
    title = f"{model.key}: segment predictions over time, averaged over the runs (darker: more probable)"
    return votes(clips, comparison.classes, predictions.frequencies, _colour(model, comparison), title)


def _colour(model: Result, comparison: Comparison) -> str:
    return colours(result.key for result in comparison.models)[model.key]


@dataclass(frozen=True)
class FigureType:
    """A figure of the whole comparison."""

    heading: str  # on the HTML page
    draw: Callable[[Comparison], Figure]
    min_models: int = 1
    min_differences: int = 0


FIGURES = {
    "accuracy": FigureType("Accuracy on the test tracks", accuracy),
    "differences": FigureType("Differences from the reference", differences, min_differences=1),
    "genres": FigureType("F1 of each genre", genres),
    "agreement": FigureType("Agreement of the models", agreement, min_models=2),
    "curves": FigureType("Learning curves", curves),
}
CONFUSION = "confusion_{}"  # file name; the braces stand for the model
MODEL_FIGURES = {  # headings of the figures of each model, by file name
    CONFUSION: "Confusion matrix of {}",
    "votes_{}": "Segment predictions of {}",
}


def headings(models: Iterable[str]) -> dict[str, str]:
    """Headings of all figures by file name without suffix, in the order of the HTML page."""
    models = list(models)
    shared = {name: figure.heading for name, figure in FIGURES.items()}
    of_models = {
        name.format(model): heading.format(model) for name, heading in MODEL_FIGURES.items() for model in models
    }
    return shared | of_models


def write_figures(comparison: Comparison, folder: Path) -> None:
    """Draw all figures into `folder`; the same comparison gives the same bytes."""
    types = {
        name: figure
        for name, figure in FIGURES.items()
        if len(comparison.models) >= figure.min_models and len(comparison.differences) >= figure.min_differences
    }
    drawn = {name: figure.draw(comparison) for name, figure in types.items()}
    for model in comparison.models:
        drawn[CONFUSION.format(model.key)] = confusion_of(model, comparison)
        if model.system.predictions.examples:
            drawn[f"votes_{model.key}"] = votes_of(model, comparison)

    with atomic(folder) as new_folder:
        for name, figure in drawn.items():
            save(figure, new_folder / f"{name}.svg")


def _clip(example: Example, model: Result, comparison: Comparison) -> Clip:
    """Combine an example clip with the ensemble's predictions for its segments."""
    test, track = model.system.predictions.test, example.track
    assert test.probabilities is not None
    assert test.segment_probabilities is not None
    assert test.segment_tracks is not None
    assert test.segment_starts is not None

    probabilities = np.mean(test.probabilities, axis=0)[track]
    actual = label(comparison.classes[comparison.actual[track]])
    predicted = label(comparison.classes[probabilities.argmax()])
    percent = f"{100 * probabilities.max():.0f}\N{NO-BREAK SPACE}%"
    title = f"{example.kind}: track {test.tracks[track]}, {actual}, predicted as {predicted} ({percent})"

    segments = test.segment_tracks == track
    segment_probabilities = np.mean(test.segment_probabilities, axis=0)[segments]
    return Clip(title, example.picture, test.segment_starts[segments], segment_probabilities, example.seconds)
