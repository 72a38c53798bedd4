"""Stage evaluate: predict validation and test tracks with every run of a model, and compute its metrics."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from fma_genre.common import files, stage
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from fma_genre.common.workers import worker_count
from fma_genre.learning import build, checkpoint
from fma_genre.learning.build import FrontEnd
from fma_genre.learning.clips import Clips
from fma_genre.learning.device import devices, make_deterministic
from fma_genre.learning.inference import predict_runs
from fma_genre.results import metrics, predictions
from fma_genre.results.predictions import Example, Predictions, SplitPredictions
from fma_genre.store import Store, check_current, open_store

MAX_THREADS = 16  # each takes a few hundred megabytes


def main(params: Params, key: str) -> None:
    make_deterministic(seed=0)
    folder = Path("models") / key
    settings, front_end = checkpoint.load(folder)
    if settings.key != key:
        raise InputError(f"{folder}: expected the model {key}, found {settings.key}; run `dvc repro` to train {key}")
    store = open_store(params.models[key].representation)
    check_current(store, params)
    checkpoint.check_store(folder, settings, store.description)

    predicted = predict_all(folder, settings, build.move(front_end, devices()[0]), store, devices()[0])
    predictions.write(Path(f"data/predictions/{key}.npz"), predicted)
    summary = metrics.summarise(predicted, store.index)
    files.write_json(Path(f"metrics/{key}.json"), summary)
    print(f"{key}: accuracy {summary['accuracy']:.3f} on {summary['n_test']} test tracks, F1 {summary['f1']:.3f}")


def predict_all(
    folder: Path, settings: checkpoint.Settings, front_end: FrontEnd, store: Store, device: torch.device
) -> Predictions:
    """Predict the validation and test tracks with every run of a model.

    Args:
        folder: folder of the trained model.
        settings: the model's settings.
        front_end: the model's front end, on `device`.
        store: the store that the model reads.
    """
    seeds = settings.seeds
    runs = [checkpoint.load_run(folder, settings, seed) for seed in seeds]
    networks = [network.to(device) for network, _ in runs]
    heads = [head for _, head in runs if head]
    clips = {split: Clips.load(store, split, settings.train.segment_frames, device) for split in predictions.SPLITS}
    validation, test = (
        predict_split(networks, heads, front_end, clips[split], store.tracks(split)["track_id"].to_numpy())
        for split in predictions.SPLITS
    )
    facts = {
        "network": settings.network,
        "representation": settings.store.representation,
        "front_end": settings.front_end,
        "segment_frames": settings.train.segment_frames,
        "parameters": sum(weights.numel() for weights in networks[0].parameters()),
        "multiply_adds": count_multiply_adds(settings),
    }
    assert test.probabilities is not None
    ensemble = np.mean(test.probabilities, axis=0)  # (tracks, classes)
    return Predictions(
        dataset=settings.store.dataset,
        classes=list(settings.store.classes),
        seeds=seeds,
        validation=validation,
        test=test,
        facts=facts,
        frequencies=np.array(settings.store.frequencies),
        examples=choose_examples(clips["test"], ensemble),
    )


def count_multiply_adds(settings: checkpoint.Settings) -> int:
    """Count the multiply-adds of a network's convolutions and matrix products for one segment."""
    with torch.device("meta"):
        network, segment = settings.build().eval(), torch.empty(1, settings.train.segment_frames, settings.bins)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(segment)
    return counter.get_total_flops() // 2


def predict_split(
    networks: list[torch.nn.Module],
    heads: list[checkpoint.LinearSVM],
    front_end: FrontEnd,
    clips: Clips,
    track_ids: np.ndarray,
) -> SplitPredictions:
    """Predict the clips of a split with every network and, if there are any, with the networks' SVM heads.

    Args:
        networks: one network per run.
        heads: one SVM head per network, or an empty list.
        track_ids: ids of the split's tracks (tracks,).
    """
    threads = min(worker_count(), MAX_THREADS) if clips.labels.device.type == "cpu" else 1
    predicted = predict_runs(networks, clips, front_end, threads)
    probabilities = np.array([prediction.track_probabilities().numpy() for prediction in predicted])
    features = [prediction.track_features.numpy() for prediction in predicted]
    tracks, starts = (tensor.cpu().numpy() for tensor in clips.even_segments())
    return SplitPredictions(
        tracks=track_ids,
        labels=probabilities.argmax(axis=2),
        probabilities=probabilities,
        segment_probabilities=np.array([prediction.probabilities.numpy() for prediction in predicted]),
        segment_tracks=tracks,
        segment_starts=starts * clips.description.hop / clips.description.sample_rate,
        svm_head_labels=np.array([head.predict(x) for head, x in zip(heads, features, strict=True)]) if heads else None,
    )


def choose_examples(clips: Clips, probabilities: np.ndarray) -> list[Example]:
    """Choose the clips for the figure of segment predictions.

    They are the prediction with the smallest margin between the two most probable genres and, where they exist, the
    most confident correct prediction and the most confident error.

    Args:
        clips: clips of the test tracks.
        probabilities: the ensemble's probabilities (tracks, classes).
    """
    is_correct = probabilities.argmax(axis=1) == clips.labels.cpu().numpy()
    highest = probabilities.max(axis=1)
    second = np.sort(probabilities)[:, -2:-1].sum(axis=1)  # 0 if there is only one class
    margin = highest - second

    chosen = {}
    if is_correct.any():
        chosen["Most confident correct"] = np.where(is_correct, highest, 0).argmax()
    chosen["Smallest margin"] = margin.argmin()
    if not is_correct.all():
        chosen["Most confident error"] = np.where(is_correct, 0, highest).argmax()
    return [make_example(kind, int(track), clips) for kind, track in chosen.items()]


def make_example(kind: str, track: int, clips: Clips) -> Example:
    """An example for the figure of votes, with a thumbnail of the clip at position `track` in `clips`."""
    length, clip = int(clips.lengths[track]), clips.read(torch.tensor([track], device=clips.labels.device))
    levels = clip.levels[clip.rows[0], :length].cpu().numpy()
    picture = predictions.thumbnail(clips.description.brightness(levels))
    return Example(kind, track, picture, length * clips.description.hop / clips.description.sample_rate)


if __name__ == "__main__":
    stage.run_for_system("evaluate", "models", main)
