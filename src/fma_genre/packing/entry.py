"""The entry of a packed data set in params.yaml. All other lines of the file stay as they are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fma_genre.archives.receipt import hash_file
from fma_genre.common import documents, params, schema
from fma_genre.common.errors import InputError
from fma_genre.common.files import resolve, write_text
from fma_genre.common.params import Params
from fma_genre.common.strict_yaml import parse
from fma_genre.packing.archives import SUBSET
from fma_genre.packing.yaml_edits import add, set_value

PARAMS = Path("params.yaml")
ROLES = ("audio", "metadata")


def make(audio: Path, metadata: Path) -> dict[str, Any]:
    """The entry of two archives. A path below this folder is relative to it, so that it holds in any checkout."""
    entry = {role: {"url": _url(path), "sha1": hash_file(path).hexdigest()} for role, path in _by_role(audio, metadata)}
    return {**entry, "subset": SUBSET}


def check(name: str, audio: Path, metadata: Path, parameters: Params) -> None:
    """Raise InputError unless the entry can be written, whatever the archives' content.

    The name must be free, or that of an entry with the same archives, which is then replaced.
    """
    schema.convert(schema.Name, name, "--name")
    present = parameters.datasets.get(name)
    urls = [present.audio.url, present.metadata.url] if present else []
    if urls and [resolve(url).resolve() for url in urls] != [audio.resolve(), metadata.resolve()]:
        expected = f"a name that is free, or whose archives are {audio} and {metadata}"
        raise InputError(f"{PARAMS}: datasets.{name}: expected {expected}, found {' and '.join(urls)}")
    sources = {role: {"url": _url(path), "sha1": "0" * 40} for role, path in _by_role(audio, metadata)}
    edit(documents.read_text(PARAMS), name, {**sources, "subset": SUBSET})


def write(name: str, entry: Mapping[str, Any]) -> None:
    """Add the entry to params.yaml, or replace it there."""
    write_text(PARAMS, edit(documents.read_text(PARAMS), name, entry))


def edit(text: str, name: str, entry: Mapping[str, Any]) -> str:
    """Add the entry to the text of params.yaml, or replace its archives and its subset if there is one.

    Raises:
        InputError: the entry is invalid, or the text has a form that cannot be edited.
    """
    expected = parse(text)
    if name in expected["datasets"]:
        changes = [([role, key], value) for role in ROLES for key, value in entry[role].items()]
        for path, value in [*changes, (["subset"], entry["subset"])]:
            text = set_value(text, ["datasets", name, *path], json.dumps(value, ensure_ascii=False))
        expected["datasets"][name] |= entry
    else:
        text = add(text, ("datasets", name), entry)
        expected["datasets"] = {name: dict(entry), **expected["datasets"]}
    try:
        found = parse(text)
        params.check(found)
    except InputError as error:
        raise InputError(f"{PARAMS}: {error}") from None
    if found != expected:
        raise InputError(f"{PARAMS}: expected a section `datasets` with an entry a line, found another form")
    return text


def _by_role(audio: Path, metadata: Path) -> list[tuple[str, Path]]:
    return list(zip(ROLES, (audio, metadata), strict=True))


def _url(path: Path) -> str:
    path, here = path.resolve(), Path.cwd().resolve()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else str(path)
