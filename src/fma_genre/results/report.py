"""Text of report.md: the results of the comparison, and which differences the data support."""

from collections.abc import Sequence

from fma_genre import store
from fma_genre.common.errors import printable
from fma_genre.results.comparison import Comparison, Interval, Pair, Result
from fma_genre.results.remarks import remarks

COLUMNS = ("accuracy", "precision", "recall", "f1", "segment_accuracy", "ensemble_accuracy")
MAX_REASONS = 5  # maximum number of named reasons why tracks are left out


def report(comparison: Comparison) -> str:
    """Return the content of report.md."""
    models = [model.key for model in comparison.models]
    paragraphs = [f"# {_enumerate(models)} on {comparison.dataset}"]
    if comparison.synthetic:
        paragraphs.append("**The data set is a synthetic demo, so these numbers say nothing about music.**")
    paragraphs += [_table(comparison.rows), _legend(comparison), _tracks(comparison)]
    paragraphs += [_pair(pair, comparison.confidence) for pair in comparison.model_pairs]
    if len(models) > 1:
        paragraphs.append(_inputs(comparison.models))
    if comparison.baselines:
        paragraphs.append(_baselines(comparison))
    return "\n\n".join(paragraphs) + "\n"


def headline(comparison: Comparison) -> str:
    """State the main result of the comparison between the models in one sentence, without a full stop."""
    data = "synthetic demo" if comparison.synthetic else comparison.dataset
    if len(comparison.models) == 1:
        (model,) = comparison.models
        share = f"{100 * model.accuracy.value:.1f} %"
        return f"{data}: {model.key} predicts the genre of {share} of the test tracks correctly"
    if len(comparison.models) == 2:
        return f"{data}: {verdict(comparison.model_pairs[0])}"
    return f"{data}: {_leader(comparison)}"


def verdict(pair: Pair) -> str:
    """State which system is more accurate, by how much, and whether the interval of the difference excludes 0."""
    difference = pair.differences["accuracy"]
    better, worse = (pair.second, pair.first) if difference.value >= 0 else (pair.first, pair.second)
    points = f"{abs(100 * difference.value):.1f} points"
    if difference.excludes_zero:
        return f"{better} is better than {worse} by {points} of accuracy"
    if difference.value == 0:
        return f"{pair.first} and {pair.second} are equally accurate, and the data cannot tell them apart"
    return f"{better} is ahead of {worse} by {points} of accuracy, but the data cannot tell them apart"


def _leader(comparison: Comparison) -> str:
    """Name the most accurate of three or more models, and compare it with the others."""
    best = max(comparison.models, key=lambda model: model.accuracy.value)
    worse: list[str] = []
    equal: list[str] = []
    for pair in comparison.model_pairs:
        if best.key in (pair.first, pair.second):
            other = pair.first if pair.second == best.key else pair.second
            (worse if pair.differences["accuracy"].excludes_zero else equal).append(other)

    clauses = []
    if worse:
        clauses.append(f"it is better than {_enumerate(worse)}")
    if equal:
        clauses.append(f"the data cannot tell it apart from {_enumerate(equal)}")
    accuracy = f"{100 * best.accuracy.value:.1f} %"
    return f"{best.key} leads the models with {accuracy} accuracy; {', but '.join(clauses)}"


def _table(rows: Sequence[Result]) -> str:
    cells = [["system", *(name.replace("_", " ").replace("f1", "F1") for name in COLUMNS)]]
    for row in rows:
        cells.append([row.key, *(_cell(row, column) for column in COLUMNS)])
        if row.svm_head_accuracy is not None:
            cells.append([f"{row.key}, SVM head", f"{100 * row.svm_head_accuracy:.1f}", *[""] * (len(COLUMNS) - 1)])

    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, line, widths)) + " |" for line in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _cell(row: Result, column: str) -> str:
    if column not in row.summary:
        return ""
    value = f"{100 * row.summary[column]:.1f}"
    if column == "accuracy" and "accuracy_std" in row.summary:
        return f"{value} ± {100 * row.summary['accuracy_std']:.1f}"
    return value


def _legend(comparison: Comparison) -> str:
    has_heads = any(model.svm_head_accuracy is not None for model in comparison.models)
    head = " An SVM head is a linear SVM that replaces the last layer of a network." if has_heads else ""
    return (
        f"The scores are in %, measured on {len(comparison.tracks)} test tracks by {comparison.artists} artists."
        " Precision, recall and F1 are macro averages."
        " The segment accuracy counts segments instead of tracks."
        " The last column is for ensembles, which average the probabilities of a model's runs."
        f" The other columns are means over the single runs (± standard deviation).{head}"
        f" The system {comparison.majority.key} predicts the most frequent training genre for every track."
    )


def _tracks(comparison: Comparison) -> str:
    """Count the tracks that are used or left out, and the clips that are short, cut, incomplete or duplicates."""
    index = comparison.index
    used = store.used(index)
    splits = used["split"].value_counts()
    counts = _enumerate([f"{splits.get(split, 0)} {split}" for split in ("training", "validation", "test")])
    sentences = [f"{len(used)} of {len(index)} tracks are used: {counts} tracks."]

    reasons = index["left_out"][index["frames"] == 0].value_counts(sort=True)
    named = [f"{count} × {printable(str(reason)).rstrip('.')}" for reason, count in reasons.head(MAX_REASONS).items()]
    if named:
        rest = ["more for other reasons"] if len(reasons) > MAX_REASONS else []
        sentences.append(f"Tracks left out, by reason: {', '.join([*named, *rest])}.")
    segment = max(model.system.facts["segment_frames"] for model in comparison.models)
    short = int((used["frames"] < segment).sum())
    if short:
        sentences.append(f"Clips shorter than a segment ({segment} frames), which are repeated to fill it: {short}.")
    if used["cut"].any():
        sentences.append(f"Clips cut to the length of the stored spectrograms: {used['cut'].sum()}.")
    return " ".join([*sentences, *remarks(index)])


def _pair(pair: Pair, confidence: float) -> str:
    test = pair.mcnemar
    return (
        f"**{verdict(pair)}.** Difference between the ensembles, {pair.second} − {pair.first}:"
        f" accuracy {_points(pair.differences['accuracy'])}, F1 {_points(pair.differences['f1'])}"
        f" ({100 * confidence:g} % intervals from a bootstrap over artists)."
        f" Only {pair.first} is correct on {_count(test.only_first)}, only {pair.second} on {test.only_second}"
        f" (exact McNemar test: p = {test.p:.2g}, assuming independent tracks)."
    )


def _inputs(models: Sequence[Result]) -> str:
    """State whether the models differ in their input, their network, both or neither."""
    facts = [model.system.facts for model in models]
    representations = list(dict.fromkeys(fact["representation"] for fact in facts))
    networks = list(dict.fromkeys(fact["network"] for fact in facts))
    inputs = ", ".join(f"{model.key} reads {model.system.facts['representation']}" for model in models)
    if len(representations) == 1 and len(networks) == 1:
        common = f"use the network {networks[0]} and read {representations[0]}"
        return f"All models {common}, so this report compares settings."
    if len(representations) == 1:
        return f"All models read the same input, {representations[0]}, so this report compares architectures."
    if len(networks) == 1:
        return f"All models use the network {networks[0]}, so this report compares inputs ({inputs})."
    who = "The" if len(models) == 2 else "Some"
    difference = f"{who} models differ in input and architecture ({inputs})"
    return f"{difference}, so this report compares systems, not architectures."


def _baselines(comparison: Comparison) -> str:
    lines = [
        f"- {verdict(pair)} ({pair.second} − {pair.first}: {_points(pair.differences['accuracy'])};"
        f" McNemar test: p = {pair.mcnemar.p:.2g})."
        for pair in comparison.baseline_pairs
    ]
    descriptions = [_description(baseline) for baseline in comparison.baselines]
    several = len(descriptions) > 1
    introduction = (
        f"{'Baselines' if several else 'Baseline'}: {', '.join(descriptions)}."
        f" Accuracy of the models' ensembles compared with the {'baselines' if several else 'baseline'}"
        f" ({100 * comparison.confidence:g} % intervals from a bootstrap over artists):"
    )
    return "\n".join([introduction, "", *lines])


def _description(baseline: Result) -> str:
    facts = baseline.system.facts
    return f"{baseline.key} ({facts['classifier']} on {facts['features']} features)"


def _points(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}] points"


def _count(tracks: int) -> str:
    return "1 track" if tracks == 1 else f"{tracks} tracks"


def _enumerate(names: Sequence[str]) -> str:
    """Join names, as in "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
