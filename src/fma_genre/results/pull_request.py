"""Effect of a branch on the results, as Markdown for its pull request: metrics, the stages that changed, figures.

Names and values come from anybody's branch. They are shown as code (`_code`), in which Markdown, HTML and mentions mean
nothing. Only PyYAML is needed, since the report is made where nothing but that and DVC is installed.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fma_genre.common import schema
from fma_genre.common.errors import printable
from fma_genre.common.params import DEMO
from fma_genre.common.urls import masked

MARK = "<!-- metric differences -->"  # identifies the comment that a later push updates
METRICS = ("accuracy", "precision", "recall", "f1")  # that the table shows
LONGEST_PATH = 1000  # characters
MOST_CAUSES = 4  # named for a stage
REFERENCE = re.compile(r"\$\{([\w.-]+)\}")  # in dvc.yaml, to a parameter

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """Committed results of a revision."""

    metrics: Mapping[str, Values]  # the contents of metrics/<name>.json
    stages: Mapping[str, Values]  # the records of dvc.lock (`stage_records`) whose stages dvc.yaml has


def report(
    base: Results, here: Results, *, name: str, stale: Sequence[str], figures: Mapping[str, str], synthetic: bool
) -> str:
    """Markdown.

    Args:
        name: of the revision that `base` is.
        stale: stages that have not run since their code, parameters or inputs changed.
        figures: addresses of those that changed, by their titles.
        synthetic: whether the results here were measured on the built-in demo.
    """
    parts = [_heading(name)]
    if stale:
        parts.append(
            f"**dvc.lock is out of date**: `dvc repro` would run {_list(stale)}, and the stages that depend on them."
            " Run it, and commit dvc.lock, metrics and plots: the figures below are older than the branch."
        )
    if synthetic:
        parts.append("The data are a synthetic demo: its numbers say nothing about music.")
    parts += [*_metrics(base, here, name), _stages(causes(base.stages, here.stages)), *_figures(figures)]
    return "\n\n".join(parts) + "\n"


def failure(name: str, reason: str) -> str:
    """The report when there is nothing to compare, as Markdown; `name` is that of the base."""
    return f"{_heading(name)}\n\n**They cannot be compared**: {_code(reason, 500)}\n"


def _heading(name: str) -> str:
    return f"{MARK}\n\n### Results compared with {_code(name)}"


# Metrics. ---------------------------------------------------------------------------------------------------------


def _metrics(base: Results, here: Results, name: str) -> Iterator[str]:
    """A table of the metrics that changed; metrics of other data are named instead of subtracted."""
    other_tracks = _tracks(base.stages) != _tracks(here.stages)
    apart: dict[tuple[str, str], list[str]] = defaultdict(list)
    rows: list[str] = []
    for file in sorted({*base.metrics, *here.metrics}, key=_file_order):
        before, after = base.metrics.get(file, {}), here.metrics.get(file, {})
        if before and after and (other_tracks or _data(before) != _data(after)):
            apart[_data(before), _data(after)].append(file)
        else:
            rows += _rows(file, dict(_compared(before)), dict(_compared(after)))

    for (data_before, data_after), files in apart.items():
        yield f"**Not subtracted**: {_list(files)} were measured on {_difference(data_before, data_after, name)}."
    if rows:
        head = f"| | metric | {_code(name)}, % | this branch, % | change |"
        yield "\n".join([head, "|---|---|--:|--:|--:|", *rows])
    elif not apart:
        yield "No metric has changed."


def _file_order(file: str) -> tuple[bool, bool, str]:
    """The promoted model first, then the systems, the comparison last."""
    return file != "promoted", file == "comparison", file


def _difference(before: str, after: str, name: str) -> str:
    if before == after:
        return f"{_code(before)} in both, but from other archives or tracks"
    return f"{_code(before)} in {_code(name)}, and on {_code(after)} in this branch"


def _rows(file: str, base: Mapping[str, float], here: Mapping[str, float]) -> Iterator[str]:
    for metric in {**base, **here}:
        before, after = base.get(metric), here.get(metric)
        if before != after:
            change = f"{100 * (after - before):+.2f}" if before is not None and after is not None else ""
            cells = f"{_percent(before)} | {_percent(after)} | {change}".replace("-", "−")
            yield f"| {_code(file)} | {_text(metric)} | {cells} |"


def _compared(values: Values, prefix: str = "") -> Iterator[tuple[str, float]]:
    """The four metrics of a file; in comparison.json, those of differences, since the others stand in other files."""
    for key, value in values.items():
        if key in METRICS and isinstance(value, int | float):
            yield f"{prefix}{key.replace('f1', 'F1')}", float(value)
        elif isinstance(value, Mapping) and "_minus_" in key:
            yield from _compared(value, f"{key.replace('_minus_', ' less ')}, ")


def _data(values: Values) -> str:
    return f"{values.get('dataset')} ({values.get('n_test')} test tracks)"


def _tracks(stages: Mapping[str, Values]) -> list[Any]:
    """Hashes of the archives' receipt and of the table of tracks."""
    return [out.get("md5") for stage in ("download", "split") for out in stages.get(stage, {}).get("outs", [])]


def is_synthetic(results: Results, parameters: Values) -> bool:
    """Whether metrics were measured on the built-in demo.

    They name their data set. dvc.lock says what that name stood for when stages ran, which counts, and params.yaml what
    it stands for today.
    """
    sets = dict(_group(parameters.get("datasets")))
    for record in results.stages.values():
        for group in record.get("params", {}).values():
            sets |= {name.removeprefix("datasets."): group[name] for name in group if str(name).startswith("datasets.")}
    names = {str(values.get("dataset")) for values in results.metrics.values()}
    return any(_group(_group(sets.get(name)).get("audio")).get("url") == DEMO for name in names)


def _group(value: Any) -> Values:
    """`value` if it is a group of named values, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


# Stages. ----------------------------------------------------------------------------------------------------------


def stage_names(pipeline: Values, parameters: Values, where: str = "dvc.yaml") -> set[str]:
    """The stages that dvc.yaml has; a `foreach` over a group of params.yaml gives one for each of its keys.

    Raises InputError, which begins with `where`, if they are no group.
    """
    names: set[str] = set()
    for name, stage in schema.as_group(pipeline.get("stages") or {}, f"{where}: stages").items():
        if isinstance(stage, Mapping) and "foreach" in stage:
            names |= {f"{name}@{key}" for key in _items(stage["foreach"], parameters)}
        else:
            names.add(name)
    return names


def _items(loop: Any, parameters: Any) -> list[Any]:
    """Keys of the group, or items of the list, that a `foreach` runs over."""
    reference = REFERENCE.fullmatch(loop) if isinstance(loop, str) else None
    if reference:
        loop = parameters
        for key in reference[1].split("."):
            loop = loop.get(key) if isinstance(loop, Mapping) else None
    return list(loop) if isinstance(loop, Mapping | list) else []


def stage_records(lock: Values, where: str = "dvc.lock") -> dict[str, Values]:
    """The records in dvc.lock by the names of their stages, each with its lists `deps` and `outs`.

    Raises InputError, which begins with `where`, for one that DVC does not write.
    """
    stages = schema.as_group(lock.get("stages") or {}, f"{where}: stages")
    return {name: _record(value, f"{where}: stages.{str(name)[: schema.LONGEST]}") for name, value in stages.items()}


def _record(value: Any, where: str) -> Values:
    record = schema.as_group(value, where)
    for group in schema.as_group(record.get("params", {}), f"{where}.params").values():
        schema.as_group(group, f"{where}.params")
    return {**record, **{key: _files(record.get(key, []), f"{where}.{key}") for key in ("deps", "outs")}}


def _files(value: Any, where: str) -> list[Values]:
    """Records of files."""
    if not isinstance(value, list):
        raise schema.wrong(where, "a list of files", value)
    for entry in value:
        path = schema.as_group(entry, where).get("path")
        if not isinstance(path, str) or "\0" in path or len(path) > LONGEST_PATH:
            raise schema.wrong(where, "files with a path", entry)
    return value


def causes(base: Mapping[str, Values], here: Mapping[str, Values]) -> dict[str, list[str]]:
    """Reasons, as Markdown, for each stage whose record in dvc.lock changed."""
    return {
        stage: list(_causes(base.get(stage, {}), here.get(stage, {})))
        for stage in {**here, **base}
        if base.get(stage) != here.get(stage)
    }


def _causes(base: Values, here: Values) -> Iterator[str]:
    if not base or not here:
        yield "is new" if here else "is gone"
        return
    before, after = _parameters(base), _parameters(here)
    for key in {**before, **after}:
        if before.get(key) != after.get(key):
            old, new = (masked(str(values.get(key, "none"))) for values in (before, after))
            yield f"{_code(key)} {_code(old)} → {_code(new)}"

    inputs_before, inputs_after = _inputs(base), _inputs(here)
    for path in {**inputs_before, **inputs_after}:
        if inputs_before.get(path) != inputs_after.get(path):
            yield _code(path)

    if base.get("cmd") != here.get("cmd"):
        yield f"its command, now {_code(here.get('cmd'))}"


def _inputs(stage: Values) -> dict[str, Values]:
    """Records of a stage's dependencies by their paths."""
    return {entry["path"]: entry for entry in stage["deps"]}


def _parameters(stage: Values) -> dict[str, Any]:
    """Single parameters that a stage depends on, by their dotted names."""
    found: dict[str, Any] = {}
    for file in stage.get("params", {}).values():
        for name, group in file.items():
            found |= dict(_leaves(name, group))
    return found


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}", item)
    else:
        yield name, value


def _stages(found: Mapping[str, Sequence[str]]) -> str:
    if not found:
        return "No stage has run."
    rows = [f"| {_code(stage)} | {_reasons(reasons)} |" for stage, reasons in found.items()]
    return "\n".join(["| stage that has run | because of |", "|---|---|", *rows])


def _reasons(reasons: Sequence[str]) -> str:
    named = ", ".join(reasons[:MOST_CAUSES]) or "its outputs"
    return f"{named} and others" if len(reasons) > MOST_CAUSES else named


# Figures and text. ------------------------------------------------------------------------------------------------


def _figures(addresses: Mapping[str, str]) -> Iterator[str]:
    shown = [f"[![{title}]({address})]({address})" for title, address in addresses.items()]
    if shown:
        yield f"Figures that changed:\n\n{shown[0]}"
    if shown[1:]:
        yield "\n\n".join(["<details><summary>More</summary>", *shown[1:], "</details>"])


def _list(names: Sequence[str]) -> str:
    return ", ".join(_code(name) for name in names)


def _text(value: str) -> str:
    """A metric's name: letters and punctuation of a sentence, anything else as code."""
    return value if re.fullmatch(r"[\w ,-]+", value) else _code(value)


def _code(value: object, length: int = 100) -> str:
    """Format as code, in which Markdown, HTML and mentions of people mean nothing."""
    return "`" + printable(str(value)[:length]).replace("`", "'").replace("|", "/") + "`"
