"""Stage baseline: an SVM on statistics of each track's features, a reference beside the models."""

import stage

from pathlib import Path
from typing import Any

import pandas as pd
from joblib import cpu_count

from fma_genre import files, metrics, store
from fma_genre.baseline import Settings, features, fit

SPECTROGRAMS = Path("data/spectrograms")


def main(params: dict[str, Any]) -> None:
    stage.forget("spectrograms")
    index = store.read_index(SPECTROGRAMS / "index.csv")
    tracks = features(SPECTROGRAMS, index, settings(params), jobs=cpu_count())
    classes = pd.Index(sorted(index["genre"].unique()))
    labels = classes.get_indexer(pd.Index(index["genre"]))
    training, validation, test = ((index["split"] == split).to_numpy() for split in ("training", "validation", "test"))
    samples, checks = ((tracks[split], labels[split]) for split in (training, validation))
    machine, c = fit(samples, checks, params["baseline"]["svm"])
    predicted = machine.predict(tracks[test])

    scores = metrics.scores(metrics.confusion(labels[test], predicted, len(classes)))
    results = {"dataset": params["dataset"], "n_test": len(predicted)}
    results |= {name: float(score) for name, score in scores.items()} | {"c": c}
    files.write_json(Path("metrics/baseline.json"), results)
    table = index.loc[test, ["track_id", "artist_id"]].assign(actual=index["genre"], predicted=classes[predicted])
    files.write_text(Path("plots/predictions/baseline.csv"), table.to_csv(index=False, lineterminator="\n"))
    print(f"baseline: accuracy {results['accuracy']:.3f} on {len(table)} test tracks, F1 {results['f1']:.3f}")


def settings(params: dict[str, Any]) -> Settings:
    spectrograms = params["spectrograms"]
    return Settings(
        sample_rate=spectrograms["sample_rate"],
        n_fft=spectrograms["stft"]["n_fft"],
        floor_db=spectrograms["floor_db"],
        mfcc=params["baseline"]["mfcc"],
    )


if __name__ == "__main__":
    stage.run("baseline", main)
