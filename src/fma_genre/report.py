"""The comparison in plain words: which model is better on this data, by how much, and whether the data can tell."""

from collections.abc import Mapping
from typing import Any

from fma_genre.comparison import Interval, Pair

MAJORITY = "largest genre"  # the row of a classifier that always names the largest genre of the training tracks
BASELINE = "SVM on MFCC"  # the row of the FMA paper's best baseline
REFERENCES = (MAJORITY, BASELINE)  # names that no model can have: they hold a space
COLUMNS = ("accuracy", "precision", "recall", "f1", "segment_accuracy", "ensemble_accuracy")


def report(
    facts: Mapping[str, Any],
    results: Mapping[str, Mapping[str, Any]],
    pairs: Mapping[tuple[str, str], Pair],
    against: Mapping[str, Pair],
    confidence: float,
    synthetic: bool,
) -> str:
    """Markdown.

    Args:
        facts: dataset, n_test, n_artists.
        results: the contents of metrics/<model>.json, and accuracy, precision, recall and f1 of `REFERENCES`.
        pairs: by the names of the two models.
        against: each model beside the baseline, by its name.
        confidence: of the intervals.
        synthetic: whether the data are the built-in demo.
    """
    models = [name for name in results if name not in REFERENCES]
    parts = [f"# {' and '.join(models)} on {facts['dataset']}"]
    if synthetic:
        parts.append("**The data are a synthetic demo: these numbers say nothing about music.**")
    parts += [_table(results), _legend(facts)]
    parts += [_paragraph(*names, pair, confidence) for names, pair in pairs.items()]
    parts += [_inputs({model: results[model]["representation"] for model in models})]
    parts += [_beside_baseline(against, confidence)]
    return "\n\n".join(parts) + "\n"


def verdict(first: str, second: str, pair: Pair) -> str:
    """One sentence: which of the two is more accurate, by how much, and whether the data can tell."""
    difference = pair.differences["accuracy"]
    better, worse = (second, first) if difference.value >= 0 else (first, second)
    points = f"{abs(100 * difference.value):.1f} points"
    if difference.excludes_zero:
        return f"{better} is better than {worse} by {points} of accuracy"
    if difference.value == 0:
        return f"{first} and {second} are equally accurate, and the data cannot tell them apart"
    return f"{better} is ahead of {worse} by {points} of accuracy, but the data cannot tell them apart"


def _table(results: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [["system, %", *(name.replace("_", " ").replace("f1", "F1") for name in COLUMNS)]]
    for name, result in sorted(results.items(), key=lambda item: item[0] not in REFERENCES):
        cells = {key: f"{100 * result[key]:.1f}" for key in COLUMNS if key in result}
        if "accuracy_std" in result:
            cells["accuracy"] += f" ± {100 * result['accuracy_std']:.1f}"
        rows.append([name, *(cells.get(key, "") for key in COLUMNS)])
        if "svm_accuracy" in result:
            rows.append([f"{name}, SVM head", f"{100 * result['svm_accuracy']:.1f}", *[""] * (len(COLUMNS) - 1)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _legend(facts: Mapping[str, Any]) -> str:
    return (
        f"{facts['n_test']} test tracks by {facts['n_artists']} artists. Precision, recall and F1 are macro averages."
        " All but the last column are means over single runs (± standard deviation);"
        " an ensemble averages the softmax of a model's runs."
    )


def _paragraph(first: str, second: str, pair: Pair, confidence: float) -> str:
    test = pair.mcnemar
    return (
        f"**{verdict(first, second, pair)}.** Ensembles, {second} − {first}:"
        f" accuracy {_points(pair.differences['accuracy'])}, F1 {_points(pair.differences['f1'])}"
        f" ({100 * confidence:g} % intervals, artists resampled)."
        f" Only {first} is right on {test.only_first} tracks, only {second} on {test.only_second}"
        f" (exact McNemar p = {test.p:.2g}, which takes tracks as independent)."
    )


def _beside_baseline(against: Mapping[str, Pair], confidence: float) -> str:
    lines = [
        f"- {verdict(BASELINE, model, pair)}: {model} − SVM {_points(pair.differences['accuracy'])},"
        f" McNemar p = {pair.mcnemar.p:.2g}."
        for model, pair in against.items()
    ]
    about = (
        f"{BASELINE} is the FMA paper's best baseline, an RBF kernel on statistics of MFCC, spectral contrast and"
        f" spectral centroid, on the same tracks. Ensembles beside it ({100 * confidence:g} % intervals as above):"
    )
    return "\n".join([about, "", *lines])


def _points(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}] points"


def _inputs(representations: Mapping[str, str]) -> str:
    if len(set(representations.values())) == 1:
        return f"All models read the same input, {next(iter(representations.values()))}: architectures are compared."
    read = ", ".join(f"{model} reads {representation}" for model, representation in representations.items())
    return f"{read}: input and architecture differ, so what is compared are systems, not architectures."
