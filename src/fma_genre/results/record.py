"""Records of results on real music: docs/results/<dataset>-<commit>.json, one file for each run of the pipeline.

A record holds the content of metrics/comparison.json, and the facts that identify the run: commit, hash of dvc.lock,
archives, tracks, seeds, hardware and versions. Records come from pull requests, so `read` checks every value.
"""

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import sklearn
import torch
from joblib import cpu_count

from fma_genre import store
from fma_genre.archives.tracks import SPLITS
from fma_genre.checkout import git, git_paths, stale_stages
from fma_genre.common import documents, official, schema
from fma_genre.common.errors import InputError
from fma_genre.common.files import write_json
from fma_genre.common.params import SHA1, Count, DataSet, Params, Seed, check_choice
from fma_genre.common.schema import Length, Name, Pattern, Range
from fma_genre.results.derived import MAX_COMBINATIONS
from fma_genre.results.metrics import METRICS

FOLDER = Path("docs/results")
LOCK, COMPARISON, PREDICTIONS = Path("dvc.lock"), Path("metrics/comparison.json"), Path("plots/predictions.csv")
CPU_INFO = Path("/proc/cpuinfo")
DATASETS = ("small", "medium", "large")
SHORT = 7  # digits of a commit in a file name
CODE_AND_RESULTS = ("src", "metrics", "plots", "dvc.yaml", "dvc.lock")
COLUMN = re.compile(r"(.+)_seed(\d+)")  # a column of plots/predictions.csv

Hash = Pattern("[0-9a-f]{40}|[0-9a-f]{64}", "40 or 64 hexadecimal digits")
Text = Annotated[str, Pattern(r"[\w .,:;()@/+-]{1,100}", "at most 100 letters, digits, spaces and .,:;()@/+-")]
# Names of systems that are made from others, e.g. cnn_svm_head, are longer than schema.Name.
SystemName = Annotated[str, Pattern("[A-Za-z0-9_-]{1,80}", "a name of at most 80 letters, digits, - and _")]
EffectName = Annotated[str, Pattern(r"[\w ()−-]{1,200}", "at most 200 letters, digits, spaces and ()−-")]
Share = Annotated[float, Range(0, 1)]
Change = Annotated[float, Range(-1, 1)]
DoubleChange = Annotated[float, Range(-2, 2)]  # an interaction is a difference of differences
Tracks = Annotated[int, Range(0, 10**7)]
Runs = Annotated[int, Range(1, MAX_COMBINATIONS)]
Seeds = Annotated[tuple[Seed, ...], Length(1, 100)]
SCORES = [f"{metric}{bound}" for metric in METRICS for bound in ("", "_low", "_high")]
# Types of the values of each system, difference and effect in metrics/comparison.json, by key.
SYSTEM = {"runs": Runs} | dict.fromkeys(SCORES, Share)
DIFFERENCE = dict.fromkeys(SCORES, Change) | dict.fromkeys(("p", "p_holm", "resolution"), Share)
EFFECT = dict.fromkeys(("value", "low", "high"), DoubleChange) | dict.fromkeys(("p_holm", "resolution"), Share)


@dataclass(frozen=True)
class Splits:
    """Numbers for each split."""

    training: Tracks
    validation: Tracks
    test: Tracks


@dataclass(frozen=True)
class Hardware:
    cpu: Text
    cores: Annotated[int, Range(1, 100_000)]
    gpus: Annotated[tuple[Text, ...], Length(0, 100)]


@dataclass(frozen=True)
class Software:
    python: Text
    torch: Text
    scikit_learn: Text


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Content of metrics/comparison.json."""

    dataset: Literal["small", "medium", "large"]
    n_test: Count
    n_artists: Count
    confidence: Annotated[float, Range(0.5, 0.999)]
    reference: Name
    systems: Mapping[str, Any]  # by name, with the keys of SYSTEM and others
    differences: Mapping[str, Any]  # by name, with the keys of DIFFERENCE
    ensembles: Mapping[str, Any]  # as systems
    ensemble_differences: Mapping[str, Any]  # as differences
    conditions: Mapping[str, Any] | None = None  # as a system
    factorial: Mapping[str, Any] | None = None  # by effect, with the keys of EFFECT


@dataclass(frozen=True, kw_only=True)
class Record:
    """Content of a file in docs/results."""

    dataset: Literal["small", "medium", "large"]
    subset: Literal["small", "medium", "large"]
    audio_sha1: Annotated[str, SHA1]
    metadata_sha1: Annotated[str, SHA1]
    commit: Annotated[str, Hash]
    dvc_lock_sha256: Annotated[str, Hash]
    tracks: Splits  # that were used
    left_out: Splits  # tracks that were left out, e.g. because their clip is damaged
    artists: Splits
    genres: Annotated[int, Range(2, 10_000)]
    seeds: Mapping[str, Any]  # seeds of the runs of each system
    hardware: Hardware
    software: Software
    comparison: Comparison

    @property
    def name(self) -> str:
        """Name of the file without its extension."""
        return f"{self.dataset}-{self.commit[:SHORT]}"


# Reading. ---------------------------------------------------------------------------------------------------------


def read_all(folder: Path = FOLDER) -> list[Record]:
    """Read all records in the folder, sorted by data set and name."""
    return [read(path) for dataset in DATASETS for path in sorted(folder.glob(f"{dataset}-*.json"))]


def read(path: Path) -> Record:
    """Read a record; raise InputError for the first missing, unknown or invalid value."""
    record = parse(documents.read_json(path), str(path))
    if path.stem != record.name:
        raise InputError(f"{path}: expected the name {record.name}.json, found another")
    return record


def parse(values: object, where: str) -> Record:
    """Convert the content of a JSON file to a record; raise InputError for the first invalid value."""
    try:
        record = schema.read(Record, values, "")
        schema.read_named(lambda value, where: schema.convert(Seeds, value, where), record.seeds, "seeds")
        _check_official(record.dataset, record.subset, record.audio_sha1, record.metadata_sha1)
        for group, types in (
            ("systems", SYSTEM), ("ensembles", SYSTEM),
            ("differences", DIFFERENCE), ("ensemble_differences", DIFFERENCE),
        ):  # fmt: skip
            _check_group(getattr(record.comparison, group), f"comparison.{group}", SystemName, types)
        apart = {"conditions": conditions} if (conditions := record.comparison.conditions) else {}
        _check_group(apart, "comparison", SystemName, SYSTEM)
        _check_group(record.comparison.factorial or {}, "comparison.factorial", EffectName, EFFECT)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return record


def _check_official(dataset: str, subset: str, audio_sha1: str, metadata_sha1: str) -> None:
    """Raise InputError unless subset and archives are the official ones of `dataset`."""
    for where, expected, found in (
        ("subset", dataset, subset),
        ("audio_sha1", official.AUDIO_SHA1[dataset], audio_sha1),
        ("metadata_sha1", official.METADATA_SHA1, metadata_sha1),
    ):
        if found != expected:
            raise schema.mismatch(where, f"{expected} of the official {dataset}", found)


def _check_group(group: Mapping[str, Any], where: str, names: Any, types: Mapping[str, Any]) -> None:
    """Raise InputError unless each item of the group has a name of the type `names`, and values of these types."""
    for name, item in group.items():
        schema.convert(names, name, where)
        values = schema.as_group(item, schema.join(where, name))
        for key, kind in types.items():
            schema.convert(kind, values.get(key), schema.join(where, f"{name}.{key}"))


# Writing. ---------------------------------------------------------------------------------------------------------


def write(params: Params) -> Path:
    """Record the results in this checkout; return the path of the file.

    Raises:
        InputError: the data set is not an official one, the results are out of date or from another data set, or there
            are uncommitted changes.
        FileNotFoundError: a file does not exist.
    """
    check_data_set(params)
    comparison = read_comparison(params.dataset)
    check_committed()
    check_current()
    values = collect(params, comparison)
    path = FOLDER / f"{parse(values, str(COMPARISON)).name}.json"
    write_json(path, values)
    return path


def check_data_set(params: Params) -> None:
    """Raise InputError unless the data set is one of the FMA's, with its official archives."""
    if params.data_set.synthetic:
        raise InputError(
            f"params.yaml: dataset: expected one of {', '.join(DATASETS)}, found {params.dataset}, which is synthetic"
        )
    check_choice(params.dataset, DATASETS, "params.yaml: dataset")
    try:
        _check_official(params.dataset, params.data_set.subset, *_sha1s(params.data_set))
    except InputError as error:
        raise InputError(f"params.yaml: datasets.{params.dataset}: {error}") from None


def _sha1s(data_set: DataSet) -> tuple[str, str]:
    """Checksums of the archives of audio and metadata, in lower case."""
    return (data_set.audio.sha1 or "").lower(), (data_set.metadata.sha1 or "").lower()


def read_comparison(dataset: str) -> Mapping[str, Any]:
    """Read metrics/comparison.json; raise InputError unless it was measured on the data set."""
    comparison = schema.as_group(documents.read_json(COMPARISON), str(COMPARISON))
    if comparison.get("dataset") != dataset:
        expected = f"{dataset} as in params.yaml"
        raise schema.mismatch(f"{COMPARISON}: dataset", expected, comparison.get("dataset"))
    return comparison


def check_committed() -> None:
    """Raise InputError if changes are not committed, since the commit would then not describe the run."""
    if paths := uncommitted():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        raise InputError(f"{paths[0]}{more}: expected no uncommitted changes, found some: commit them")


def check_current() -> None:
    """Raise InputError if `dvc repro` would run a stage."""
    if stale := stale_stages():
        found = f"stages that are out of date ({', '.join(stale)})"
        raise InputError(
            f"dvc.lock: expected results of the current code and parameters, found {found}: run `dvc repro`"
        )


def uncommitted() -> list[str]:
    """Paths of tracked files with uncommitted changes, except in docs/results, and of new files of code and results."""
    changed = git_paths("diff", "-z", "--name-only", "--relative", "HEAD", "--", ".", f":!{FOLDER}")
    added = git_paths("ls-files", "-z", "--others", "--exclude-standard", "--", *CODE_AND_RESULTS)
    return changed + added


def collect(params: Params, comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of the record."""
    index = store.read_index(store.DATA / store.INDEX)
    used = store.used(index)
    audio_sha1, metadata_sha1 = _sha1s(params.data_set)
    return {
        "dataset": params.dataset,
        "subset": params.data_set.subset,
        "audio_sha1": audio_sha1,
        "metadata_sha1": metadata_sha1,
        "commit": git("rev-parse", "HEAD").strip(),
        "dvc_lock_sha256": hashlib.sha256(documents.read_bytes(LOCK)).hexdigest(),
        "tracks": _count(used),
        "left_out": _count(index.drop(used.index)),
        "artists": _count(used.drop_duplicates(["artist_id", "split"])),
        "genres": len(store.classes(index)),
        "seeds": seeds(),
        "hardware": hardware(),
        "software": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "scikit_learn": sklearn.__version__,
        },
        "comparison": comparison,
    }


def _count(rows: pd.DataFrame) -> dict[str, int]:
    """Number of rows for each split."""
    return {split: int((rows["split"] == split).sum()) for split in SPLITS}


def seeds() -> dict[str, list[int]]:
    """Seeds of the runs of each system, from the head of plots/predictions.csv."""
    found: dict[str, list[int]] = {}
    for column in pd.read_csv(PREDICTIONS, nrows=0).columns:
        if match := COLUMN.fullmatch(column):
            found.setdefault(match[1], []).append(int(match[2]))
    return found


def hardware() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(gpu) for gpu in range(torch.cuda.device_count())]
    return {"cpu": _text(cpu_model()), "cores": cpu_count(), "gpus": [_text(gpu) for gpu in gpus]}


def cpu_model() -> str:
    """Name of the CPU, or of its architecture if the name is unknown."""
    if CPU_INFO.exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", CPU_INFO.read_text(errors="replace"), re.MULTILINE)
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _text(name: str) -> str:
    """Remove the characters that `Text` excludes."""
    words = re.sub(r"[^\w .,:;()@/+-]", " ", name).split()
    return " ".join(words)[:100] or "unknown"
