"""What a branch does to the results, in Markdown for its pull request: metrics, the stages that changed, pictures."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fma_genre import printable
from fma_genre.metrics import METRICS

MARK = "<!-- metric differences -->"  # by which a later push finds the comment to update
LAST = ("baseline", "comparison")  # below the models
FEW = 4  # causes named for a stage

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """What a revision has committed."""

    metrics: Mapping[str, Values]  # the contents of metrics/<name>.json
    stages: Mapping[str, Values]  # of dvc.lock


def report(
    base: Results, here: Results, *, name: str, stale: Sequence[str], pictures: Mapping[str, str], synthetic: bool
) -> str:
    """Markdown.

    Args:
        name: of the revision that `base` is.
        stale: stages that have not run since their code, parameters or inputs changed.
        pictures: addresses of those that changed, by their titles.
        synthetic: whether the data here are the built-in demo.
    """
    parts = [MARK, f"### Results, beside {_code(name)}"]
    if stale:
        parts.append(
            f"**dvc.lock is not fresh**: `dvc repro` would run {_list(stale)}, and what follows from them."
            " Run it, and commit dvc.lock, metrics and plots: the figures below are older than the branch."
        )
    if synthetic:
        parts.append("The data are a synthetic demo: its numbers say nothing about music.")
    parts += [*_metrics(base, here), _stages(causes(base.stages, here.stages)), *_pictures(pictures)]
    return "\n\n".join(parts) + "\n"


def failure(name: str, reason: str) -> str:
    """The report, in Markdown, when there is none; `name` is that of the base."""
    return f"{MARK}\n\n### Results, beside {_code(name)}\n\n**They cannot be compared**: {_code(reason, 500)}\n"


# Metrics. ---------------------------------------------------------------------------------------------------------


def _metrics(base: Results, here: Results) -> Iterator[str]:
    """A table of what changed; metrics of other data are named instead of subtracted."""
    other = _tracks(base.stages) != _tracks(here.stages)
    apart: dict[tuple[str, str], list[str]] = defaultdict(list)
    rows: list[str] = []
    names = sorted(
        {*base.metrics, *here.metrics} - {"dataset"}, key=lambda name: (name != "promoted", name in LAST, name)
    )
    for name in names:
        there, now = base.metrics.get(name, {}), here.metrics.get(name, {})
        if there and now and (other or _data(there) != _data(now)):
            apart[_data(there), _data(now)].append(name)
        else:
            rows += _rows(name, dict(_compared(there)), dict(_compared(now)))
    for (before, after), files in apart.items():
        found = f"{_code(before)} there, on {_code(after)} here"
        if before == after:
            found = f"{_code(before)} here as there, but its archives or tracks are others"
        yield f"**Not subtracted**: {_list(files)} were measured on {found}."
    if rows:
        yield "\n".join(["| | metric | there, % | here, % | change |", "|---|---|--:|--:|--:|", *rows])
    elif not apart:
        yield "No metric has changed."


def _rows(name: str, base: Mapping[str, float], here: Mapping[str, float]) -> Iterator[str]:
    for metric in {**base, **here}:
        there, now = base.get(metric), here.get(metric)
        if there != now:
            change = f"{100 * (now - there):+.2f}" if there is not None and now is not None else ""
            yield f"| {_code(name)} | {metric} | {_percent(there)} | {_percent(now)} | {change} |".replace("-", "−")


def _compared(values: Values, prefix: str = "") -> Iterator[tuple[str, float]]:
    """The four metrics, of comparison.json those of two models' difference: the rest of it stands in other files."""
    for key, value in values.items():
        if key in METRICS and isinstance(value, int | float) and math.isfinite(value):
            yield f"{prefix}{key.replace('f1', 'F1')}", value
        elif isinstance(value, Mapping) and "_minus_" in key:
            yield from _compared(value, f"{key.replace('_minus_', ' less ')}, ")


def _data(values: Values) -> str:
    return f"{values.get('dataset')} ({values.get('n_test')} test tracks)"


def _tracks(stages: Mapping[str, Values]) -> list[Any]:
    """Hashes of the archives' receipt and of the table of tracks."""
    return [out.get("md5") for stage in ("download", "split") for out in stages.get(stage, {}).get("outs", [])]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


# Stages. ----------------------------------------------------------------------------------------------------------


def causes(base: Mapping[str, Values], here: Mapping[str, Values]) -> dict[str, list[str]]:
    """What changed of each stage whose record in dvc.lock did; in the words of Markdown."""
    return {
        stage: list(_causes(base.get(stage, {}), here.get(stage, {})))
        for stage in {**here, **base}
        if base.get(stage) != here.get(stage)
    }


def _causes(base: Values, here: Values) -> Iterator[str]:
    if not base or not here:
        yield "is new" if here else "is gone"
        return
    there, now = _parameters(base), _parameters(here)
    for key in {**there, **now}:
        if there.get(key) != now.get(key):
            yield f"{_code(key)} {_code(there.get(key, 'none'))} → {_code(now.get(key, 'none'))}"
    before, after = ({entry["path"]: entry for entry in stage.get("deps", [])} for stage in (base, here))
    for path in {**before, **after}:
        if before.get(path) != after.get(path):
            yield _code(path)
    if base.get("cmd") != here.get("cmd"):
        yield f"its command, now {_code(here.get('cmd'))}"


def _parameters(stage: Values) -> dict[str, Any]:
    """Those that a stage depends on, one by one."""
    return {
        key: value
        for file in stage.get("params", {}).values()
        for name, group in file.items()
        for key, value in _leaves(name, group)
    }


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}", item)
    else:
        yield name, value


def _stages(found: Mapping[str, Sequence[str]]) -> str:
    if not found:
        return "No stage has run."
    rows = [
        f"| {_code(stage)} | {', '.join(reasons[:FEW]) or 'its outputs'}{' and others' if len(reasons) > FEW else ''} |"
        for stage, reasons in found.items()
    ]
    return "\n".join(["| stage that has run | because of |", "|---|---|", *rows])


# Pictures and text. -----------------------------------------------------------------------------------------------


def _pictures(addresses: Mapping[str, str]) -> Iterator[str]:
    shown = [f"[![{title}]({address})]({address})" for title, address in addresses.items()]
    if shown:
        yield f"Pictures that changed:\n\n{shown[0]}"
    if shown[1:]:
        yield "\n\n".join(["<details><summary>The others</summary>", *shown[1:], "</details>"])


def _list(names: Sequence[str]) -> str:
    return ", ".join(_code(name) for name in names)


def _code(value: object, length: int = 100) -> str:
    """As code, in which Markdown, HTML and mentions of people mean nothing."""
    return "`" + printable(str(value)[:length]).replace("`", "'").replace("|", "/") + "`"
