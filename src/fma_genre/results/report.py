"""Text of report.md: the results of the comparison, and which differences the data support."""

from collections.abc import Iterable, Sequence

from fma_genre import store
from fma_genre.common.errors import printable
from fma_genre.results.bootstrap import Interval
from fma_genre.results.comparison import Comparison, Difference
from fma_genre.results.factorial import Effect, Factorial
from fma_genre.results.markdown import name, table
from fma_genre.results.remarks import remarks
from fma_genre.results.result import Result
from fma_genre.results.stacked_svm import C
from fma_genre.results.subgenres import MIN_TRACKS

MACRO = ("precision", "recall", "f1")
MAX_REASONS = 5  # maximum number of named reasons why tracks are left out
MAX_SUB_GENRES = 20  # maximum number of rows in the table of sub-genres
SPACE = "\N{NO-BREAK SPACE}"  # keeps a cell of a table on one line


def report(comparison: Comparison) -> str:
    """Return the content of report.md."""
    models = [model.key for model in comparison.models]
    paragraphs = [f"# {_enumerate(models)} on {comparison.dataset}"]
    if comparison.synthetic:
        paragraphs.append("**The data set is a synthetic demo, so these numbers say nothing about music.**")
    paragraphs += [f"**{headline(comparison)}.**", _scores(comparison), _legend(comparison), _tracks(comparison)]
    if comparison.differences:
        paragraphs += [f"## Differences from {comparison.reference.key}", *_differences(comparison)]
    if comparison.factorial:
        paragraphs += ["## Architecture or input", *_factorial(comparison.factorial, comparison)]
    elif len(models) > 1:
        paragraphs.append(_inputs(comparison.models))
    if comparison.ensembles:
        paragraphs += ["## Ensembles", *_ensembles(comparison)]
    if comparison.sub_genres:
        paragraphs += ["## Sub-genres", *_sub_genres(comparison)]
    paragraphs += ["## Probabilities", *_probabilities(comparison)]
    return "\n\n".join(paragraphs) + "\n"


def headline(comparison: Comparison) -> str:
    """State the main result of the comparison in one line, without a full stop."""
    data = "synthetic demo" if comparison.synthetic else comparison.dataset
    if single := _single(comparison.models):
        data += " (single runs)" if len(single) == len(comparison.models) else f" (single runs of {_enumerate(single)})"
    reference = comparison.reference
    accuracy = reference.intervals["accuracy"]
    clauses = [f"{data}: {reference.key} reaches {_percent(accuracy.value)} % {_range(accuracy)}"]
    own = {result.key for result in comparison.systems}
    found = [difference for difference in comparison.differences if difference.key in own]
    for word in ("better", "worse"):
        keys = [difference.key for difference in found if verdict(difference, comparison) == word]
        if keys:
            clauses.append(f"{_enumerate(keys)} {'are' if len(keys) > 1 else 'is'} {word}")
    equal = [difference.key for difference in found if not _is_clear(difference, comparison)]
    if equal:
        clauses.append(f"the data cannot tell {_enumerate(equal)} apart from it")
    return "; ".join(clauses)


def verdict(difference: Difference, comparison: Comparison) -> str:
    """State whether a system is better or worse than the reference, in one to three words."""
    if not _is_clear(difference, comparison):
        return "cannot tell"
    return "better" if difference.intervals["accuracy"].value > 0 else "worse"


def _is_clear(difference: Difference, comparison: Comparison) -> bool:
    return comparison.is_significant(difference.p_holm)


# Scores. ----------------------------------------------------------------------------------------------------------


def _scores(comparison: Comparison) -> str:
    head = [
        "system",
        "runs",
        "accuracy",
        _interval_name(comparison),
        *(["any genre"] if comparison.any_genre else []),
        "precision",
        "recall",
        "F1",
        "validation accuracy",
    ]
    majority, *others = comparison.rows
    rows = [majority, *([comparison.conditions] if comparison.conditions else []), *others]
    return table([head, *(_score_cells(row, comparison) for row in rows)])


def _score_cells(row: Result, comparison: Comparison) -> list[str]:
    interval = row.intervals["accuracy"]
    macro = [_percent(row.intervals[metric].value) for metric in MACRO]
    runs = f"{SPACE}×{SPACE}".join(str(number) for _, number in row.system.run_sources)
    any_genre = [_percent(comparison.any_genre[row.key])] if comparison.any_genre else []
    validation = _summary_percent(row, "validation_accuracy")
    return [row.key, runs, _mean(row), _range(interval), *any_genre, *macro, validation]


def _mean(row: Result) -> str:
    """Accuracy in %, with its standard deviation over the runs if it has one."""
    value = _percent(row.intervals["accuracy"].value)
    return value if row.deviation is None else f"{value}{SPACE}±{SPACE}{_percent(row.deviation)}"


def _legend(comparison: Comparison) -> str:
    single = _single(comparison.models)
    several = any(row.runs > 1 for row in comparison.systems)
    spread = " (± standard deviation)" if several else ""
    sentences = [
        f"The scores are in %, measured on {len(comparison.tracks)} test tracks by {comparison.artists} artists.",
        "Precision, recall and F1 are macro averages.",
        f"Each score is the mean over the single runs{spread}.",
        f"Its interval is from a bootstrap over artists{' and runs' if several else ''}.",
    ]
    if comparison.any_genre:
        sentences.append(
            "Some test tracks have several of these genres. In the column any genre, a prediction is right if it is any"
            " of them."
        )
    if single:
        has = "have" if len(single) > 1 else "has"
        sentences.append(
            f"{_enumerate(single)} {has} a single run, so the intervals do not include the randomness of training, and"
            " the verdicts are about this run, not about the recipe."
        )
    if any(row.key.endswith("_svm_head") for row in comparison.rows):
        sentences.append("An SVM head is a linear SVM that replaces the last layer of a network.")
    if comparison.members:
        sentences.append(
            f"The system fusion averages the probabilities of {_enumerate(comparison.members)}; its runs are all"
            " combinations of their runs. A run of it has several networks, so compare it with ensembles, too."
        )
    if comparison.stacked:
        sentences.append(
            f"The system stacking is a linear SVM (C = {C:g}) on the probabilities of {_enumerate(comparison.stacked)};"
            " its runs are all combinations of their runs. It is fitted to the validation tracks and their genres, so"
            " its validation accuracy is out of fold: the SVM that predicts an artist is fitted only to others. Compare"
            " it with ensembles, too."
        )
    sentences.append("The system majority predicts the most frequent training genre for every track.")
    if comparison.conditions:
        sentences.append(
            "The row conditions is no system of the comparison: an SVM that knows only the sample rate, channels, bit"
            " rate, bandwidth, loudness and length of a clip, and hears no music. The more of the genres it finds, the"
            " more the recording conditions reveal, and a model may use them. Bandwidth, loudness and a variable bit"
            " rate also depend on the music."
        )
    return " ".join(sentences)


def _single(models: Sequence[Result]) -> list[str]:
    """Keys of the models that have a single run."""
    return [model.key for model in models if model.runs == 1]


def _tracks(comparison: Comparison) -> str:
    """Count the tracks that are used or left out, and the clips that are short, cut, incomplete or duplicates."""
    index = comparison.index
    used = store.used(index)
    splits = used["split"].value_counts()
    counts = _enumerate(f"{splits[split]} {split}" for split in ("training", "validation", "test") if split in splits)
    sentences = [f"{len(used)} of {len(index)} tracks are used: {counts} tracks."]

    reasons = index["left_out"][index["frames"] == 0].value_counts(sort=True)
    named = [f"{count} × {printable(str(reason)).rstrip('.')}" for reason, count in reasons.head(MAX_REASONS).items()]
    if named:
        rest = ["more for other reasons"] if len(reasons) > MAX_REASONS else []
        sentences.append(f"Tracks left out, by reason: {', '.join([*named, *rest])}.")
    lengths = {model.facts["segment_frames"] for model in comparison.models}
    segment = "a segment" if len(lengths) == 1 else "the longest segment"
    short = int((used["frames"] < max(lengths)).sum())
    if short:
        sentences.append(
            f"Clips shorter than {segment} ({max(lengths)} frames), which are repeated to fill it: {short}."
        )
    if used["cut"].any():
        sentences.append(f"Clips cut to the length of the stored spectrograms: {used['cut'].sum()}.")
    return " ".join([*sentences, *remarks(index)])


# Differences. -----------------------------------------------------------------------------------------------------


def _differences(comparison: Comparison) -> list[str]:
    return [_difference_table(comparison.differences, comparison), _resolution(comparison)]


def _difference_table(differences: Sequence[Difference], comparison: Comparison) -> str:
    interval = _interval_name(comparison)
    rows = [
        [
            difference.key,
            _signed(difference.intervals["accuracy"].value),
            _signed_range(difference.intervals["accuracy"]),
            _signed(difference.intervals["f1"].value),
            _signed_range(difference.intervals["f1"]),
            f"{difference.p_holm:.2g}",
            _percent(difference.resolution),
            verdict(difference, comparison).replace(" ", SPACE),
        ]
        for difference in differences
    ]
    return table([["system", "accuracy", interval, "F1", interval, "p", "resolution", "verdict"], *rows])


def _resolution(comparison: Comparison) -> str:
    return (
        "Differences are in points. The p-values of the accuracy differences are corrected by Holm's method for the"
        " number of rows; the intervals are not. **Differences under the resolution are invisible here:** with"
        f" {len(comparison.tracks)} test tracks by {comparison.artists} artists, a true difference of that size would"
        " be missed half of the time."
    )


def _ensembles(comparison: Comparison) -> list[str]:
    introduction = (
        "An ensemble averages the probabilities of all runs of a system. Ensembles are compared only with each other."
    )
    head = ["system", "accuracy", _interval_name(comparison), "F1", "validation accuracy"]
    rows = [
        [
            row.key,
            _percent(row.intervals["accuracy"].value),
            _range(row.intervals["accuracy"]),
            _percent(row.intervals["f1"].value),
            _summary_percent(row, "validation_accuracy"),
        ]
        for row in comparison.ensembles
    ]
    paragraphs = [introduction, table([head, *rows])]
    if comparison.reference_ensemble and comparison.ensemble_differences:
        reference = comparison.reference_ensemble.key
        own = f"{comparison.reference.key}_ensemble"
        reason = "" if reference == own else f" (the first ensemble, since {comparison.reference.key} has none)"
        paragraphs += [
            f"Differences from {reference}{reason}:",
            _difference_table(comparison.ensemble_differences, comparison),
            _mcnemar(comparison, reference),
        ]
    return paragraphs


def _mcnemar(comparison: Comparison, reference: str) -> str:
    tests = [
        f"{key} {'p < 0.001' if test.p < 0.001 else f'p = {test.p:.2g}'} ({test.only_first}, {test.only_second})"
        for key, test in comparison.mcnemar.items()
    ]
    return (
        "Footnote: McNemar's exact test, which takes tracks as independent (in brackets: number of tracks on which only"
        f" {reference} is correct, and number on which only the other is): {'; '.join(tests)}."
    )


# Architecture and input. ------------------------------------------------------------------------------------------


def _factorial(factorial: Factorial, comparison: Comparison) -> list[str]:
    head = ["accuracy", *factorial.representations]
    rows = [
        [network, *(_with_interval(factorial.cells[network, name]) for name in factorial.representations)]
        for network in factorial.networks
    ]
    effects = [
        [
            effect.name,
            f"{_signed(effect.interval.value)} {_signed_range(effect.interval)}",
            f"{effect.p:.2g}",
            _percent(effect.resolution),
        ]
        for effect in factorial.effects
    ]
    effect_head = ["effect", f"points, {_interval_name(comparison)}", "p", "resolution"]
    legend = (
        "The interaction is the effect of the input on the second network minus that on the first. The p-values are"
        " corrected by Holm's method for the three effects. The networks may also differ in their training, such as in"
        " the number of epochs (see params.yaml)."
    )
    return [table([head, *rows]), table([effect_head, *effects]), _factorial_verdict(factorial, comparison), legend]


def _with_interval(result: Result) -> str:
    interval = result.intervals["accuracy"]
    return f"{result.key}: {_percent(interval.value)} {_range(interval)}"


def _factorial_verdict(factorial: Factorial, comparison: Comparison) -> str:
    """State which of architecture and input matters."""

    def matters(effect: Effect) -> bool:
        return comparison.is_significant(effect.p)

    effects = {"architecture": factorial.architecture, "input": factorial.input}
    clear = [name for name, effect in effects.items() if matters(effect)]
    unclear = [name for name, effect in effects.items() if not matters(effect)]
    sentences = []
    if clear:
        sentences.append(f"The {_enumerate(clear)} {'matter' if len(clear) > 1 else 'matters'}.")
    if unclear:
        sentences.append(f"The data do not show an effect of the {' or of the '.join(unclear)}.")
    if matters(factorial.interaction):
        sentences.append("The effect of the input depends on the architecture.")
    single = _single(list(factorial.cells.values()))
    return " ".join([*sentences, *([f"This is about single runs of {_enumerate(single)}."] if single else [])])


def _inputs(models: Sequence[Result]) -> str:
    """State whether the models differ in their input, their network, both or neither."""
    facts = [model.facts for model in models]
    representations = list(dict.fromkeys(fact["representation"] for fact in facts))
    networks = list(dict.fromkeys(fact["network"] for fact in facts))
    inputs = ", ".join(f"{model.key} reads {model.facts['representation']}" for model in models)
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


# Sub-genres. ------------------------------------------------------------------------------------------------------


def _sub_genres(comparison: Comparison) -> list[str]:
    found = comparison.sub_genres
    head = ["sub-genre", "genre", "tracks", "artists", "recall", _interval_name(comparison), "recall of the genre"]
    rows = [
        [
            name(row.name),
            name(row.genre),
            str(row.tracks),
            str(row.artists),
            _percent(row.recall.value),
            _range(row.recall),
            _percent(row.genre_recall),
        ]
        for row in found[:MAX_SUB_GENRES]
    ]
    counted = f"the {MAX_SUB_GENRES} largest of {len(found)}" if len(found) > MAX_SUB_GENRES else "all"
    legend = (
        f"The recall is the share of a sub-genre's test tracks that {comparison.reference.key} assigns to their genre,"
        f" in %. The table has {counted} sub-genres with at least {MIN_TRACKS} test tracks; a track may have several."
        " The intervals take the tracks of an artist as one, and do not include the randomness of training. With many"
        " rows, some intervals miss the recall of the genre by chance."
    )
    return [table([head, *rows]), legend]


# Probabilities. ---------------------------------------------------------------------------------------------------


def _probabilities(comparison: Comparison) -> list[str]:
    rows = [
        [
            row.key,
            _percent(row.probability_scores["top2_accuracy"]),
            f"{row.probability_scores['log_loss']:.2f}",
            _percent(row.probability_scores["calibration_error"]),
            _summary_percent(row, "segment_accuracy"),
        ]
        for row in [*comparison.rows, *comparison.ensembles]
        if row.probability_scores
    ]
    legend = (
        "The log loss is in nats. The calibration error is the mean difference between the probability of the predicted"
        " genre and the accuracy, in 15 bins. The segment accuracy counts segments instead of tracks."
    )
    return [table([["system", "top-2 accuracy", "log loss", "calibration error", "segment accuracy"], *rows]), legend]


# Tables and text. -------------------------------------------------------------------------------------------------


def _interval_name(comparison: Comparison) -> str:
    return f"{100 * comparison.confidence:g} % interval"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _summary_percent(row: Result, name: str) -> str:
    return _percent(row.summary[name]) if name in row.summary else ""


def _signed(share: float) -> str:
    return f"{100 * share:+z.1f}"


def _range(interval: Interval) -> str:
    return f"[{_percent(interval.low)}, {_percent(interval.high)}]"


def _signed_range(interval: Interval) -> str:
    return f"[{_signed(interval.low)}, {_signed(interval.high)}]"


def _enumerate(names: Iterable[str]) -> str:
    """Join one or more names, as in "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
