"""Records in dvc.lock of two revisions, and why they differ.

The records may come from a stranger's branch, so nothing is taken for granted about their form. This module and its
imports need no packages besides PyYAML.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from fma_genre.common import schema

MAX_PATH_LENGTH = 1000  # characters
REFERENCE = re.compile(r"\$\{([\w.-]+)\}")  # reference to a parameter in dvc.yaml

Values = Mapping[str, Any]
MISSING = object()  # value of a parameter that a revision does not have


@dataclass(frozen=True)
class Reason:
    """A changed input of a stage that is no output of another stage."""

    name: str  # of a parameter, a section of parameters or a file; empty if the whole stage is new or was removed
    before: Any = MISSING  # value of a parameter; MISSING on both sides for a file
    after: Any = MISSING


@dataclass(frozen=True)
class Change:
    """Why the record of a stage changed."""

    reasons: Sequence[Reason]  # its own inputs that changed
    upstream: Sequence[str]  # changed stages whose outputs it reads
    is_edited: bool  # an input of this stage changed, or of a stage upstream
    is_elsewhere: bool  # the inputs of this stage, or of a stage upstream, are the same, but not its outputs

    @property
    def is_origin(self) -> bool:
        """Return whether this stage is the first one with the same inputs and other outputs."""
        return self.is_elsewhere and not self.upstream

    @property
    def is_other_machine(self) -> bool:
        """Return whether nothing but the machine changed the outputs."""
        return self.is_elsewhere and not self.is_edited


# Stages of a revision. --------------------------------------------------------------------------------------------


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


def parameters_of(record: Values) -> dict[str, Any]:
    """Parameters that a stage depends on, by dotted name."""
    found: dict[str, Any] = {}
    for file in record.get("params", {}).values():
        for name, group in file.items():
            found |= dict(_leaves(str(name), group))
    return found


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each value in nested mappings, with its dotted name."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(f"{name}.{key}", item)
    else:
        yield name, value


def hashes(record: Values, kind: str) -> dict[str, Any]:
    """Recorded hashes of a stage's files by path; `kind` is `deps` or `outs`."""
    return {entry["path"]: entry.get("md5") for entry in record[kind]}


def producer(path: str, records: Mapping[str, Values]) -> str | None:
    """Name of the stage that writes a file, or None."""
    return next((name for name, record in records.items() if path in hashes(record, "outs")), None)


# Changes between two revisions. -----------------------------------------------------------------------------------


def changes(before: Mapping[str, Values], after: Mapping[str, Values]) -> dict[str, Change]:
    """Explain every record that changed, by stage, in the order of dvc.lock.

    A stage whose inputs are the same, but not its outputs, ran on another machine. So did the stages that read these
    outputs, unless one of their other inputs changed.

    Args:
        before, after: records of the stages (see `stage_records`).
    """
    changed = [name for name in {**after, **before} if before.get(name) != after.get(name)]
    outputs = _Outputs([*before.items(), *after.items()])
    reasons, upstream, origins = {}, {}, []
    for name in changed:
        old, new = before.get(name), after.get(name)
        reasons[name], sources = _causes(old, new, outputs)
        upstream[name] = [source for source in changed if source in sources]
        if old and new and not (reasons[name] or sources) and _has_other_outputs(old, new):
            origins.append(name)
    edited = _with_downstream([name for name in changed if reasons[name]], upstream)
    elsewhere = _with_downstream(origins, upstream)
    return {name: Change(reasons[name], upstream[name], name in edited, name in elsewhere) for name in changed}


def _has_other_outputs(old: Values, new: Values) -> bool:
    """Whether outputs of both records differ. An output that dvc.yaml adds or removes is no effect of a machine."""
    before, after = hashes(old, "outs"), hashes(new, "outs")
    return any(before[path] != after[path] for path in before.keys() & after.keys())


def _causes(old: Values | None, new: Values | None, outputs: "_Outputs") -> tuple[list[Reason], set[str]]:
    """The changed inputs of a stage that no stage writes, parameters first; and the stages that write the others."""
    if old is None or new is None:
        return [Reason("", MISSING if old is None else old, MISSING if new is None else new)], set()
    reasons = _parameter_reasons(parameters_of(old), parameters_of(new))
    reasons += _differences({"command": old.get("cmd")}, {"command": new.get("cmd")})
    sources: set[str] = set()
    for file in _differences(hashes(old, "deps"), hashes(new, "deps")):
        writers = outputs.writers(file.name)
        sources |= writers
        if not writers:
            reasons.append(Reason(file.name))
    return reasons, sources


class _Outputs:
    """Files that stages write, and the folders that these are in."""

    def __init__(self, records: Iterable[tuple[str, Values]]) -> None:
        self.stages: dict[str, set[str]] = defaultdict(set)  # that write a path
        self.stages_below: dict[str, set[str]] = defaultdict(set)  # that write something in a folder
        for name, record in records:
            for path in hashes(record, "outs"):
                self.stages[path].add(name)
                for folder in PurePosixPath(path).parents:
                    self.stages_below[str(folder)].add(name)

    def writers(self, path: str) -> set[str]:
        """Names of the stages that write a path, something in it, or a folder that it is in."""
        above = [path, *map(str, PurePosixPath(path).parents)]
        return self.stages_below.get(path, set()).union(*(self.stages.get(place, set()) for place in above))


def _parameter_reasons(old: Values, new: Values) -> list[Reason]:
    """Changed parameters. A section that only one side has, such as models.cnn, is one reason."""
    sections = [{_section(name) for name in side} for side in (old, new)]
    whole = sections[0] ^ sections[1]
    reasons = {}
    for reason in _differences(old, new):
        section = _section(reason.name)
        if section in whole and section != reason.name:
            reason = Reason(section, *(MISSING if section not in side else {} for side in sections))
        reasons[reason.name] = reason
    return list(reasons.values())


def _section(name: str) -> str:
    """The first two parts of a dotted name."""
    return ".".join(name.split(".")[:2])


def _differences(old: Values, new: Values) -> list[Reason]:
    pairs = {key: (old.get(key, MISSING), new.get(key, MISSING)) for key in {**old, **new}}
    return [Reason(key, *values) for key, values in pairs.items() if values[0] != values[1]]


def _with_downstream(stages: Iterable[str], upstream: Mapping[str, Sequence[str]]) -> set[str]:
    """These stages, and all that depend on them."""
    found = set(stages)
    readers: dict[str, list[str]] = defaultdict(list)
    for name, sources in upstream.items():
        for source in sources:
            readers[source].append(name)
    queue = list(stages)
    while queue:
        new = [name for name in readers[queue.pop()] if name not in found]
        found.update(new)
        queue += new
    return found
