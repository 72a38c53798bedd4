"""Report for a pull request, in Markdown: the metrics, stages and figures that the branch changes.

Names and values may come from a stranger's branch. They are formatted as code (`_code`), in which Markdown, HTML and
mentions have no effect. This module and its imports need no packages besides PyYAML, since the workflow that
writes the report installs only DVC and PyYAML.
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

COMPARISON = "comparison"  # name of the file with the differences from the reference
MARK = "<!-- metric differences -->"  # identifies the comment, so that later pushes update it
METRICS = {  # names in the table, by key in metrics/<name>.json; validation first, as choices depend on it
    "validation_accuracy": "validation accuracy", "validation_f1": "validation F1",
    "accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1",
}  # fmt: skip
MAX_PATH_LENGTH = 1000  # characters
MAX_REASONS = 4  # per stage
REFERENCE = re.compile(r"\$\{([\w.-]+)\}")  # reference to a parameter in dvc.yaml

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """Committed results of a revision."""

    metrics: Mapping[str, Values]  # contents of metrics/<name>.json, by name
    stages: Mapping[str, Values]  # records of the stages in dvc.lock, by name (see `stage_records`)


def report(
    before: Results, after: Results, *, base: str, stale: Sequence[str], figures: Mapping[str, str], synthetic: bool
) -> str:
    """Compare the results of a branch with those of its base.

    Args:
        before: results of the base.
        after: results of the branch.
        base: name of the base, e.g. main.
        stale: stages that are out of date on the branch.
        figures: addresses of the figures that changed, by title.
        synthetic: whether the results of the branch were measured on the built-in demo.

    Returns:
        Markdown
    """
    paragraphs = [_heading(base)]
    if stale:
        paragraphs.append(
            f"**dvc.lock is out of date**: `dvc repro` would run {_list(stale)}, and all dependent stages."
            " The results below are older than the current state of the branch."
            " Run `dvc repro`, and commit dvc.lock, metrics, plots and report.md."
        )
    if synthetic:
        paragraphs.append("The data set is a synthetic demo, so these numbers say nothing about music.")
    paragraphs += [*_metrics(before, after, base), _stages(causes(before.stages, after.stages)), *_figures(figures)]
    return "\n\n".join(paragraphs) + "\n"


def failure(base: str, reason: str) -> str:
    """Report in Markdown why the branch cannot be compared with its base."""
    return f"{_heading(base)}\n\n**Comparison failed**: {_code(reason, 500)}\n"


def _heading(base: str) -> str:
    return f"{MARK}\n\n### Results compared with {_code(base)}"


# Metrics. ---------------------------------------------------------------------------------------------------------


def _metrics(before: Results, after: Results, base: str) -> Iterator[str]:
    """Yield sentences about metrics that were measured on different data, then tables of changed metrics."""
    other_tracks = _tracks(before.stages) != _tracks(after.stages)
    not_comparable: dict[tuple[str, str], list[str]] = defaultdict(list)  # names of files, by old and new data
    systems: list[str] = []  # rows of the tables
    differences: list[str] = []
    for name in sorted({*before.metrics, *after.metrics}, key=_file_order):
        old, new = before.metrics.get(name, {}), after.metrics.get(name, {})
        if old and new and (other_tracks or _data(old) != _data(new)):
            not_comparable[_data(old), _data(new)].append(name)
        else:
            rows = differences if name == COMPARISON else systems
            rows += _rows(name, dict(_shown_metrics(old)), dict(_shown_metrics(new)))

    for (old_data, new_data), names in not_comparable.items():
        data = _data_difference(old_data, new_data, base)
        yield f"**Not comparable**: the metrics of {_list(names)} were measured on {data}."
    if not (systems or differences or not_comparable):
        yield "The scores on the validation and test tracks have not changed."
    if systems:
        yield _metrics_table(systems, base)
    if differences:
        yield _folded("Differences from the reference", [_metrics_table(differences, base)])


def _metrics_table(rows: Sequence[str], base: str) -> str:
    head = f"| | metric | {_code(base)}, % | this branch, % | change |"
    return "\n".join([head, "|---|---|--:|--:|--:|", *rows])


def _file_order(name: str) -> tuple[bool, bool, str]:
    """Sort key of metrics files: the promoted model first, then the systems, and the comparison last."""
    return name != "promoted", name == COMPARISON, name


def _data_difference(old: str, new: str, base: str) -> str:
    if old == new:
        return f"{_code(old)} in both branches, but the archives or the tracks differ"
    return f"{_code(old)} in {_code(base)}, and on {_code(new)} in this branch"


def _rows(name: str, before: Mapping[str, float], after: Mapping[str, float]) -> Iterator[str]:
    for metric in {**before, **after}:
        old, new = before.get(metric), after.get(metric)
        if old != new:
            change = f"{100 * (new - old):+z.2f}" if old is not None and new is not None else ""
            cells = f"{_percent(old)} | {_percent(new)} | {change}".replace("-", "−")
            yield f"| {_code(name)} | {_text(metric)} | {cells} |"


def _shown_metrics(values: Values) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a file that appear in the table, with their names in the table.

    From comparison.json, only the differences from the reference are shown, because the table takes the metrics of each
    system from metrics/<system>.json.
    """
    for key, name in METRICS.items():
        value = values.get(key)
        if isinstance(value, int | float):
            yield name, float(value)
    for system, difference in _mapping(values.get("differences")).items():
        for metric, value in _shown_metrics(_mapping(difference)):
            yield f"{system} − {values.get('reference')}, {metric}", value


def _data(values: Values) -> str:
    return f"{values.get('dataset')} ({values.get('n_test')} test tracks)"


def _tracks(stages: Mapping[str, Values]) -> list[Any]:
    """Hashes of data/archives.json and data/tracks.csv, which tell whether two revisions use the same tracks."""
    return [out.get("md5") for stage in ("download", "split") for out in stages.get(stage, {}).get("outs", [])]


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


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:z.2f}"


# Stages. ----------------------------------------------------------------------------------------------------------


def stage_names(pipeline: Values, parameters: Values, where: str = "dvc.yaml") -> set[str]:
    """Names of all stages in dvc.yaml, with one stage for each item of a `foreach`.

    Args:
        pipeline: content of dvc.yaml.
        parameters: content of params.yaml.
        where: name of the file, for messages.

    Raises:
        InputError: `stages` is not a mapping.
    """
    names: set[str] = set()
    for name, stage in schema.as_group(pipeline.get("stages") or {}, f"{where}: stages").items():
        if isinstance(stage, Mapping) and "foreach" in stage:
            names |= {f"{name}@{key}" for key in _foreach_keys(stage["foreach"], parameters)}
        else:
            names.add(name)
    return names


def _foreach_keys(foreach: Any, parameters: Any) -> list[Any]:
    """Names over which a `foreach` loops. Its value is a list, a mapping, or a reference to one in params.yaml."""
    reference = REFERENCE.fullmatch(foreach) if isinstance(foreach, str) else None
    values = foreach
    if reference:
        values = parameters
        for key in reference[1].split("."):
            values = values.get(key) if isinstance(values, Mapping) else None
    return list(values) if isinstance(values, Mapping | list) else []


def stage_records(lock: Values, where: str = "dvc.lock") -> dict[str, Values]:
    """Records in dvc.lock by stage name. Every record gets the lists `deps` and `outs`, which may be empty.

    Args:
        lock: content of dvc.lock.
        where: name of the file, for messages.

    Raises:
        InputError: a record does not have the form that DVC writes.
    """
    stages = schema.as_group(lock.get("stages") or {}, f"{where}: stages")
    return {
        name: _record(value, f"{where}: stages.{str(name)[: schema.MAX_TEXT_LENGTH]}") for name, value in stages.items()
    }


def _record(value: Any, where: str) -> Values:
    record = schema.as_group(value, where)
    for group in schema.as_group(record.get("params", {}), f"{where}.params").values():
        schema.as_group(group, f"{where}.params")
    return {**record, **{key: _files(record.get(key, []), f"{where}.{key}") for key in ("deps", "outs")}}


def _files(value: Any, where: str) -> list[Values]:
    """Check a list of files in a record, and return it."""
    if not isinstance(value, list):
        raise schema.mismatch(where, "a list of files", value)
    for entry in value:
        path = schema.as_group(entry, where).get("path")
        if not isinstance(path, str) or "\0" in path or len(path) > MAX_PATH_LENGTH:
            raise schema.mismatch(where, "files with a valid path", entry)
    return value


def causes(before: Mapping[str, Values], after: Mapping[str, Values]) -> dict[str, list[str]]:
    """Reasons why the records of stages in dvc.lock changed, in Markdown, by stage.

    Args:
        before, after: records of the stages (see `stage_records`).
    """
    return {
        stage: list(_causes(before.get(stage, {}), after.get(stage, {})))
        for stage in {**after, **before}
        if before.get(stage) != after.get(stage)
    }


def _causes(before: Values, after: Values) -> Iterator[str]:
    if not before or not after:
        yield "new stage" if after else "removed from dvc.yaml"
        return
    old_parameters, new_parameters = _parameters(before), _parameters(after)
    for key in {**old_parameters, **new_parameters}:
        if old_parameters.get(key) != new_parameters.get(key):
            old, new = (masked(str(values.get(key, "none"))) for values in (old_parameters, new_parameters))
            yield f"{_code(key)} {_code(old)} → {_code(new)}"

    old_inputs, new_inputs = _inputs(before), _inputs(after)
    for path in {**old_inputs, **new_inputs}:
        if old_inputs.get(path) != new_inputs.get(path):
            yield _code(path)

    if before.get("cmd") != after.get("cmd"):
        yield f"command {_code(after.get('cmd'))}"


def _inputs(record: Values) -> dict[str, Values]:
    """Records of a stage's dependencies, by path."""
    return {entry["path"]: entry for entry in record["deps"]}


def _parameters(record: Values) -> dict[str, Any]:
    """Parameters that a stage depends on, by dotted name."""
    parameters: dict[str, Any] = {}
    for file in record.get("params", {}).values():
        for name, group in file.items():
            parameters |= dict(_leaves(name, group))
    return parameters


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each value in nested mappings, with its dotted name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}", item)
    else:
        yield name, value


def _stages(changed: Mapping[str, Sequence[str]]) -> str:
    if not changed:
        return "No stage has changed."
    rows = [f"| {_code(stage)} | {_reasons(reasons)} |" for stage, reasons in changed.items()]
    return "\n".join(["| changed stage | reason |", "|---|---|", *rows])


def _reasons(reasons: Sequence[str]) -> str:
    if not reasons:
        return "only the outputs differ"
    named = ", ".join(reasons[:MAX_REASONS])
    rest = len(reasons) - MAX_REASONS
    return f"{named} and {rest} more" if rest > 0 else named


# Figures and text. ------------------------------------------------------------------------------------------------


def _figures(addresses: Mapping[str, str]) -> Iterator[str]:
    shown = [f"[![{title}]({address})]({address})" for title, address in addresses.items()]
    if shown:
        yield f"Figures that changed:\n\n{shown[0]}"
    if shown[1:]:
        yield _folded("More figures", shown[1:])


def _folded(summary: str, paragraphs: Sequence[str]) -> str:
    """Hide paragraphs until the reader clicks on their summary."""
    return "\n\n".join([f"<details><summary>{summary}</summary>", *paragraphs, "</details>"])


def _list(names: Sequence[str]) -> str:
    return ", ".join(_code(name) for name in names)


def _text(value: str) -> str:
    """Name of a metric: as plain text if it is harmless, else as code."""
    return value if re.fullmatch(r"[\w ,−-]+", value) else _code(value)


def _code(value: object, length: int = 100) -> str:
    """Format as code, in which Markdown, HTML and mentions have no effect."""
    return "`" + printable(str(value)[:length]).replace("`", "'").replace("|", "/") + "`"
