"""The comparison in plain words: which system is better on this data, by how much, and whether the data can tell."""

from collections.abc import Sequence

from fma_genre import store
from fma_genre.common.errors import printable
from fma_genre.results.comparison import Comparison, Interval, Pair, Result
from fma_genre.results.remarks import remarks

COLUMNS = ("accuracy", "precision", "recall", "f1", "segment_accuracy", "ensemble_accuracy")
MOST_REASONS = 5  # named reasons why tracks are left out


def report(comparison: Comparison) -> str:
    """Markdown."""
    models = [model.key for model in comparison.models]
    parts = [f"# {_enumerate(models)} on {comparison.dataset}"]
    if comparison.synthetic:
        parts.append("**The data are a synthetic demo: these numbers say nothing about music.**")
    parts += [_table(comparison.rows), _legend(comparison), _tracks(comparison)]
    parts += [_pair(pair, comparison.confidence) for pair in comparison.model_pairs]
    if len(models) > 1:
        parts.append(_inputs(comparison.models))
    if comparison.baselines:
        parts.append(_baselines(comparison))
    return "\n\n".join(parts) + "\n"


def headline(comparison: Comparison) -> str:
    """The finding about the models, as one sentence."""
    data = "synthetic demo" if comparison.synthetic else comparison.dataset
    if len(comparison.models) == 1:
        (model,) = comparison.models
        return f"{data}: {model.key} names the genre of {100 * model.accuracy.value:.1f} % of the tracks"
    if len(comparison.models) == 2:
        return f"{data}: {verdict(comparison.model_pairs[0])}"
    return f"{data}: {_leader(comparison)}"


def verdict(pair: Pair) -> str:
    """Which of the two is more accurate, by how much, and whether the data can tell, as one sentence."""
    difference = pair.differences["accuracy"]
    better, worse = (pair.second, pair.first) if difference.value >= 0 else (pair.first, pair.second)
    points = f"{abs(100 * difference.value):.1f} points"
    if difference.excludes_zero:
        return f"{better} is better than {worse} by {points} of accuracy"
    if difference.value == 0:
        return f"{pair.first} and {pair.second} are equally accurate, and the data cannot tell them apart"
    return f"{better} is ahead of {worse} by {points} of accuracy, but the data cannot tell them apart"


def _leader(comparison: Comparison) -> str:
    """The most accurate of the models, and those that it is better than."""
    best = max(comparison.models, key=lambda model: model.accuracy.value)
    beaten: list[str] = []
    equal: list[str] = []
    for pair in comparison.model_pairs:
        if best.key in (pair.first, pair.second):
            other = pair.first if pair.second == best.key else pair.second
            (beaten if pair.differences["accuracy"].excludes_zero else equal).append(other)

    parts = [f"{best.key} leads the models with {100 * best.accuracy.value:.1f} % accuracy"]
    if beaten:
        parts.append(f"it is better than {_enumerate(beaten)}")
    if equal:
        parts.append(f"the data cannot tell it apart from {_enumerate(equal)}")
    return "; ".join(parts)


def _table(rows: Sequence[Result]) -> str:
    cells = [["system, %", *(name.replace("_", " ").replace("f1", "F1") for name in COLUMNS)]]
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
    return (
        f"{len(comparison.tracks)} test tracks by {comparison.artists} artists."
        " Precision, recall and F1 are macro averages."
        " All but the last column are means over single runs (± standard deviation);"
        " an ensemble averages the softmax of a model's runs."
        f" The row {comparison.majority.key} gives every track the largest genre of the training tracks."
    )


def _tracks(comparison: Comparison) -> str:
    """Counts of the tracks that are used, left out (with the reasons), repeated, cut, incomplete and identical."""
    index = comparison.index
    used = store.used(index)
    splits = used["split"].value_counts()
    counts = ", ".join(f"{splits.get(split, 0)} {split}" for split in ("training", "validation", "test"))
    sentences = [f"{len(used)} of {len(index)} tracks are used: {counts}."]

    reasons = index["left_out"][index["frames"] == 0].value_counts(sort=True)
    named = [f"{count} × {printable(str(reason)).rstrip('.')}" for reason, count in reasons.head(MOST_REASONS).items()]
    if named:
        others = ["other reasons"] if len(reasons) > MOST_REASONS else []
        sentences.append(f"Left out: {', '.join([*named, *others])}.")
    segment = max(model.system.facts["segment_frames"] for model in comparison.models)
    short = int((used["frames"] < segment).sum())
    if short:
        sentences.append(f"Clips shorter than a segment of {segment} frames, repeated to fill it: {short}.")
    if used["cut"].any():
        sentences.append(f"Clips that go on after their stored spectrograms end: {used['cut'].sum()}.")
    return " ".join([*sentences, *remarks(index)])


def _pair(pair: Pair, confidence: float) -> str:
    test = pair.mcnemar
    return (
        f"**{verdict(pair)}.** Ensembles, {pair.second} − {pair.first}:"
        f" accuracy {_points(pair.differences['accuracy'])}, F1 {_points(pair.differences['f1'])}"
        f" ({100 * confidence:g} % intervals, artists resampled)."
        f" Only {pair.first} is right on {test.only_first} tracks, only {pair.second} on {test.only_second}"
        f" (exact McNemar p = {test.p:.2g}, which takes tracks as independent)."
    )


def _inputs(models: Sequence[Result]) -> str:
    """Whether the models differ in their input, their network, both or neither."""
    facts = [model.system.facts for model in models]
    representations = list(dict.fromkeys(fact["representation"] for fact in facts))
    networks = list(dict.fromkeys(fact["network"] for fact in facts))
    read = ", ".join(f"{model.key} reads {model.system.facts['representation']}" for model in models)
    if len(representations) == 1 and len(networks) == 1:
        return f"All models are a {networks[0]} that reads {representations[0]}: recipes are compared."
    if len(representations) == 1:
        return f"All models read the same input, {representations[0]}: architectures are compared."
    if len(networks) == 1:
        return f"{read}: all are a {networks[0]}, so inputs are compared."
    if len(models) == 2:
        return f"{read}: input and architecture differ, so what is compared are systems, not architectures."
    return f"{read}: where input and architecture both differ, what is compared are systems, not architectures."


def _baselines(comparison: Comparison) -> str:
    lines = [
        f"- {verdict(pair)}: {pair.second} − {pair.first} {_points(pair.differences['accuracy'])},"
        f" McNemar p = {pair.mcnemar.p:.2g}."
        for pair in comparison.baseline_pairs
    ]
    described = [_description(baseline) for baseline in comparison.baselines]
    about = (
        f"{'Baselines' if len(described) > 1 else 'Baseline'}: {', '.join(described)}."
        f" Ensembles compared with {'them' if len(described) > 1 else 'it'}"
        f" ({100 * comparison.confidence:g} % intervals, artists resampled):"
    )
    return "\n".join([about, "", *lines])


def _description(baseline: Result) -> str:
    facts = baseline.system.facts
    return f"{baseline.key} ({facts['classifier']} on {facts['features']} features)"


def _points(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}] points"


def _enumerate(names: Sequence[str]) -> str:
    """a, b and c"""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
