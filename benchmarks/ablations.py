"""Ablations: effects of changes to the models, measured by cross-validation on the training and validation tracks.

    python benchmarks/ablations.py [--repeats 2] [--models cnn birnn] [--changes NAME …]

The script uses the spectrograms in data/ and the models in params.yaml. CHANGES defines the changes. All systems get
the same folds. Test tracks are not used.

The folds are stratified by genre but ignore artists, so the data set should have one clip per artist. Nothing is chosen
on the fold that is scored: networks are scored with the weights of the last epoch, and the C of the SVM is chosen by a
cross-validation within the training folds. The results also list the SVM with each fixed C.
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
BASELINE = "svm"  # key in `baselines`
Fold = tuple[int, np.ndarray, np.ndarray]  # number of the fold, positions of training and held-out tracks


def main() -> None:
    arguments = parse(sys.argv[1:])
    parameters = params.load(ROOT / "params.yaml")
    tracks = in_order(open_without_test("mel"))
    folds = make_folds(tracks, arguments.repeats)

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
    """Copy a model with changed training parameters."""
    return replace(model, train=replace(model.train, **changed))


def set_arguments(model: Model, **changed: Any) -> Model:
    """Copy a model with changed arguments of its network or its front end."""
    return replace(model, arguments={**model.arguments, **changed})


CHANGES: dict[str, Callable[[Model], Model]] = {
    "params.yaml": lambda model: model,
    "whole spectrum": lambda model: set_arguments(model, cepstral_coefficients=512),
    "no pitch shift": lambda model: set_train(model, max_pitch_shift=0.0),
    "no mixup": lambda model: set_train(model, mixup=0.0),
    "label smoothing": lambda model: set_train(model, label_smoothing=0.1),
    "half as long": lambda model: set_train(model, epochs=model.train.epochs // 2),
    "twice as long": lambda model: set_train(model, epochs=model.train.epochs * 2),
}


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=2, help="number of cross-validations, each with its own folds and seeds"
    )
    parser.add_argument("--models", nargs="+", default=["cnn", "birnn"])
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), choices=list(CHANGES), metavar="NAME")
    return parser.parse_args(arguments)


def open_without_test(representation: str) -> Store:
    """Open a store as if its test tracks had been left out."""
    store = open_store(representation)
    frames = store.index["frames"].where(store.index["split"].isin(SPLITS), 0)
    return replace(store, index=store.index.assign(frames=frames))


def in_order(store: Store) -> pd.DataFrame:
    """Rows of the index for the used tracks: first the training tracks, then the validation tracks."""
    return pd.concat([store.used[store.used["split"] == split] for split in SPLITS])


def make_folds(tracks: pd.DataFrame, repeats: int) -> list[Fold]:
    """Divide the tracks into stratified folds, differently in each repeat."""
    pairs = (
        pair
        for repeat in range(repeats)
        for pair in StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(tracks, tracks["genre"])
    )
    return [(number, training, held_out) for number, (training, held_out) in enumerate(pairs)]


def accuracy(key: str, model: Model, fold: Fold) -> float:
    """Train one network, seeded with the number of the fold; return its accuracy on the held-out tracks."""
    number, training_positions, held_out_positions = fold
    make_deterministic(number)
    device = devices()[0]
    clips = load_in_order(open_without_test(model.representation), model.train.segment_frames, device)
    training = clips.subset(torch.tensor(training_positions, device=device))
    held_out = clips.subset(torch.tensor(held_out_positions, device=device))

    network_arguments, front_end_arguments = build.read_arguments(model, f"models.{key}")
    network = build_network(model, network_arguments, clips)
    front_end = build.fit_front_end(model.front_end, front_end_arguments, training)
    with tempfile.TemporaryDirectory() as folder:
        history = train(network.to(device), training, held_out, front_end, model.train, Path(folder) / "state.pt")
    return history[-1].validation_accuracy


def build_network(model: Model, arguments: Mapping[str, Any], clips: Clips) -> nn.Module:
    bins, frames, classes = clips.levels.shape[2], clips.segment_frames, len(clips.classes)
    return build.build_network(model.network, arguments, model.network, bins=bins, frames=frames, classes=classes)


def load_in_order(store: Store, segment_frames: int, device: torch.device) -> Clips:
    """Load the clips of the used tracks, in the order of `in_order`."""
    by_split = Clips.load(store, segment_frames, device)
    clips = [by_split[split] for split in SPLITS]
    joined = {name: torch.cat([getattr(part, name) for part in clips]) for name in ("rows", "lengths", "labels")}
    return replace(clips[0], **joined)


def baselines(baseline: Baseline, folds: list[Fold]) -> dict[str, np.ndarray]:
    """Score the SVM with each fixed C, and with the C that a cross-validation on the training tracks chooses.

    Returns:
        accuracy in each fold (folds,), by system
    """
    declared = {"features": low_level.Arguments, "classifier": rbf_svm.Arguments}
    arguments = schema.read_arguments(baseline.arguments, declared, f"baselines.{BASELINE}")
    stores = {name: open_without_test(name) for name in low_level.REPRESENTATIONS}
    tracks, used = in_order(stores["mel"]), stores["mel"].used
    values = low_level.features(arguments["features"], stores)[used.index.get_indexer(tracks.index)]
    genres, candidates = tracks["genre"].to_numpy(), arguments["classifier"].c

    accuracies: dict[str, list[float]] = {}
    for _, training_positions, held_out_positions in folds:
        training = (values[training_positions], genres[training_positions])
        held_out = (values[held_out_positions], genres[held_out_positions])
        svms = {f"C = {c:g}": rbf_svm.fit(rbf_svm.Arguments((c,)), training, training)[0] for c in candidates}
        search = GridSearchCV(next(iter(svms.values())), {"svc__C": candidates}, cv=FOLDS)
        for name, svm in (svms | {"C chosen": search.fit(*training)}).items():
            accuracies.setdefault(f"SVM on low-level features, {name}", []).append(svm.score(*held_out))
    return {name: np.array(scores) for name, scores in accuracies.items()}


def summary(accuracies: np.ndarray) -> str:
    """Mean ± standard deviation over the repeats, in %. The accuracy of a repeat is the mean over its folds."""
    repeats = 100 * accuracies.reshape(-1, FOLDS).mean(axis=1)
    return f"{repeats.mean():.1f} ± {repeats.std(ddof=1) if len(repeats) > 1 else 0:.1f}"


if __name__ == "__main__":
    main()
