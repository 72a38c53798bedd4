"""Figures in plots/comparison: their headings, their order, and the numbers that they show."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from fma_genre.common.files import atomic
from fma_genre.results import charts, metrics
from fma_genre.results.comparison import Comparison, Result
from fma_genre.results.predictions import Example
from fma_genre.results.report import headline
from fma_genre.results.style import colours, label, save
from fma_genre.results.tables import genre_table
from fma_genre.results.votes import Clip, votes


def accuracy(comparison: Comparison) -> Figure:
    intervals = {result.key: result.accuracy for result in comparison.rows}
    runs = {model.key: model.run_scores["accuracy"].tolist() for model in comparison.models}
    return charts.accuracies(intervals, runs, headline(comparison))


def genres(comparison: Comparison) -> Figure:
    return charts.genre_scores({model.key: genre_table(model, comparison) for model in comparison.models})


def confusion(comparison: Comparison) -> Figure:
    order = [comparison.classes.index(genre) for genre in comparison.genres]
    matrices = {
        model.key: metrics.confusion(comparison.actual, model.labels, len(order))[np.ix_(order, order)]
        for model in comparison.models
    }
    return charts.confusions(matrices, comparison.genres)


def disagreement(comparison: Comparison) -> Figure:
    correct = {model.key: model.labels == comparison.actual for model in comparison.models}
    return charts.disagreements(correct, comparison.tracks["genre"], comparison.genres)


def curves(comparison: Comparison) -> Figure:
    tables = {model.key: model.system.curve for model in comparison.models}
    return charts.learning_curves({model: table for model, table in tables.items() if table is not None})


def votes_of(model: Result, comparison: Comparison) -> Figure:
    """Draw the segment predictions of a model for its example clips."""
    predictions = model.system.predictions
    assert predictions.frequencies is not None
    clips = [_clip(example, model, comparison) for example in predictions.examples]
    colour = colours(model.key for model in comparison.models)[model.key]
    title = f"{model.key}: segment predictions over time (darker: more probable)"
    return votes(clips, comparison.classes, predictions.frequencies, colour, title)


@dataclass(frozen=True)
class FigureType:
    """A figure that shows all models."""

    heading: str  # on the HTML page
    draw: Callable[[Comparison], Figure]
    min_models: int = 1


FIGURES = {
    "accuracy": FigureType("Accuracy on the test tracks", accuracy),
    "genres": FigureType("F1 of each genre", genres),
    "confusion": FigureType("Confusion matrices", confusion),
    "disagreement": FigureType("Agreement of the models", disagreement, min_models=2),
    "curves": FigureType("Learning curves", curves),
}
VOTES = "votes_{}"  # name of the figure with the votes of a model; the braces stand for the model


def headings(models: Iterable[str]) -> dict[str, str]:
    """Headings of all figures by file name without suffix, in the order of the HTML page."""
    shared = {name: figure.heading for name, figure in FIGURES.items()}
    return shared | {VOTES.format(model): f"Segment predictions of {model}" for model in models}


def write_figures(comparison: Comparison, folder: Path) -> None:
    """Draw all figures into `folder`; the same comparison gives the same bytes."""
    types = {name: figure for name, figure in FIGURES.items() if len(comparison.models) >= figure.min_models}
    drawn = {name: figure.draw(comparison) for name, figure in types.items()}
    for model in comparison.models:
        if model.system.predictions.examples:
            drawn[VOTES.format(model.key)] = votes_of(model, comparison)

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
