"""The worth of each part of the recipe: cross-validation over the training and validation tracks of a data set.

    python benchmarks/ablations.py [--repeats 2] [--models cnn birnn] [--changes NAME …]

The spectrograms are those of data/, the recipes those of params.yaml, a change is an entry of CHANGES. Folds are
stratified and disregard artists: use a data set that has a clip an artist, such as instruments. All systems meet the
same folds, and no choice is made on a fold that is scored: the last epoch's weights count, and the baseline's C is
chosen among the tracks it learns from; each candidate has a row beside it. Test tracks are not touched.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, cpu_count, delayed
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from fma_genre.baselines import low_level, rbf_svm
from fma_genre.common import params, schema
from fma_genre.common.params import Baseline, Model
from fma_genre.learning import build
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import devices, make_deterministic
from fma_genre.learning.training import train
from fma_genre.store import Store, open_store

FOLDS = 5
SPLITS = ("training", "validation")
BASELINE = "svm"  # of params.yaml
Fold = tuple[int, np.ndarray, np.ndarray]  # its number, and the positions of tracks to learn from and to be judged by


def main() -> None:
    arguments = parse(sys.argv[1:])
    parameters = params.load(ROOT / "params.yaml")
    tracks = in_order(open_without_test("mel"))
    folds = splits(tracks, arguments.repeats)

    print(f"| system | change | accuracy, % of {len(tracks)} tracks, mean ± std over {arguments.repeats} repeats |")
    print("|---|---|---|")
    for name, accuracies in baselines(parameters.baselines[BASELINE], folds).items():
        print(f"| {name} | | {summary(accuracies)} |", flush=True)

    models = {key: parameters.models[key] for key in arguments.models}
    tasks = {(key, change): CHANGES[change](models[key]) for change in arguments.changes for key in models}
    work = (delayed(accuracy)(key, model, fold) for (key, _), model in tasks.items() for fold in folds)
    found = Parallel(n_jobs=cpu_count() if devices()[0].type == "cpu" else 1, return_as="generator")(work)
    for key, change in tasks:
        accuracies = np.array([next(found) for _ in folds])
        print(f"| {key} | {change} | {summary(accuracies)} |", flush=True)


def set_train(model: Model, **changed: Any) -> Model:
    return replace(model, train=replace(model.train, **changed))


def set_arguments(model: Model, **changed: Any) -> Model:
    """A model with other arguments of its network or its front end."""
    return replace(model, arguments={**model.arguments, **changed})


CHANGES: dict[str, Callable[[Model], Model]] = {
    "params.yaml": lambda model: model,
    "whole spectrum": lambda model: set_arguments(model, coefficients=512),
    "no pitch shift": lambda model: set_train(model, pitch=0.0),
    "no mixup": lambda model: set_train(model, mixup=0.0),
    "label smoothing": lambda model: set_train(model, label_smoothing=0.1),
    "half as long": lambda model: set_train(model, epochs=model.train.epochs // 2),
    "twice as long": lambda model: set_train(model, epochs=model.train.epochs * 2),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=2, help="cross-validations, each with folds and seeds of its own"
    )
    parser.add_argument("--models", nargs="+", default=["cnn", "birnn"])
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), choices=list(CHANGES), metavar="NAME")
    return parser.parse_args(arguments)


def open_without_test(representation: str) -> Store:
    """A store whose test tracks are left out."""
    store = open_store(representation)
    frames = store.index["frames"].where(store.index["split"].isin(SPLITS), 0)
    return replace(store, index=store.index.assign(frames=frames))


def in_order(store: Store) -> pd.DataFrame:
    """The index of the used tracks, split by split."""
    return pd.concat([store.used[store.used["split"] == split] for split in SPLITS])


def splits(tracks: pd.DataFrame, repeats: int) -> list[Fold]:
    pairs = (
        pair
        for repeat in range(repeats)
        for pair in StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(tracks, tracks["genre"])
    )
    return [(number, training, held_out) for number, (training, held_out) in enumerate(pairs)]


def accuracy(key: str, model: Model, fold: Fold) -> float:
    """The accuracy of one network, trained with its fold's number as seed, on the tracks that it has not seen."""
    number, training, held_out = fold
    make_deterministic(number)
    device = devices()[0]
    clips = load_in_order(open_without_test(model.representation), model.train.segment_frames, device)
    learning, judging = (clips.subset(torch.tensor(positions, device=device)) for positions in (training, held_out))

    network_arguments, front_end_arguments = build.read_arguments(model, f"models.{key}")
    network = build_network(model, network_arguments, clips)
    front_end = build.fit_front_end(model.front_end, front_end_arguments, learning)
    with tempfile.TemporaryDirectory() as folder:
        history = train(network.to(device), learning, judging, front_end, model.train, Path(folder) / "state.pt")
    return history[-1].validation_accuracy


def build_network(model: Model, arguments: Mapping[str, Any], clips: Clips) -> nn.Module:
    bins, frames, classes = clips.levels.shape[2], clips.segment_frames, len(clips.classes)
    return build.build_network(model.network, arguments, model.network, bins=bins, frames=frames, classes=classes)


def load_in_order(store: Store, segment_frames: int, device: torch.device) -> Clips:
    """The clips of the used tracks, in the order of `in_order`."""
    clips = Clips.load(store, segment_frames, device)
    parts = [clips[split] for split in SPLITS]
    columns = {name: torch.cat([vars(part)[name] for part in parts]) for name in ("rows", "lengths", "labels")}
    return replace(parts[0], **columns)


def baselines(baseline: Baseline, folds: list[Fold]) -> dict[str, np.ndarray]:
    """The SVM with each C, and with the one that is best in a cross-validation within the tracks it learns from."""
    declared = {"features": low_level.Arguments, "classifier": rbf_svm.Arguments}
    arguments = schema.read_arguments(baseline.arguments, declared, f"baselines.{BASELINE}")
    stores = {name: open_without_test(name) for name in low_level.REPRESENTATIONS}
    tracks, used = in_order(stores["mel"]), stores["mel"].used
    values = low_level.features(arguments["features"], stores)[used.index.get_indexer(tracks.index)]
    genres, candidates = tracks["genre"].to_numpy(), arguments["classifier"].c

    accuracies: dict[str, list[float]] = {}
    for _, training, held_out in folds:
        learning, judging = (values[training], genres[training]), (values[held_out], genres[held_out])
        machines = {f"C = {c:g}": rbf_svm.fit(rbf_svm.Arguments((c,)), learning, learning)[0] for c in candidates}
        search = GridSearchCV(next(iter(machines.values())), {"svc__C": candidates}, cv=FOLDS)
        for name, machine in (machines | {"C chosen": search.fit(*learning)}).items():
            accuracies.setdefault(f"SVM on MFCC, {name}", []).append(machine.score(*judging))
    return {name: np.array(scores) for name, scores in accuracies.items()}


def summary(accuracies: np.ndarray) -> str:
    """Mean ± standard deviation over the repeats, each of which is a mean over its folds."""
    repeats = 100 * accuracies.reshape(-1, FOLDS).mean(axis=1)
    return f"{repeats.mean():.1f} ± {repeats.std(ddof=1) if len(repeats) > 1 else 0:.1f}"


if __name__ == "__main__":
    main()
