"""Accuracy of all systems on copies of the clips, e.g. at a lower sample rate, compared with the clips themselves.

    python benchmarks/robustness.py [--split validation] [--copies "16 kHz" …] [--out FILE]

The script needs the outputs of `dvc repro`. It makes copies of the clips of the validation or test tracks, and extracts
their spectrograms. The trained models and the baselines, fitted to the unchanged training tracks, predict them. To
choose a recipe, use the validation tracks. The stacking and models on raw audio are left out. FILE receives the numbers
as JSON. Copies and spectrograms are kept in data/work/robustness, so an interrupted run resumes.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import pandas as pd

import baseline as baseline_stage
import evaluate as evaluate_stage
from copies import CHANGES, copied_archive, extract_store
from cross_validation import cell, difference, without_stacking
from fma_genre import store
from fma_genre.common import files, params, stage
from fma_genre.common.errors import errors_in_one_line
from fma_genre.common.params import Baseline, Params, Spectrograms
from fma_genre.learning import build, checkpoint
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import devices, make_deterministic
from fma_genre.results import systems
from fma_genre.results.comparison import Comparison, compare
from fma_genre.results.markdown import table
from fma_genre.results.predictions import SplitPredictions
from fma_genre.results.systems import System
from fma_genre.scored_split import score_split, use_split

CLEAN, COPY = "clean", "copy"  # the clips themselves; the split of all copies
WORK = store.DATA / "work" / "robustness"
Stores = Mapping[str, store.Store]  # by representation
Predict = Callable[[Stores], SplitPredictions]


def main() -> None:
    arguments = parse(sys.argv[1:])
    with errors_in_one_line("robustness"):
        make_deterministic(seed=0)
        parameters = params.load()
        stores = {name: store.open_store(name) for name in parameters.spectrograms.representations}
        for opened in stores.values():
            store.check_current(opened, parameters)
        index = next(iter(stores.values())).index

        raw = {key for key, model in parameters.models.items() if model.representation in parameters.waveforms}
        found = [system for system in systems.load(parameters, index) if system.key not in raw]
        clean = [use_split(system, arguments.split) for system in found]
        predictors = [open_system(system, parameters, stores) for system in clean]
        predicted = {CLEAN: clean}
        for name in arguments.copies:
            copies = extract_copies(name, arguments.split, stores, parameters.spectrograms)
            predicted[name] = [
                with_predictions(system, predict(copies)) for system, predict in zip(clean, predictors, strict=True)
            ]

        tracks = score_split(index, arguments.split)
        settings, synthetic = without_stacking(parameters.compare), parameters.data_set.synthetic
        comparisons = {
            name: compare(found, tracks, settings, dataset=parameters.dataset, synthetic=synthetic)
            for name, found in predicted.items()
        }
        files.write_json(arguments.out, numbers(comparisons, arguments.split))
        print(f"{accuracy_table(comparisons)}\n\n{legend(comparisons[CLEAN], arguments.split)}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="validation", choices=["validation", "test"], help="default: %(default)s")
    parser.add_argument("--copies", nargs="+", default=list(CHANGES), choices=list(CHANGES), metavar="COPY")
    parser.add_argument(
        "--out", type=Path, default=WORK / "robustness.json", metavar="FILE", help="default %(default)s"
    )
    return parser.parse_args(arguments)


def extract_copies(name: str, split: str, stores: Stores, settings: Spectrograms) -> Stores:
    """Stores with copies of the clips of a split. All of their tracks are in the split COPY."""
    tracks = next(iter(stores.values())).tracks(split).assign(split=COPY)
    descriptions = {representation: opened.description for representation, opened in stores.items()}
    archive = copied_archive(name, tracks, WORK / "archives")
    folder = WORK / stage.fingerprint([archive.name, asdict(settings)])
    return extract_store(archive, tracks, settings, descriptions, folder)


# Predictions. -----------------------------------------------------------------------------------------------------


def open_system(system: System, parameters: Params, stores: Stores) -> Predict:
    """Load a trained model, or fit a baseline to the training tracks. Return a function that predicts copies."""
    if system.is_model:
        return open_model(Path("models") / system.key)
    return fit_baseline(parameters.baselines[system.key], f"baselines.{system.key}", stores)


def open_model(folder: Path) -> Predict:
    device, (settings, front_end) = devices()[0], checkpoint.load(folder)
    runs = [checkpoint.load_run(folder, settings, seed) for seed in settings.seeds]
    networks, heads = [network.to(device) for network, _ in runs], [head for _, head in runs if head]
    front_end = build.move(front_end, device)

    def predict(copies: Stores) -> SplitPredictions:
        copy = copies[settings.store.representation]
        checkpoint.check_store(folder, settings, copy.description)
        clips = Clips.load(copy, COPY, settings.train.segment_frames, device)
        return evaluate_stage.predict_split(networks, heads, front_end, clips, copy.used["track_id"].to_numpy())

    return predict


def fit_baseline(baseline: Baseline, where: str, stores: Stores) -> Predict:
    features, classifier = baseline_stage.load(baseline, where)
    arguments = baseline_stage.read_arguments(baseline, where)
    any_store = next(iter(stores.values()))  # all stores have the same index and classes
    values, classes = features.features(arguments["features"], stores), any_store.description.classes
    labels = pd.Index(classes).get_indexer(pd.Index(any_store.used["genre"]))
    of_split = [(any_store.used["split"] == split).to_numpy() for split in ("training", "validation")]
    training, validation = ((values[rows], labels[rows]) for rows in of_split)
    fitted, _ = baseline_stage.fit_runs(classifier, arguments["classifier"], training, validation)

    def predict(copies: Stores) -> SplitPredictions:
        tracks = next(iter(copies.values())).used["track_id"].to_numpy()
        values = features.features(arguments["features"], copies)
        return baseline_stage.predict_runs(list(fitted.values()), tracks, values, len(classes))

    return predict


def with_predictions(system: System, found: SplitPredictions) -> System:
    return replace(system, predictions=replace(system.predictions, validation=found, test=found))


# Results. ---------------------------------------------------------------------------------------------------------


def accuracy_table(comparisons: Mapping[str, Comparison]) -> str:
    """Markdown table: accuracy of each system in %, and the difference on each kind of copies with its interval."""
    results = {name: {row.key: row for row in found.rows} for name, found in comparisons.items()}
    confidence = comparisons[CLEAN].confidence
    lines = [["system", *comparisons]]
    for key, clean in results[CLEAN].items():
        changes = [difference(results[name][key], clean, confidence) for name in comparisons if name != CLEAN]
        lines.append(
            [key, f"{100 * clean.intervals['accuracy'].value:.1f}", *(cell(change, "+") for change in changes)]
        )
    return table(lines)


def numbers(comparisons: Mapping[str, Comparison], split: str) -> dict[str, Any]:
    clean = comparisons[CLEAN]
    return {
        "dataset": clean.dataset,
        "split": split,
        "tracks": len(clean.tracks),
        "accuracy": {
            name: {row.key: round(row.intervals["accuracy"].value, 4) for row in found.rows}
            for name, found in comparisons.items()
        },
    }


def legend(clean: Comparison, split: str) -> str:
    return (
        f"Accuracies in % on {len(clean.tracks)} {split} tracks of {clean.dataset}. The other columns show how much the"
        f" accuracy changes on copies of these clips, with {100 * clean.confidence:g} % intervals."
    )


if __name__ == "__main__":
    main()
