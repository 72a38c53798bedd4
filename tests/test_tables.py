"""Numbers in metrics/comparison.json, and tables as CSV files."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fma_genre.results import metrics
from fma_genre.results.tables import genre_table, numbers, predictions_table, write_tables
from synthetic import compare_systems, make_comparison, make_index, make_model, make_systems

SCORES = {f"{metric}{end}" for metric in metrics.METRICS for end in ("", "_low", "_high")}
VALIDATION = {"validation_accuracy", "validation_f1"}
PROBABILITIES = {"top2_accuracy", "log_loss", "calibration_error"}
MODEL = {"network", "representation", "front_end", "parameters", "segment_frames", "segment_accuracy", *PROBABILITIES}


def test_numbers_have_every_row_difference_and_ensemble_by_its_key() -> None:
    comparison = make_comparison(4, 2, fusion=("cnn", "birnn"))
    found = numbers(comparison)
    assert json.loads(json.dumps(found)) == found
    assert list(found) == [
        "dataset", "n_test", "n_artists", "confidence", "reference", "systems", "differences", "ensembles",
        "ensemble_differences", "factorial",
    ]  # fmt: skip
    assert [found[key] for key in ("dataset", "n_test", "n_artists", "confidence", "reference")] == [
        "small", len(comparison.tracks), 10, 0.95, "cnn",
    ]  # fmt: skip
    systems = ["svm", "forest", "cnn", "cnn_svm_head", "birnn", "cnn_stft", "birnn_mel", "fusion"]
    assert list(found["systems"]) == ["majority", *systems]
    assert list(found["differences"]) == [key for key in systems if key != "cnn"]
    ensembles = {f"{key}_ensemble" for key in ("cnn", "birnn", "cnn_stft", "birnn_mel", "fusion")}
    assert set(found["ensembles"]) == ensembles
    assert set(found["ensemble_differences"]) == ensembles - {"cnn_ensemble"}
    assert list(found["factorial"]) == ["architecture (birnn − cnn)", "input (stft − mel)", "interaction"]


def test_numbers_of_a_system_are_its_scores_facts_and_the_keys_that_apply() -> None:
    found = numbers(make_comparison(2, 2))["systems"]
    assert set(found["cnn"]) == {"runs", "accuracy_std", *SCORES, *VALIDATION, *MODEL}
    assert set(found["svm"]) == {"runs", "features", "classifier", "c", *SCORES, *VALIDATION, *PROBABILITIES}
    assert set(found["forest"]) == {"runs", "features", "classifier", "c", *SCORES, *VALIDATION}
    assert set(found["cnn_svm_head"]) == {"runs", "accuracy_std", *SCORES, *VALIDATION}
    assert set(found["majority"]) == {"runs", *SCORES, *VALIDATION}
    fused = numbers(make_comparison(2, 1, fusion=("cnn", "birnn")))["systems"]["fusion"]
    assert set(fused) == {"runs", *SCORES, *VALIDATION, *PROBABILITIES}, "its runs are not independent"
    stacked = numbers(make_comparison(2, 1, stacking=("cnn", "birnn")))["systems"]["stacking"]
    assert set(stacked) == {"runs", *SCORES, *VALIDATION}
    assert (found["cnn"]["runs"], found["svm"]["runs"], found["birnn"]["representation"]) == (2, 1, "stft")
    alone = numbers(make_comparison(1, 0, runs=1))
    assert set(alone["systems"]["cnn"]) == {"runs", *SCORES, *VALIDATION, *MODEL}


def test_numbers_are_those_of_the_comparison() -> None:
    comparison = make_comparison(4, 1)
    found = numbers(comparison)

    def assert_interval(values: dict[str, Any], metric: str, expected: tuple[float, ...]) -> None:
        assert [values[f"{metric}{end}"] for end in ("", "_low", "_high")] == pytest.approx(expected, abs=1e-6)

    for result in comparison.rows:
        for metric in metrics.METRICS:
            assert_interval(found["systems"][result.key], metric, result.intervals[metric])
    for difference in comparison.differences:
        values = found["differences"][difference.key]
        assert set(values) == {*SCORES, "p", "p_holm", "resolution"}
        for metric in metrics.METRICS:
            assert_interval(values, metric, difference.intervals[metric])
        expected = {"p": difference.p, "p_holm": difference.p_holm, "resolution": difference.resolution}
        assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    for difference in comparison.ensemble_differences:
        values = found["ensemble_differences"][difference.key]
        assert values["mcnemar_p"] == pytest.approx(comparison.mcnemar[difference.key].p, abs=1e-6)
        assert_interval(values, "f1", difference.intervals["f1"])
    assert comparison.factorial is not None
    for effect in comparison.factorial.effects:
        expected = {"value": effect.interval.value, "low": effect.interval.low, "high": effect.interval.high}
        expected |= {"p_holm": effect.p, "resolution": effect.resolution}
        assert found["factorial"][effect.name] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("key", ["cnn", "svm"])
def test_scores_are_those_of_the_systems_own_metrics_file(key: str) -> None:
    comparison = make_comparison(2, 1)
    found = numbers(comparison)["systems"][key]
    (result,) = (result for result in comparison.systems if result.key == key)
    summary = metrics.summarise(result.system.predictions, comparison.index)
    shared = [*metrics.METRICS, *VALIDATION, *({"accuracy_std", "segment_accuracy"} & set(summary))]
    assert {name: found[name] for name in shared} == {name: summary[name] for name in shared}


def test_a_single_system_has_no_differences() -> None:
    comparison = compare_systems(make_systems({"cnn": make_model(make_index(), 0.5, runs=1)}, {}), make_index())
    found = numbers(comparison)
    assert (found["differences"], found["ensembles"], found["ensemble_differences"]) == ({}, {}, {})
    assert "factorial" not in found


# CSV files. -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "metric"), [("test", "accuracy"), ("validation", "validation_accuracy")])
def test_tables_of_predictions_have_a_column_for_each_run_of_each_system(split: str, metric: str) -> None:
    comparison = make_comparison()
    table = predictions_table(comparison, split)
    columns = ["cnn_seed0", "cnn_seed1", "birnn_seed0", "birnn_seed1", "svm_seed0"]
    assert list(table.columns) == ["track_id", "artist_id", "actual", *columns]
    used = comparison.index[comparison.index["frames"] > 0]
    tracks = used[used["split"] == split]
    for column, name in (("track_id", "track_id"), ("artist_id", "artist_id"), ("actual", "genre")):
        assert table[column].tolist() == tracks[name].tolist()
    for result in comparison.systems:
        runs = [column for column in table.columns if str(column).startswith(f"{result.key}_seed")]
        right = [(table[run] == table["actual"]).mean() for run in runs]
        assert sum(right) / len(right) == pytest.approx(result.summary[metric], abs=1e-6)


def test_means_over_the_table_of_genres_are_the_macro_scores() -> None:
    comparison = make_comparison()
    for result in comparison.systems:
        table = genre_table(result, comparison)
        assert table["genre"].tolist() == comparison.genres
        for name in ("precision", "recall", "f1"):
            assert table[name].mean() == pytest.approx(result.summary[name], abs=2e-6)
        counts = comparison.tracks["genre"].value_counts()
        assert table["n_test"].tolist() == [counts[genre] for genre in comparison.genres]
        assert table["n_training"].is_monotonic_decreasing


def test_scores_of_a_genre_without_test_tracks_are_empty(tmp_path: Path) -> None:
    index = make_index()
    index = index[(index["split"] != "test") | (index["genre"] != "Jazz")]
    comparison = compare_systems(make_systems({"cnn": make_model(index, 0.5)}, {}), index)
    write_tables(comparison, tmp_path)
    table = pd.read_csv(tmp_path / "genres.csv").set_index("genre")
    assert table.loc["Jazz", ["precision", "recall", "f1"]].isna().all()
    assert table.loc["Jazz", "n_test"] == 0
    assert table["f1"].mean() == pytest.approx(comparison.models[0].summary["f1"], abs=2e-6)
    pairs = pd.read_csv(tmp_path / "confusion.csv")
    assert set(pairs["actual"][pairs["share"].isna()]) == {"Jazz"}
    assert pairs["share"].isna().sum() == len(comparison.genres)


def test_tables_have_the_systems_in_their_order_and_the_largest_genre_first(tmp_path: Path) -> None:
    comparison = make_comparison(2, 1)
    write_tables(comparison, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "predictions.csv",
        "predictions_validation.csv",
        "confusion.csv",
        "genres.csv",
    }
    genres = pd.read_csv(tmp_path / "genres.csv")
    assert genres[["system", "genre"]].to_numpy().tolist() == [
        [system, genre] for system in ("cnn", "birnn", "svm") for genre in comparison.genres
    ]
    confusion = pd.read_csv(tmp_path / "confusion.csv")
    assert confusion[["system", "actual", "predicted"]].to_numpy().tolist() == [
        [system, actual, predicted]
        for system in ("cnn", "birnn", "svm")
        for actual in comparison.genres
        for predicted in comparison.genres
    ]


def test_confusion_is_that_of_the_table_of_predictions(tmp_path: Path) -> None:
    write_tables(make_comparison(2, 1), tmp_path)
    predictions, confusion = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("predictions", "confusion"))
    for system, runs in (("cnn", 2), ("birnn", 2), ("svm", 1)):
        predicted = predictions.filter(regex=f"^{system}_seed")
        assert len(predicted.columns) == runs
        for row in confusion[confusion["system"] == system].to_dict("records"):
            of_genre = predicted[predictions["actual"] == row["actual"]].to_numpy()
            assert row["share"] == pytest.approx((of_genre == row["predicted"]).mean(), abs=1e-6)
