"""Cross-validation of all systems in params.yaml on the training and validation tracks, with folds of whole artists.

    python benchmarks/cross_validation.py [--controls random-split shuffled-labels] [--params FILE] [--out FOLDER]

The script reads the spectrograms in data/, and runs the stages of the pipeline in a folder for each fold. In each fold,
one part of the tracks is the test split, the next part is the validation split, and the others are the training split.
Every track is thus a test track once. The predictions for the test tracks of all folds are joined, and compared as in
the stage `compare`, without the stacking. The test tracks of the data set are not used. To compare variants of a
recipe, give each variant a section of `models` in FILE, which has the form of params.yaml.

A control repeats the cross-validation with a change whose effect is known:

    random-split      the folds ignore artists: the higher accuracy shows the leak that the split by artists avoids
    shuffled-labels   the genres of the training and validation tracks are permuted: the accuracy must be at chance

FOLDER receives the accuracies in summary.md, and the report and tables of each cross-validation. It also receives
log.jsonl with a line for each system and fold that has been run. Their folders are in data/work/cross_validation. The
name of such a folder is a hash of everything that affects its results, so an interrupted run resumes, and a finished
system runs again only if it has changed.
"""

import argparse
import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.model_selection import StratifiedGroupKFold

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src"
sys.path.insert(0, str(SOURCE))

from fma_genre import store
from fma_genre.archives import receipt
from fma_genre.common import files, params
from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.common.params import Compare, Params
from fma_genre.common.workers import worker_count
from fma_genre.learning.device import devices
from fma_genre.results import predictions, systems
from fma_genre.results.bootstrap import Interval, percentile_interval
from fma_genre.results.comparison import Comparison, compare
from fma_genre.results.predictions import Predictions, SplitPredictions
from fma_genre.results.report import report, table
from fma_genre.results.result import Result
from fma_genre.results.systems import System
from fma_genre.results.tables import numbers, write_tables

DISJOINT, RANDOM, SHUFFLED = "artist-disjoint", "random-split", "shuffled-labels"  # kinds of cross-validation
WORK = store.DATA / "work" / "cross_validation"
CODE = (  # in src/: the code that affects the predictions of a system
    "train.py", "evaluate.py", "baseline.py", "fma_genre/store.py", "fma_genre/learning", "fma_genre/front_ends",
    "fma_genre/networks", "fma_genre/baselines",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A system to be trained and evaluated in one fold."""

    kind: str
    fold: int
    key: str  # of the system
    is_model: bool
    index: pd.DataFrame  # index of the fold
    folder: Path

    @property
    def predictions(self) -> Path:
        return self.folder / "data" / "predictions" / f"{self.key}.npz"

    @property
    def curve(self) -> Path:
        return self.folder / "plots" / "training" / f"{self.key}.csv"

    @property
    def metrics(self) -> Path:
        """The last file that the stages write."""
        return self.folder / "metrics" / f"{self.key}.json"


def main() -> None:
    arguments = parse(sys.argv[1:])
    with errors_in_one_line("cross_validation"):
        parameters = params.load(arguments.params)
        for name in (*parameters.spectrograms.representations, *parameters.waveforms):
            store.check_current(store.open_store(name), parameters)
        index = store.read_index(store.DATA / store.INDEX)

        tasks = []
        for kind in (DISJOINT, *arguments.controls):
            indices = fold_indices(index, kind, arguments.folds, arguments.seed)
            tasks += make_tasks(kind, indices, parameters)
        run_all(tasks, arguments.params, arguments.out / "log.jsonl")

        comparisons = {}
        for kind in (DISJOINT, *arguments.controls):
            comparisons[kind] = pool([task for task in tasks if task.kind == kind], parameters, arguments.folds)
            write_results(comparisons[kind], arguments.folds, arguments.out / kind)
        summary = f"{accuracy_table(comparisons)}\n\n{legend(comparisons[DISJOINT], arguments.folds)}\n"
        files.write_text(arguments.out / "summary.md", summary)
        print(summary, end="")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE")
    parser.add_argument("--folds", type=int, default=5, help="at least 3 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the folds (default %(default)s)")
    parser.add_argument("--controls", nargs="+", default=[], choices=[RANDOM, SHUFFLED], metavar="CONTROL")
    parser.add_argument("--out", type=Path, default=WORK / "results", metavar="FOLDER", help="default %(default)s")
    parsed = parser.parse_args(arguments)
    if parsed.folds < 3:
        parser.error(f"--folds: expected at least 3, found {parsed.folds}")
    return parsed


# Folds. -----------------------------------------------------------------------------------------------------------


def fold_indices(index: pd.DataFrame, kind: str, folds: int, seed: int) -> list[pd.DataFrame]:
    """Make the index of each fold: the same rows in the same order, with other splits and perhaps other genres.

    The test tracks of the data set are marked as left out.

    Raises:
        InputError: there are too many folds, or the training tracks of a fold lack a genre.
    """
    of_test = (index["split"] == "test") & (index["frames"] > 0)
    left_out = index["left_out"].mask(of_test, "test track of the data set")
    index = index.assign(frames=index["frames"].mask(of_test, 0), left_out=left_out)
    used = store.used(index)
    check_folds(used, folds)
    parts = divide(used, "track_id" if kind == RANDOM else "artist_id", folds, seed)

    indices = []
    for fold in range(folds):
        changed, rows = index.copy(), used.index
        changed.loc[rows, "split"] = np.select(
            [parts == fold, parts == (fold + 1) % folds], ["test", "validation"], "training"
        )
        if kind == SHUFFLED:
            shuffle(changed, rows[parts != fold], [seed, fold])
        check_genres(changed, fold)
        indices.append(changed)
    return indices


def check_folds(tracks: pd.DataFrame, folds: int) -> None:
    """Raise InputError for more folds than artists, or than tracks of the largest genre."""
    limits = {
        "the number of artists": tracks["artist_id"].nunique(),
        "the number of tracks of the largest genre": tracks["genre"].value_counts().max(),
    }
    reason, limit = min(limits.items(), key=lambda item: item[1])
    if folds > limit:
        raise InputError(f"--folds: expected at most {limit} ({reason}), found {folds}")


def check_genres(index: pd.DataFrame, fold: int) -> None:
    """Raise InputError if the training tracks lack a genre."""
    used = store.used(index)
    found = used["genre"][used["split"] == "training"]
    missing = sorted(set(used["genre"]) - set(found))
    if missing:
        raise InputError(f"fold {fold}: expected training tracks of each genre, found none of {missing[0]}")


def divide(tracks: pd.DataFrame, group: str, folds: int, seed: int) -> np.ndarray:
    """Divide tracks into parts with equal shares of each genre. Tracks of a group stay together.

    Args:
        group: the column that identifies the group.

    Returns:
        (tracks,) number of each track's part
    """
    parts = np.empty(len(tracks), int)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for part, (_, held_out) in enumerate(splitter.split(tracks, tracks["genre"], tracks[group])):
        parts[held_out] = part
    return parts


def shuffle(index: pd.DataFrame, rows: pd.Index, seed: Sequence[int]) -> None:
    """Permute the genres of these rows at random, in place."""
    genres = index.loc[rows, "genre"].to_numpy()
    index.loc[rows, "genre"] = np.random.default_rng(seed).permutation(genres)


# Runs of the stages. ----------------------------------------------------------------------------------------------


def make_tasks(kind: str, indices: Sequence[pd.DataFrame], parameters: Params) -> list[Task]:
    """Make a task for each system and fold. Its folder depends on everything that affects the result."""
    names = (*parameters.spectrograms.representations, *parameters.waveforms)
    levels = [store.DATA / name / store.LEVELS for name in names]
    common = [[file_identity(path) for path in levels], parameters.dataset, hash_code()]
    sections: dict[str, Mapping[str, Any]] = {"models": parameters.models, "baselines": parameters.baselines}
    tasks = []
    for fold, index in enumerate(indices):
        for section, entries in sections.items():
            for key, entry in entries.items():
                inputs = json.dumps([common, section, key, asdict(entry), index.to_csv()])
                folder = WORK / hashlib.sha256(inputs.encode()).hexdigest()[:16]
                tasks.append(Task(kind, fold, key, section == "models", index, folder))
    return tasks


def file_identity(path: Path) -> list[int]:
    """Size and modification time."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def hash_code() -> str:
    found = hashlib.sha256()
    for name in CODE:
        path = SOURCE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(file.read_bytes())
    return found.hexdigest()


def run_all(tasks: Sequence[Task], parameters: Path, log: Path) -> None:
    """Run the unfinished tasks: one for each core, or one after another on a GPU."""
    unfinished = {task.folder: task for task in tasks if not task.metrics.exists()}  # folds may be the same
    jobs = 1 if devices()[0].type == "cuda" else worker_count()
    environment = {
        **os.environ,
        "FMA_HOME": str(receipt.home()),  # may be relative to this folder
        "FMA_WORKERS": str(worker_count() // jobs),
        "OMP_NUM_THREADS": "1",
    }
    work = (delayed(run)(task, parameters, environment) for task in unfinished.values())
    log.parent.mkdir(parents=True, exist_ok=True)
    for record in Parallel(jobs, prefer="threads", return_as="generator_unordered")(work):
        line = json.dumps(record)
        print(line, flush=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def run(task: Task, parameters: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run the stages of a task, and return a record for the log."""
    start = time.perf_counter()
    prepare(task, parameters)
    for stage in ("train", "evaluate") if task.is_model else ("baseline",):
        command = [sys.executable, str(SOURCE / f"{stage}.py"), task.key]
        done = subprocess.run(command, cwd=task.folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise InputError(f"{task.kind}, fold {task.fold}: {reason[-1]}")
    return {
        "kind": task.kind,
        "fold": task.fold,
        "system": task.key,
        "accuracy": json.loads(task.metrics.read_text())["accuracy"],
        "seconds": round(time.perf_counter() - start),
        "folder": str(task.folder),
    }


def prepare(task: Task, parameters: Path) -> None:
    """Write the files that the stages of a task read."""
    data = task.folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(parameters, task.folder / "params.yaml")
    store.write_index(data / store.INDEX, task.index)
    stores = [path.parent for path in store.DATA.glob(f"*/{store.DESCRIPTION}")]
    for path in filter(Path.exists, [receipt.RECEIPT, *stores]):
        if not (data / path.name).exists():
            (data / path.name).symlink_to(path.resolve())


# Joined results. --------------------------------------------------------------------------------------------------


def pool(tasks: Sequence[Task], parameters: Params, folds: int) -> Comparison:
    """Compare the systems by their joined predictions of all folds."""
    index = pool_indices(list({task.fold: task.index for task in tasks}.values()))
    pooled = []
    for key in dict.fromkeys(task.key for task in tasks):
        own = [task for task in tasks if task.key == key]
        joined = pool_predictions([predictions.read(task.predictions) for task in own])
        assert np.array_equal(joined.test.tracks, store.used(index)["track_id"])
        curve = mean_curve([systems.read_curve(task.curve) for task in own]) if own[0].is_model else None
        pooled.append(System(key, own[0].is_model, joined, curve))
    synthetic = parameters.data_set.synthetic
    return compare(
        pooled,
        index,
        without_stacking(parameters.compare),
        dataset=parameters.dataset,
        synthetic=synthetic,
        inflation=correction(folds),
    )


def without_stacking(settings: Compare) -> Compare:
    """Leave out the stacking: its SVMs are fitted to validation tracks, which here are also scored as test tracks."""
    return replace(settings, stacking=())


def pool_indices(indices: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Join the test tracks of all folds, and add the tracks that are left out."""
    parts = [index[(index["frames"] > 0) & (index["split"] == "test")] for index in indices]
    return pd.concat([*parts, indices[0][indices[0]["frames"] == 0]], ignore_index=True)


def pool_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Join the predictions of a system in all folds. Run r consists of run r of each fold."""
    facts = {key: value for key, value in parts[0].facts.items() if all(part.facts.get(key) == value for part in parts)}
    validation, test = (join([getattr(part, split) for part in parts]) for split in predictions.SPLITS)
    return replace(parts[0], validation=validation, test=test, facts=facts, examples=())


def join(parts: Sequence[SplitPredictions]) -> SplitPredictions:
    """Join the predictions for different tracks."""
    firsts = np.cumsum([0, *(len(part.tracks) for part in parts)])  # position of each part's first track
    moved = [
        part if part.segment_tracks is None else replace(part, segment_tracks=part.segment_tracks + first)
        for part, first in zip(parts, firsts[:-1], strict=True)
    ]
    arrays = {field.name: [getattr(part, field.name) for part in moved] for field in fields(SplitPredictions)}
    return SplitPredictions(**{name: concatenate(found) for name, found in arrays.items() if found[0] is not None})


def concatenate(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Join arrays (tracks,) or (runs, tracks, …) along the tracks, or the same with segments."""
    return np.concatenate(arrays, axis=0 if arrays[0].ndim == 1 else 1)


def mean_curve(curves: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(curves).groupby("epoch", as_index=False).mean()


def write_results(comparison: Comparison, folds: int, folder: Path) -> None:
    files.write_text(folder / "report.md", f"{report(comparison)}\n{legend(comparison, folds)}\n")
    files.write_json(folder / "comparison.json", numbers(comparison))
    write_tables(comparison, folder)


def accuracy_table(comparisons: Mapping[str, Comparison]) -> str:
    """Markdown table of accuracies in %, with a column for each cross-validation and one for the leak."""
    results = {kind: {row.key: row for row in comparison.rows} for kind, comparison in comparisons.items()}
    lines = [["system", *comparisons]]
    lines += [[key, *(cell(rows[key].intervals["accuracy"]) for rows in results.values())] for key in results[DISJOINT]]
    if RANDOM in results:
        lines[0].append(f"{RANDOM} − {DISJOINT}")
        for line in lines[1:]:
            random, disjoint = (results[kind][line[0]] for kind in (RANDOM, DISJOINT))
            line.append(cell(difference(random, disjoint, comparisons[DISJOINT].confidence), sign="+"))
    return table(lines)


def cell(interval: Interval, sign: str = "") -> str:
    value, low, high = (f"{100 * number:{sign}.1f}" for number in interval)
    return f"{value} [{low}, {high}]"


def difference(first: Result, second: Result, confidence: float) -> Interval:
    """Accuracy of the first result minus that of the second. Both are from the same resamples of artists and runs."""
    return percentile_interval(first.resampled["accuracy"] - second.resampled["accuracy"], confidence)


def legend(comparison: Comparison, folds: int) -> str:
    confidence, tracks, chance = 100 * comparison.confidence, len(comparison.tracks), 100 / len(comparison.classes)
    return (
        f"Accuracies in % with {confidence:g} % intervals, on {tracks} tracks in {folds} folds. The folds share"
        f" training tracks, so all deviations are enlarged by {correction(folds):.1f} (Nadeau and Bengio 2003). Without"
        f" any information about the genres, a system scores between {chance:.1f} and the accuracy of majority."
    )


def correction(folds: int) -> float:
    """Factor √(1 + folds · test tracks / training tracks) by which shared training tracks enlarge a standard error.

    Nadeau and Bengio 2003 derive the factor for the mean over the folds. It is 1.5 if all other tracks of five folds
    are training tracks; here, one more part is for validation.
    """
    return math.sqrt(1 + folds / (folds - 2))


if __name__ == "__main__":
    main()
