"""Check the split, the labels and the metrics against accuracies that the FMA paper publishes.

    python src/known_answer.py [DATASET]

Fits the paper's classifiers to the official features in fma_metadata.zip, and compares their test accuracies with the
published ones. This needs no audio: only the metadata archive of the data set is fetched (342 MiB). DATASET is a key of
`datasets` in params.yaml, by default medium. Other data sets have no published accuracies.

Prints a table and a verdict. The results on medium are written to known_answer.json and README.md in docs/results. The
exit code is 1 if an accuracy differs from the published one.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import sklearn

from fma_genre.archives import tracks, zips
from fma_genre.common import params
from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.common.files import write_json
from fma_genre.common.params import DataSet
from fma_genre.fetch.sources import fetch_archive
from fma_genre.known_answer.official_features import read_features
from fma_genre.known_answer.reproduction import SYSTEMS, TOLERANCE, Score, check_training, is_published, reproduce
from fma_genre.results import results_page

RESULT = Path("docs/results/known_answer.json")
ROW = "{:<22}{:>9}{:>11}{:>10}{:>12}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Reproduce accuracies that the FMA paper publishes.")
    parser.add_argument("dataset", nargs="?", default="medium", help="a key of `datasets` in params.yaml")
    dataset = parser.parse_args().dataset
    datasets = params.load().datasets
    params.check_choice(dataset, datasets, "data set")
    entry = datasets[dataset]

    selected, features = read(dataset, entry)
    print(f"{dataset}: {describe(selected)}", flush=True)
    print(ROW.format("classifier", "features", "published", "measured", "difference"))
    results, published = [], is_published(entry)
    for system in SYSTEMS:
        results.append(reproduce(system, features, selected))
        print(row(results[-1], published), flush=True)

    if not published:
        print(f"{dataset}: no accuracy is published for these tracks, so there is nothing to compare")
        return 0
    write_json(RESULT, as_json(dataset, entry, selected, results))
    results_page.update()
    print(verdict(results))
    return 0 if all(result.agrees for result in results) else 1


def read(dataset: str, entry: DataSet) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fetch the metadata archive; return the tracks of the subset, and their official features in the same order."""
    if entry.synthetic:
        raise InputError(f"data set {dataset}: expected one with the FMA's features.csv, found the demo")
    metadata = fetch_archive(f"datasets.{dataset}.metadata", entry.metadata)
    label = f"{metadata.name} of data set {dataset}"
    with zips.open_zip(metadata.path) as archive:
        table = tracks.parse_table(zips.read_member(archive, "tracks.csv"), f"{label}: tracks.csv")
        selected = tracks.select(table, entry.subset, label, entry.expect)
        tracks.check_trainable(selected, label)
        check_training(selected, dataset)
        return selected, read_features(archive, selected["track_id"].tolist())


def count(selected: pd.DataFrame) -> dict[str, int]:
    """Number of tracks in each split."""
    return {split: int((selected["split"] == split).sum()) for split in tracks.SPLITS}


def describe(selected: pd.DataFrame) -> str:
    counts = ", ".join(f"{number:,} {split}" for split, number in count(selected).items())
    return f"{len(selected):,} tracks of {selected['genre'].nunique()} genres ({counts})"


def row(result: Score, published: bool) -> str:
    """Row of the table, without the published accuracy if it is of other tracks."""
    cells = [f"{100 * result.published:.2f}", f"{100 * result.accuracy:.2f}", f"{100 * result.difference:+.2f}"]
    if not published:
        cells[0] = cells[2] = "-"
    return ROW.format(result.classifier, result.features, *cells)


def verdict(results: Sequence[Score]) -> str:
    different = [f"{result.classifier} on {result.features} features" for result in results if not result.agrees]
    if different:
        return f"expected differences of at most {100 * TOLERANCE:g} point, found more for: {', '.join(different)}"
    return f"split, labels and metrics agree with the published results (within {100 * TOLERANCE:g} point)"


def as_json(dataset: str, entry: DataSet, selected: pd.DataFrame, results: Sequence[Score]) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "subset": entry.subset,
        "metadata_sha1": (entry.metadata.sha1 or "").lower(),
        "tracks": count(selected),
        "genres": int(selected["genre"].nunique()),
        "scikit_learn": sklearn.__version__,
        "tolerance": TOLERANCE,
        "agrees": all(result.agrees for result in results),
        "results": [asdict(result) for result in results],
    }


if __name__ == "__main__":
    with errors_in_one_line("known_answer"):
        sys.exit(main())
