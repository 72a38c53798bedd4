"""Search for a training recipe by repeated cross-validation on the training and validation tracks.

    python benchmarks/recipe.py CANDIDATES.yaml [--only NAME …] [--models cnn] [--repeats 1] [--folds 3]
                                [--out RESULTS.jsonl]

A candidate is a set of changes to params.yaml, and perhaps to parts of the training that params.yaml does not have (see
benchmarks/recipe_trials.py). It is trained on all folds but one, and predicts the tracks of that fold as they are and
as copies, e.g. at a lower sample rate. All tracks of an artist are in the same fold. The test tracks are never used.
Each repeat has other folds and seeds, which all candidates share. The script reads `data/` and params.yaml.

RESULTS.jsonl gets a line for each candidate, model, repeat and fold. A rerun skips what is in the file. At the end, the
script prints a table.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np
import pandas as pd
import torch
import yaml
from joblib import Parallel, delayed
from torch import nn
from torch.nn.functional import nll_loss

from copies import CHANGES, copied_archive, extract_store
from cross_validation import divide
from fma_genre import store
from fma_genre.archives import receipt
from fma_genre.common import documents, files, params, stage
from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.common.params import Model
from fma_genre.common.workers import run_in_workers, worker_count
from fma_genre.features.build import describe
from fma_genre.learning import build, checkpoint
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import make_deterministic
from fma_genre.learning.inference import predict
from fma_genre.learning.training import train
from fma_genre.results.markdown import table
from fma_genre.store import Store
from recipe_trials import Trial

WORK = store.DATA / "work" / "recipe"
CLEAN = "clean"
COPIES = ["16 kHz", "8 kHz", "MP3 64 kbit/s"]
Stores = Mapping[str, Store]  # by representation


@dataclass(frozen=True)
class Task:
    """A candidate that is trained with one model on all folds but one."""

    candidate: str
    base: str | None  # name of the candidate with which this one is compared
    data: str  # hash of the audio archive and the tracks
    content: Mapping[str, Any]  # of params.yaml with the candidate's changes
    trial: Mapping[str, Any]  # arguments of recipe_trials.Trial: changes that are not parameters
    model: str
    repeat: int
    fold: int
    folds: int
    share: float  # of the training tracks that are used
    conditions: tuple[str, ...]

    @property
    def settings(self) -> str:
        """Settings of the spectrograms."""
        return json.dumps(self.content["spectrograms"], sort_keys=True)

    @property
    def key(self) -> str:
        """Hash of everything that affects the result."""
        model = asdict(params.check(self.content).models[self.model])
        model["train"] = {key: value for key, value in model["train"].items() if key not in ("seed", "runs")}
        described = [
            self.data, model, self.content["spectrograms"], self.trial, self.model, self.repeat, self.fold, self.folds,
            self.share, self.conditions,
        ]  # fmt: skip
        return documents.hash_json(described)[:16]


def main() -> None:
    arguments = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # stops the workers, too
    with errors_in_one_line("recipe"):
        tasks = make_tasks(arguments)
        run_all(tasks, arguments.out)
        print(results_table(tasks, arguments.out))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", type=Path, metavar="CANDIDATES.yaml")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="candidates to train; if the base of one is not named, it is compared with the first; default: all",
    )
    parser.add_argument("--models", nargs="+", default=["cnn"], metavar="MODEL", help="default: cnn")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="default: %(default)s")
    parser.add_argument("--folds", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--copies", nargs="*", default=COPIES, choices=list(CHANGES), metavar="COPY", help="none if no value is given"
    )
    parser.add_argument("--out", type=Path, default=WORK / "results.jsonl", metavar="RESULTS.jsonl")
    return parser.parse_args(arguments)


def make_tasks(arguments: argparse.Namespace) -> list[Task]:
    candidates = yaml.safe_load(arguments.candidates.read_text(encoding="utf-8"))
    names = arguments.only or list(candidates)
    for name in names:
        params.check_choice(name, candidates, "--only")
    data, tasks = hash_data(), []
    for repeat, name in product(range(arguments.repeats), names):
        changes = dict(candidates[name] or {})
        base, trial, share = changes.pop("base", None), changes.pop("trial", {}), changes.pop("share", 1.0)
        if base not in (None, *candidates):
            raise InputError(f"{arguments.candidates}: {name}: expected a candidate as base, found {base}")
        if arguments.only and base not in names:
            base = names[0] if name != names[0] else None
        content = changed(yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8")), changes)
        params.check(content)
        conditions = (CLEAN, *arguments.copies)
        tasks += [
            Task(name, base, data, content, trial, model, repeat, fold, arguments.folds, share, conditions)
            for model, fold in product(arguments.models, range(arguments.folds))
        ]
    return tasks


def changed(content: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set parameters by their dotted names. A parameter in a model's section wins over the one in `train`."""
    for name, value in changes.items():
        *groups, key = name.split(".")
        group: Any = content
        for part in groups:
            if not isinstance(group.get(part), dict):
                raise InputError(f"{name}: expected a section {part} in params.yaml, found none")
            group = group[part]
        group[key] = value
    return content


def hash_data() -> str:
    return documents.hash_json([receipt.read_receipt().audio.sha1, read_tracks().to_csv()])


def read_tracks() -> pd.DataFrame:
    """Rows of the index for the used training and validation tracks."""
    tracks = store.used(store.read_index(store.DATA / store.INDEX))
    return tracks[tracks["split"] != "test"]


# Stores. ----------------------------------------------------------------------------------------------------------


def make_stores(task: Task) -> dict[str, Stores]:
    """Extract the spectrograms of the training and validation tracks' clips and of their copies.

    Returns:
        Stores by condition and representation.
    """
    settings = params.check(task.content).spectrograms
    archives, tracks = receipt.read_receipt(), read_tracks()
    classes = sorted(tracks["genre"].unique())
    descriptions = {
        name: describe(name, settings, archives.dataset, archives.synthetic, classes)
        for name in settings.representations
    }
    stores: dict[str, Stores] = {}
    for condition in task.conditions:
        if condition == CLEAN:
            archive = receipt.open_archive(archives, "audio").path
        else:
            archive = copied_archive(condition, tracks, WORK / "archives")
        folder = WORK / "stores" / stage.fingerprint([task.data, archive.name, asdict(settings)])
        stores[condition] = extract_store(archive, tracks, settings, descriptions, folder)
    return stores


def of_fold(task: Task, opened: Store) -> Store:
    """Mark the tracks of a part of the artists as validation tracks, and all others as training tracks.

    If the task uses a share of the training tracks, the others are left out.
    """
    index = opened.index
    is_held_out = divide(index, "artist_id", task.folds, seed=task.repeat) == task.fold
    genres = index[~is_held_out].groupby("genre")
    kept = genres.sample(frac=task.share, random_state=task.repeat).index
    index = index.assign(split=np.where(is_held_out, "validation", "training"))
    index["frames"] = index["frames"].where(is_held_out | index.index.isin(kept), 0)
    return replace(opened, index=index)


# Training. --------------------------------------------------------------------------------------------------------


def run_all(tasks: Sequence[Task], out: Path) -> None:
    """Run the tasks whose results are not in `out`, and append their results."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done = read_results(out)
    files.write_text(out, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in done.values()))
    unfinished = {task.key: task for task in tasks if task.key not in done}
    stores: dict[str, dict[str, Stores]] = {}  # by settings and condition
    for task in unfinished.values():
        if task.settings not in stores:
            stores[task.settings] = make_stores(task)
    work = (delayed(run)(task, stores[task.settings]) for task in unfinished.values())
    parallel = Parallel(worker_count(), return_as="generator_unordered", batch_size=1)
    for record in run_in_workers(parallel, work, lambda: "a rerun resumes"):
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        shown = {name: f"{correct / record['tracks']:.3f}" for name, correct in record["correct"].items()}
        print(*(record[name] for name in ("candidate", "model", "repeat", "fold", "seconds")), shown, flush=True)


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """Results by key. If a search was killed while it wrote a line, this last line is ignored."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return {record["key"]: record for record in map(json.loads, lines)}


def run(task: Task, stores: Mapping[str, Stores]) -> dict[str, Any]:
    """Train a network on all folds but one; return the number of correct tracks of this fold in each condition."""
    start = time.perf_counter()
    torch.set_num_threads(1)
    model, device = params.check(task.content).models[task.model], torch.device("cpu")
    opened = {condition: of_fold(task, found[model.representation]) for condition, found in stores.items()}
    training = Clips.load(opened[CLEAN], "training", model.train.segment_frames, device)
    tested = {
        condition: Clips.load(found, "validation", model.train.segment_frames, device)
        for condition, found in opened.items()
    }
    network, front_end, curve = train_network(task, model, training, tested[CLEAN])

    correct, loss = {}, {}
    for condition, clips in tested.items():
        probabilities = predict(network, clips, front_end).track_probabilities()
        correct[condition] = int((probabilities.argmax(dim=1) == clips.labels).sum())
        loss[condition] = round(float(nll_loss(probabilities.clamp(min=1e-9).log(), clips.labels)), 4)
    return {
        "key": task.key,
        "candidate": task.candidate,
        "model": task.model,
        "dataset": task.content["dataset"],
        "repeat": task.repeat,
        "fold": task.fold,
        "share": task.share,
        "training": len(training.labels),
        "tracks": len(tested[CLEAN].labels),
        "correct": correct,
        "loss": loss,
        "curve": curve,
        "seconds": round(time.perf_counter() - start),
    }


def train_network(
    task: Task, model: Model, training: Clips, held_out: Clips
) -> tuple[nn.Module, FrontEnd, list[float]]:
    """Train a network.

    Returns:
        The network, the front end for predictions, and the accuracies of the fold's tracks at eight points of the
        training. They are for information; the weights after the last epoch are used.
    """
    make_deterministic(100 * task.repeat + task.fold)
    network_arguments, front_end_arguments = build.read_arguments(model, f"models.{task.model}")
    settings = checkpoint.Settings(
        key=task.model,
        network=model.network,
        network_arguments=network_arguments,
        front_end=model.front_end,
        front_end_arguments=front_end_arguments,
        train=model.train,
        store=training.description,
    )
    fitted, network = build.fit_front_end(model.front_end, front_end_arguments, training), settings.build()
    trial = Trial(**task.trial)
    with tempfile.TemporaryDirectory() as scratch, trial.applied(network, fitted) as front_end:
        history = train(network, training, held_out, front_end, model.train, Path(scratch) / f"fold{task.fold}.pt")
    step = max(1, len(history) // 8)
    curve = [round(epoch.validation_accuracy, 3) for epoch in history[step - 1 :: step]]
    return network, trial.for_prediction(fitted), curve


# Results. ---------------------------------------------------------------------------------------------------------


def results_table(tasks: Sequence[Task], out: Path) -> str:
    """Markdown table: accuracy of each model and candidate, and its difference from the candidate that it changes."""
    results = read_results(out)
    rows = [["model", "candidate", "folds", *tasks[0].conditions, "changes", "difference"]]
    found: dict[tuple[str, str], list[Task]] = defaultdict(list)
    for task in tasks:
        found[task.model, task.candidate].append(task)
    for (model, candidate), own in found.items():
        records, base = [results[task.key] for task in own], own[0].base
        accuracies = [f"{100 * accuracy(records, condition).mean():.1f}" for condition in own[0].conditions]
        change = difference(records, [results[task.key] for task in found[model, base]]) if base else ""
        rows.append([model, candidate, str(len(own)), *accuracies, base or "", change])
    return table(rows)


def accuracy(records: Sequence[Mapping[str, Any]], condition: str) -> np.ndarray:
    """Accuracy in each fold (folds,)."""
    return np.array([record["correct"][condition] / record["tracks"] for record in records])


def difference(records: Sequence[Mapping[str, Any]], reference: Sequence[Mapping[str, Any]]) -> str:
    """Mean paired difference on the unchanged clips in points, with its standard error."""
    changes = 100 * (accuracy(records, CLEAN) - accuracy(reference, CLEAN))
    return f"{changes.mean():+.1f} ± {standard_error(changes, fold_ratio(records)):.1f}"


def fold_ratio(records: Sequence[Mapping[str, Any]]) -> float:
    """Test tracks / training tracks of a fold, if all training tracks are used.

    With a share of the training tracks, folds have fewer of them in common, so their correlation is not larger.
    """
    return float(np.mean([record["tracks"] * record["share"] / record["training"] for record in records]))


def standard_error(values: np.ndarray, ratio: float) -> float:
    """Standard error of the mean of `values` (folds,), corrected after Nadeau and Bengio 2003.

    Args:
        ratio: test tracks / training tracks of a fold. The more training tracks folds share, the less they differ.
    """
    return float(values.std(ddof=1) * np.sqrt(1 / len(values) + ratio))


if __name__ == "__main__":
    main()
