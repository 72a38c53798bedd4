"""What each part of the recipe is worth: cross-validation over the training and validation tracks of a data set.

    python benchmarks/ablations.py [--repeats 2] [--models cnn birnn] [--changes NAME …]

The spectrograms are those of data/spectrograms, the recipe is that of params.yaml, a change an entry of CHANGES. Folds
are stratified and have nothing to do with artists: use a data set that has a clip an artist, such as instruments. All
systems meet the same folds, and no choice is made on a fold that is scored: the last epoch's weights count, and the
baseline's C is chosen among the tracks it learns from; each candidate has a row beside it. Test tracks are not touched.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
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

import baseline as baseline_stage
from fma_genre import baseline, models, params, store
from fma_genre.device import devices, make_deterministic
from fma_genre.segments import Clips
from fma_genre.training import Settings, train

FOLDS = 5
SPLITS = ("training", "validation")
SPECTROGRAMS = Path("data/spectrograms")
CHANGES: dict[str, Callable[[Settings], Settings]] = {
    "params.yaml": lambda recipe: recipe,
    "whole spectrum": lambda recipe: replace(recipe, coefficients=512),
    "no pitch shift": lambda recipe: replace(recipe, pitch=0),
    "no mixup": lambda recipe: replace(recipe, mixup=0),
    "label smoothing": lambda recipe: replace(recipe, label_smoothing=0.1),
    "half as long": lambda recipe: replace(recipe, epochs=recipe.epochs // 2),
    "twice as long": lambda recipe: replace(recipe, epochs=recipe.epochs * 2),
}

Fold = tuple[int, np.ndarray, np.ndarray]  # its number, and the positions of tracks to learn from and to be judged by


def main() -> None:
    arguments = parse(sys.argv[1:])
    parameters = params.load(ROOT / "params.yaml")
    index = store.read_index(SPECTROGRAMS / "index.csv")
    index = pd.concat([index[index["split"] == split] for split in SPLITS])
    folds = splits(index, arguments.repeats)
    print(f"| system | change | accuracy, % of {len(index)} tracks, mean ± std over {arguments.repeats} repeats |")
    print("|---|---|---|")
    for name, accuracies in baselines(parameters, index, folds).items():
        print(f"| {name} | | {summary(accuracies)} |", flush=True)
    recipes = {model: Settings(**params.training_settings(parameters, model)) for model in arguments.models}
    tasks = {(model, change): CHANGES[change](recipes[model]) for change in arguments.changes for model in recipes}
    work = (
        delayed(accuracy)(parameters, model, settings, fold) for (model, _), settings in tasks.items() for fold in folds
    )
    found = Parallel(n_jobs=cpu_count() if devices()[0].type == "cpu" else 1, return_as="generator")(work)
    for model, change in tasks:
        accuracies = np.array([next(found) for _ in folds])
        print(f"| {model} | {change} | {summary(accuracies)} |", flush=True)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2, help="of the cross-validation, with other folds and seeds")
    parser.add_argument("--models", nargs="+", default=["cnn", "birnn"])
    parser.add_argument("--changes", nargs="+", default=list(CHANGES), choices=list(CHANGES), metavar="NAME")
    return parser.parse_args(arguments)


def splits(index: pd.DataFrame, repeats: int) -> list[Fold]:
    pairs = (
        pair
        for repeat in range(repeats)
        for pair in StratifiedKFold(FOLDS, shuffle=True, random_state=repeat).split(index, index["genre"])
    )
    return [(number, training, held_out) for number, (training, held_out) in enumerate(pairs)]


def accuracy(parameters: dict[str, Any], model: str, settings: Settings, fold: Fold) -> float:
    """Of one network, trained with its fold's number as seed, on the tracks that it has not seen."""
    number, training, held_out = fold
    make_deterministic(number)
    representation = params.representation(parameters, parameters["models"][model]["representation"])
    device = devices()[0]
    clips = both(Clips.load(SPECTROGRAMS, representation, device))
    learning, judging = (clips.of(torch.tensor(positions, device=device)) for positions in (training, held_out))
    network = build(parameters, model, clips).to(device)
    with tempfile.TemporaryDirectory() as folder:
        normalisation = learning.normalisation(settings.coefficients)
        history = train(network, learning, judging, normalisation, settings, Path(folder) / "state.safetensors")
    return history[-1].validation_accuracy


def build(parameters: dict[str, Any], model: str, clips: Clips) -> nn.Module:
    architecture = params.architecture(parameters, model)
    bins, classes = clips.levels.shape[2], len(clips.classes)
    return models.build(model, architecture, bins=bins, frames=clips.segment, classes=classes)


def both(clips: dict[str, Clips]) -> Clips:
    """The tracks of SPLITS, in this order."""
    parts = [clips[split] for split in SPLITS]
    columns = {name: torch.cat([vars(part)[name] for part in parts]) for name in ("rows", "lengths", "labels")}
    return replace(parts[0], **columns)


def baselines(parameters: dict[str, Any], index: pd.DataFrame, folds: list[Fold]) -> dict[str, np.ndarray]:
    """The SVM with each C, and with the one that is best in a cross-validation within the tracks it learns from."""
    tracks = baseline.features(SPECTROGRAMS, index, baseline_stage.settings(parameters), cpu_count())
    genres, candidates = index["genre"].to_numpy(), parameters["baseline"]["svm"]
    accuracies: dict[str, list[float]] = {}
    for _, training, held_out in folds:
        learning, judging = (tracks[training], genres[training]), (tracks[held_out], genres[held_out])
        machines = {f"C = {c:g}": baseline.fit(learning, learning, [c])[0] for c in candidates}
        search = GridSearchCV(next(iter(machines.values())), {"svc__C": candidates}, cv=FOLDS)
        for name, machine in (machines | {"C chosen": search.fit(*learning)}).items():
            accuracies.setdefault(f"SVM on MFCC, {name}", []).append(machine.score(*judging))
    return {name: np.array(scores) for name, scores in accuracies.items()}


def summary(accuracies: np.ndarray) -> str:
    """Mean ± standard deviation over the repeats, of which each is a mean over its folds."""
    repeats = 100 * accuracies.reshape(-1, FOLDS).mean(axis=1)
    return f"{repeats.mean():.1f} ± {repeats.std(ddof=1) if len(repeats) > 1 else 0:.1f}"


if __name__ == "__main__":
    main()
