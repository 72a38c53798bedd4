"""Report for a pull request, in Markdown: what the branch changes in the results.

The verdict on the promoted model comes first, then the changes of all systems, their reasons, and the figures. Names
and values may come from a stranger's branch. They are formatted as code (`_code`), in which Markdown, HTML and mentions
have no effect.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fma_genre.common.errors import printable
from fma_genre.common.params import DEMO
from fma_genre.common.urls import masked
from fma_genre.results import changes, lock
from fma_genre.results.bootstrap import Interval
from fma_genre.results.changes import CONFIDENCE, Change, Pair, Predictions
from fma_genre.results.lock import MISSING, Reason, Values
from fma_genre.results.markdown import code, table

MAX_NAMED = 8  # largest number of names in a list
MAX_TEXT_LENGTH = 40_000  # characters of report.md; a comment on GitHub has at most 65,536
METRICS = {"validation": "validation_accuracy", "test": "accuracy"}  # keys in metrics/<name>.json, by split
UNCLEAR = "does not change clearly"


@dataclass(frozen=True)
class Results:
    """Committed results of a revision."""

    metrics: Mapping[str, Values]  # contents of metrics/<name>.json, by name
    stages: Mapping[str, Values]  # records of the stages in dvc.lock, by name (see `lock.stage_records`)
    predictions: Mapping[str, Predictions] = field(default_factory=dict)  # by split
    packages: Mapping[str, str] = field(default_factory=dict)  # pinned version of each package

    @property
    def promoted(self) -> str | None:
        """Name of the promoted model."""
        value = lock.parameters_of(self.stages.get("promote", {})).get("model")
        return None if value is None else str(value)

    @property
    def systems(self) -> list[str]:
        """Names of the systems that predict tracks."""
        return list(dict.fromkeys(key for found in self.predictions.values() for key in found.runs))

    @property
    def data(self) -> str:
        """Data set and number of test tracks, as the metrics name them."""
        values = next(iter(self.metrics.values()), {})
        return f"{values.get('dataset')} ({values.get('n_test')} test tracks)"

    @property
    def data_hashes(self) -> list[Any]:
        """Hashes of data/archives.json and data/tracks.csv."""
        stages = [self.stages[name] for name in ("download", "split") if name in self.stages]
        return [lock.hashes(stage, "outs") for stage in stages]


class Comparison:
    """Changes that a branch makes to the results of its base."""

    def __init__(self, before: Results, after: Results) -> None:
        self.before, self.after = before, after
        self.stages = lock.changes(before.stages, after.stages)
        self.is_comparable = before.data_hashes == after.data_hashes and before.data == after.data
        self.splits = [split for split in changes.SPLITS if split in before.predictions and split in after.predictions]

    @property
    def common(self) -> list[str]:
        """Systems of both revisions."""
        return [key for key in self.after.systems if key in self.before.systems]

    @cached_property
    def changed(self) -> list[str]:
        """Systems of both revisions whose predictions differ."""
        old, new = self.before.predictions, self.after.predictions
        return [
            key for key in self.common if any(changes.changed(old[split], new[split], key) for split in self.splits)
        ]

    @cached_property
    def elsewhere(self) -> list[str]:
        """Systems whose predictions differ only because the branch ran on another machine."""
        stages = {key: lock.producer(f"data/predictions/{key}.npz", self.after.stages) for key in self.changed}
        return [key for key, stage in stages.items() if stage in self.stages and self.stages[stage].is_other_machine]

    @property
    def promoted(self) -> Pair | None:
        old, new = self.before.promoted, self.after.promoted
        return Pair(old, new) if old and new else None

    @property
    def replacement(self) -> Pair | None:
        """The promoted models if they differ."""
        pair = self.promoted
        return pair if pair and pair.before != pair.after else None

    @property
    def edited(self) -> list[Pair]:
        """Systems of both revisions that the branch edits."""
        return [Pair(key, key) for key in self.changed if key not in self.elsewhere]

    @property
    def pairs(self) -> list[Pair]:
        """Systems to subtract: the promoted models if they differ, then every system that the branch edits."""
        return [self.replacement, *self.edited] if self.replacement else self.edited

    @property
    def is_replaced_here(self) -> bool:
        """Whether the model that the branch promotes instead has new predictions, from the branch's machine."""
        pair = self.replacement
        return pair is not None and (pair.after not in self.before.systems or pair.after in self.changed)

    @property
    def from_branch(self) -> list[str]:
        """The former promoted model, if only the machine changed it and the new one is from the same machine."""
        pair = self.replacement
        return [pair.before] if pair and pair.before in self.elsewhere and self.is_replaced_here else []

    def is_known(self, pair: Pair) -> bool:
        """Whether both revisions have predictions of these systems."""
        return pair.before in self.before.systems and pair.after in self.after.systems

    @property
    def has_other_packages(self) -> bool:
        return self.before.packages != self.after.packages

    @property
    def same_networks(self) -> list[str]:
        """Models with the same weights in both revisions. The weights of baselines are not stored."""
        weights = {key: (_weights(self.before, key), _weights(self.after, key)) for key in self.common}
        return [key for key, (old, new) in weights.items() if old is not None and old == new]

    def changes(self, metric: str) -> dict[str, dict[Pair, Change]]:
        """Changes of a score, by split and pair.

        If the base ran on another machine, the former promoted model may have its predictions from the branch on both
        sides (see `from_branch`), so that the promoted models are compared on the same machine.
        """
        old, new = self.before.predictions, self.after.predictions
        return {
            split: changes.changes(
                old[split],
                new[split],
                self.pairs,
                metric,
                from_branch=self.from_branch,
                same_networks=self.same_networks,
            )
            for split in self.splits
        }


def _weights(results: Results, key: str) -> Any:
    """Hash of a model's folder; None for a baseline."""
    path = f"models/{key}"
    stage = lock.producer(path, results.stages)
    return lock.hashes(results.stages[stage], "outs")[path] if stage else None


def report(
    before: Results,
    after: Results,
    *,
    base: str,
    problems: Sequence[str] = (),
    n_behind: int = 0,
    figures: Mapping[str, str] | None = None,
    synthetic: bool = False,
    text: str = "",
) -> str:
    """Compare the results of a branch with those of its base.

    Args:
        before: results of the base.
        after: results of the branch.
        base: name of the base, e.g. main.
        problems: paragraphs in Markdown on the state of the branch.
        n_behind: number of commits of the base that the branch lacks.
        figures: addresses of the figures that changed, by title.
        synthetic: whether the results of the branch were measured on the built-in demo.
        text: the branch's report.md.

    Returns:
        Markdown
    """
    if not after.stages:  # nothing is known about this branch
        return "\n\n".join([_heading(base), *problems]) + "\n"
    comparison = Comparison(before, after)
    paragraphs = [
        _heading(base),
        *problems,
        *_behind(n_behind, base),
        *_systems(comparison, base, with_verdict=not problems),
    ]
    if synthetic:
        paragraphs.append("The data set is a synthetic demo, so these numbers say nothing about music.")
    paragraphs += [*_packages(before, after), *_stages(comparison.stages), *_figures(figures or {}), *_report(text)]
    return "\n\n".join(paragraphs) + "\n"


def failure(base: str, reason: str) -> str:
    """Report in Markdown why the branch cannot be compared with its base."""
    return f"{_heading(base)}\n\n**Comparison failed**: {_code(reason, 500)}\n"


def stale(stages: Sequence[str]) -> str:
    """Paragraph on stages that are out of date on the branch."""
    return (
        f"**dvc.lock is out of date**: `dvc repro` would run {_list(stages)}, and all dependent stages."
        " The results below are older than the current state of the branch."
        " Run `dvc repro`, and commit dvc.lock, metrics, plots and report.md."
    )


def missing_lock() -> str:
    """Paragraph on a branch without dvc.lock, of which nothing is known."""
    return "**dvc.lock is missing or empty**. Restore it with `git restore dvc.lock`, or run `dvc repro`."


def not_checked_out(paths: Sequence[str]) -> str:
    """Paragraph on outputs in this folder that belong to another revision."""
    return (
        f"**This folder has outputs of another revision**: {_list(paths)}."
        " Run `dvc checkout`, or `dvc repro` if the code or the parameters have changed."
    )


def _heading(base: str) -> str:
    return f"### Results compared with {_code(base)}"


def _behind(n_behind: int, base: str) -> Iterator[str]:
    """Yield a line on the commits of the base that the branch lacks."""
    if n_behind:
        commits, whose = ("commit", "its changes") if n_behind == 1 else ("commits", "their changes")
        name = _code(base)
        yield f"{name} has {n_behind} {commits} that this branch lacks; {whose} appear reversed. Merge {name} first."


# Systems. ---------------------------------------------------------------------------------------------------------


def _systems(comparison: Comparison, base: str, *, with_verdict: bool) -> Iterator[str]:
    """Yield the verdict, then the tables of all systems that changed."""
    before, after = comparison.before, comparison.after
    if not before.systems or not after.systems:
        where = "this branch" if before.systems else _code(base)
        yield f"**Nothing to compare**: {where} has no predictions of tracks."
    elif not comparison.is_comparable:
        yield f"**Not comparable**: {_data_difference(before, after, base)}, so nothing is subtracted."
        if with_verdict and comparison.promoted:
            yield f"{_promotion(comparison.promoted, _with_scores(comparison.promoted.after, after))}."
        yield from _others(comparison)
    else:
        found = comparison.changes("accuracy")
        if with_verdict:
            yield _verdict(comparison, found)
        yield from _missing(comparison, base)
        if comparison.pairs:
            yield _table(comparison, found)
            yield _legend(comparison)
            yield _folded("Macro F1", [_table(comparison, comparison.changes("f1"))])
        yield from _others(comparison)
        yield from _elsewhere(comparison, base)


def _missing(comparison: Comparison, base: str) -> Iterator[str]:
    """Yield a line on each split that cannot be compared."""
    for split in changes.SPLITS:
        sides = {_code(base): comparison.before, "this branch": comparison.after}
        if without := [name for name, side in sides.items() if split not in side.predictions]:
            yield f"The {split} tracks are not compared: there are no predictions for them in {' and '.join(without)}."


def _data_difference(before: Results, after: Results, base: str) -> str:
    if before.data == after.data:
        return f"the archives or the tracks of {_code(after.data)} differ from those in {_code(base)}"
    return f"{_code(base)} was measured on {_code(before.data)}, and this branch on {_code(after.data)}"


def _verdict(comparison: Comparison, found: Mapping[str, Mapping[Pair, Change]]) -> str:
    """The effect on the promoted model, in a sentence, and the systems whose accuracy changes clearly."""
    pair = comparison.promoted
    if pair is None:
        verdict = "**There is no promoted model to compare.**"
    else:
        changed = {split: values[pair] for split, values in found.items() if pair in values}
        opening = f"{_promotion(pair, _code(pair.after))}, and {_judgement(comparison, pair, changed)}"
        verdict = f"**{opening}.** {_sentence(changed)}".strip()
    clear = {
        split: [pair.after for pair, change in values.items() if change.is_clear and pair != comparison.promoted]
        for split, values in found.items()
    }
    named = [f"{_list(keys)} on the {split} tracks" for split, keys in clear.items() if keys]
    if named:
        return f"{verdict} Other clear changes: {', and '.join(named)}."
    others = [pair for pair in comparison.pairs if pair != comparison.promoted]
    return f"{verdict} No {'other ' if pair else ''}accuracy changes clearly." if others else verdict


def _promotion(pair: Pair, name: str) -> str:
    """State which model is promoted; `name` is the Markdown for its name."""
    if pair.before == pair.after:
        return f"The promoted model is still {name}"
    return f"The promoted model is {name} instead of {_code(pair.before)}"


def _judgement(comparison: Comparison, pair: Pair, changed: Mapping[str, Change]) -> str:
    """The change of the promoted model's accuracy, validation first; a clear change on the test tracks is added."""
    if pair.before == pair.after and pair.after in comparison.elsewhere:
        packages = " or the packages" if comparison.has_other_packages else ""
        return f"it differs only by the machine{packages} that trained it"
    if not changed:
        return "it predicts the same" if comparison.is_known(pair) else "their accuracies cannot be compared"
    (first, word), *others = [(split, _direction(change)) for split, change in changed.items()]
    clear = [(split, other) for split, other in others if other != UNCLEAR]
    also = [f", {'and' if other == word else 'but'} its {split} accuracy {other}" for split, other in clear]
    return "".join([f"its {first} accuracy {word}", *also])


def _direction(change: Change) -> str:
    if not change.is_clear:
        return UNCLEAR
    return "rises clearly" if change.interval.value > 0 else "falls clearly"


def _sentence(changed: Mapping[str, Change]) -> str:
    parts = [f"{_points(change.interval)} points on the {split} tracks" for split, change in changed.items()]
    return f"{', '.join(parts)}." if parts else ""


def _table(comparison: Comparison, found: Mapping[str, Mapping[Pair, Change]]) -> str:
    rows = [["system", *(title for split in found for title in (f"{split}, %", "change", "visible from"))]]
    for pair in comparison.pairs:
        none = "unchanged" if comparison.is_known(pair) else "not known"
        cells = [cell for values in found.values() for cell in _cells(values.get(pair), none)]
        rows.append([_name(pair, comparison.promoted), *cells])
    return table(rows)


def _name(pair: Pair, promoted: Pair | None) -> str:
    name = _code(pair.after) if pair.before == pair.after else f"{_code(pair.before)} → {_code(pair.after)}"
    return f"{name} (promoted)" if pair == promoted else name


def _cells(change: Change | None, none: str) -> list[str]:
    if change is None:
        return [none, "", ""]
    points = _points(change.interval)
    resolution = f"{100 * change.resolution:.1f}"  # 0.0 if no resample differs from the others
    return [
        f"{100 * change.before:.1f} → {100 * change.after:.1f}",
        f"**{points}**" if change.is_clear else points,
        "" if resolution == "0.0" else resolution,
    ]


def _points(interval: Interval) -> str:
    """A difference in points, with its interval."""
    value, low, high = (f"{100 * number:+z.1f}".replace("-", "−") for number in interval)
    return f"{value} [{low}, {high}]"


def _legend(comparison: Comparison) -> str:
    old, new = comparison.before.predictions, comparison.after.predictions
    counts = [f"{_count(old[split], new[split])} {split} tracks" for split in comparison.splits]
    other = " In report.md, the *resolution* of the difference between the two models is for another number of rows."
    other = other if any(pair.before != pair.after for pair in comparison.pairs) else ""
    return (
        f"Changes are in points, measured on the {' and the '.join(counts)} of both revisions, with"
        f" {100 * CONFIDENCE:g} % intervals over artists and runs. Clear changes are bold. A true change of the size in"
        " *visible from* is found half of the time, and a smaller one less often. Holm's method corrects both for the"
        f" number of rows, but not the intervals.{other} Choose by validation; test scores only confirm."
    )


def _count(before: Predictions, after: Predictions) -> int:
    return len(before.index.intersection(after.index))


def _others(comparison: Comparison) -> Iterator[str]:
    """Yield a line on the systems that are new, were removed or, on the same data, did not change."""
    before, after = comparison.before.systems, comparison.after.systems
    groups = {
        "New": [_with_scores(key, comparison.after) for key in after if key not in before],
        "Removed": [_code(key) for key in before if key not in after],
    }
    if comparison.is_comparable:
        groups["Unchanged"] = [_code(key) for key in comparison.common if key not in comparison.changed]
    lines = [f"{title}: {_some(names)}." for title, names in groups.items() if names]
    if lines:
        yield " ".join(lines)


def _with_scores(key: str, results: Results) -> str:
    scores = [f"{split} {score} %" for split in METRICS if (score := _score(results, key, split))]
    return f"{_code(key)} ({', '.join(scores)})" if scores else _code(key)


def _elsewhere(comparison: Comparison, base: str) -> Iterator[str]:
    """Yield what only another machine changed, without differences."""
    origins = [stage for stage, change in comparison.stages.items() if change.is_origin]
    if not origins:
        return
    yield (
        f"**Another machine**: {_list(origins)} had the same inputs as in {_code(base)}, but other outputs, which is"
        f" the effect of another machine{' or of the changed packages' if comparison.has_other_packages else ''}."
        f"{_consequence(comparison)} To compare on one machine, run both revisions there."
    )
    if comparison.elsewhere:
        rows = [
            [
                "same inputs, another machine",
                *(f"{split}, %: {side}" for split in METRICS for side in (_code(base), "this branch")),
            ]
        ]
        for key in comparison.elsewhere:
            sides = [_score(side, key, split) for split in METRICS for side in (comparison.before, comparison.after)]
            rows.append([_code(key), *sides])
        yield table(rows)


def _consequence(comparison: Comparison) -> str:
    """State which side of the changes above is from which machine; empty without changes."""
    former = comparison.from_branch
    own = f" For the promoted models, the accuracies of {_list(former)} above are from this branch." if former else ""
    mixed = ["the edited systems"] if comparison.edited else []
    mixed += ["the promoted models"] if comparison.is_replaced_here and not former else []
    return f"{own} The changes of {' and '.join(mixed)} contain this difference, too." if mixed else own


def _score(results: Results, key: str, split: str) -> str:
    """Accuracy of a system in percent; empty if it is unknown."""
    value = results.metrics.get(key, {}).get(METRICS[split])
    return f"{100 * value:.1f}" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def is_synthetic(results: Results, parameters: Values) -> bool:
    """Return whether metrics were measured on the built-in demo.

    Metrics contain the name of their data set. Its definition comes from dvc.lock, which records the parameters of the
    last run, or else from params.yaml.
    """
    datasets = dict(_mapping(parameters.get("datasets")))
    for record in results.stages.values():
        for group in record.get("params", {}).values():
            recorded = [name for name in group if str(name).startswith("datasets.")]
            datasets |= {name.removeprefix("datasets."): group[name] for name in recorded}
    names = {str(values.get("dataset")) for values in results.metrics.values()}
    return any(_mapping(_mapping(datasets.get(name)).get("audio")).get("url") == DEMO for name in names)


def _mapping(value: Any) -> Values:
    """Return `value` if it is a mapping, else an empty mapping."""
    return value if isinstance(value, Mapping) else {}


# Reasons. ---------------------------------------------------------------------------------------------------------


def _packages(before: Results, after: Results) -> Iterator[str]:
    """Yield a line on the pinned packages that changed."""
    old, new = before.packages, after.packages
    lines = [
        _reason(Reason(name, old.get(name, MISSING), new.get(name, MISSING)))
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    if lines:
        yield f"**Packages**: {_some(lines)}."


def _stages(changed: Mapping[str, lock.Change]) -> Iterator[str]:
    """Yield a table of the changed inputs and the stages that read them, and a line on the stages after these."""
    if not changed:
        yield "No stage has changed."
        return
    stages: dict[str, list[str]] = defaultdict(list)  # by their changed inputs
    for stage, change in changed.items():
        if change.reasons:
            stages[_some([_reason(reason) for reason in change.reasons])].append(stage)
    if stages:
        yield table(
            [["changed stages", "changed inputs"], *([_list(names), inputs] for inputs, names in stages.items())]
        )
    followers = [stage for stage, change in changed.items() if not change.reasons and change.upstream]
    if followers:
        yield f"Also changed, because they read changed outputs: {_list(followers)}."


def _reason(reason: Reason) -> str:
    """A changed input: a file, or a parameter with its values."""
    name = _code(reason.name) if reason.name else "stage"
    sides = (reason.before, reason.after)
    if sides == (MISSING, MISSING):
        return name
    if reason.before is MISSING:
        return f"{name}{_scalar(reason.after)} added"
    if reason.after is MISSING:
        return f"{name}{_scalar(reason.before)} removed"
    old, new = map(_value, sides)
    return f"{name} {old} → {new}"


def _scalar(value: Any) -> str:
    """A space and the value, unless it is a section, a stage's record or a list."""
    return "" if isinstance(value, Mapping | list) else f" {_value(value)}"


def _value(value: Any) -> str:
    return _code(masked(str(value)))


# Figures and text. ------------------------------------------------------------------------------------------------


def _figures(addresses: Mapping[str, str]) -> Iterator[str]:
    shown = [f"[![{_plain(title)}](<{address}>)](<{address}>)" for title, address in addresses.items()]
    if shown:
        yield f"Figures that changed:\n\n{shown[0]}"
    if shown[1:]:
        yield _folded("More figures", shown[1:])


def _report(text: str) -> Iterator[str]:
    """Yield the branch's report.md, folded, unless it is too long for a comment."""
    if len(text) > MAX_TEXT_LENGTH:
        yield f"report.md has {len(text):,} characters, which are too many to show here."
    elif text.strip():
        yield _folded("report.md of this branch", [text.strip()])


def _folded(summary: str, paragraphs: Sequence[str]) -> str:
    """Hide paragraphs until the reader clicks on their summary."""
    return "\n\n".join([f"<details><summary>{summary}</summary>", *paragraphs, "</details>"])


def _list(names: Sequence[str]) -> str:
    return _some([_code(name) for name in names])


def _some(texts: Sequence[str]) -> str:
    """Texts in a list, the first few if there are many."""
    rest = len(texts) - MAX_NAMED
    return ", ".join(texts) if rest <= 0 else f"{', '.join(texts[:MAX_NAMED])} and {rest} more"


def _plain(text: str) -> str:
    """Escape punctuation, so that Markdown shows the text as it is."""
    return re.sub(r"([^\w\s]|_)", r"\\\1", printable(text))


def _code(value: object, length: int = 100) -> str:
    return code(str(value)[:length])
