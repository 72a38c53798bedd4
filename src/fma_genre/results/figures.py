"""The figures of plots/comparison: titles, order, and what each shows of the comparison."""

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
    right = {model.key: model.labels == comparison.actual for model in comparison.models}
    return charts.disagreements(right, comparison.tracks["genre"], comparison.genres)


def curves(comparison: Comparison) -> Figure:
    tables = {model.key: model.system.curve for model in comparison.models}
    return charts.learning_curves({model: table for model, table in tables.items() if table is not None})


def votes_of(model: Result, comparison: Comparison) -> Figure:
    """How a model decides on its examples."""
    predictions = model.system.predictions
    assert predictions.frequencies is not None
    clips = [_clip(example, model, comparison) for example in predictions.examples]
    colour = colours(model.key for model in comparison.models)[model.key]
    title = f"{model.key}: how the segments of a clip vote (the darker, the surer)"
    return votes(clips, comparison.classes, predictions.frequencies, colour, title)


@dataclass(frozen=True)
class Entry:
    """A figure of the whole comparison."""

    title: str  # heading on the page
    draw: Callable[[Comparison], Figure]
    least_models: int = 1


FIGURES = {
    "accuracy": Entry("Accuracy on the test tracks", accuracy),
    "genres": Entry("F1 of each genre", genres),
    "confusion": Entry("Confusion matrices", confusion),
    "disagreement": Entry("Where the models disagree", disagreement, least_models=2),
    "curves": Entry("Learning curves", curves),
}
VOTES = "votes_{}"  # a figure a model


def titles(models: Iterable[str]) -> dict[str, str]:
    """Title of every figure, by the name of its file, in order."""
    return {name: entry.title for name, entry in FIGURES.items()} | {
        VOTES.format(model): f"{model} over time" for model in models
    }


def write_figures(comparison: Comparison, folder: Path) -> None:
    """Draw all figures into `folder`; the same comparison gives the same bytes."""
    entries = {name: entry for name, entry in FIGURES.items() if len(comparison.models) >= entry.least_models}
    drawn = {name: entry.draw(comparison) for name, entry in entries.items()}
    for model in comparison.models:
        if model.system.predictions.examples:
            drawn[VOTES.format(model.key)] = votes_of(model, comparison)

    with atomic(folder) as part:
        for name, figure in drawn.items():
            save(figure, part / f"{name}.svg")


def _clip(example: Example, model: Result, comparison: Comparison) -> Clip:
    """An example with the votes of the ensemble."""
    test, track = model.system.predictions.test, example.track
    assert test.probabilities is not None
    assert test.segment_probabilities is not None
    assert test.segment_tracks is not None
    assert test.segment_starts is not None

    probabilities = np.mean(test.probabilities, axis=0)[track]
    actual, named = comparison.classes[comparison.actual[track]], comparison.classes[probabilities.argmax()]
    clip, sureness = f"{label(actual)} {test.tracks[track]}", f"{100 * probabilities.max():.0f} %"
    title = f"{example.kind}: {clip}, named {label(named)} with {sureness}"

    segments = test.segment_tracks == track
    segment_probabilities = np.mean(test.segment_probabilities, axis=0)[segments]
    return Clip(title, example.picture, test.segment_starts[segments], segment_probabilities, example.seconds)
