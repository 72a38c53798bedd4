"""The SVM on recording conditions: what it may know, and its place beside the systems."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fma_genre import store
from fma_genre.common.params import RESERVED_NAMES, Compare
from fma_genre.results import recording_conditions
from fma_genre.results.comparison import Comparison, compare
from fma_genre.results.recording_conditions import COLUMNS, conditions
from fma_genre.results.report import headline, report
from fma_genre.results.tables import numbers, predictions_table
from synthetic import BASELINES, DATASET, MODELS, make_baseline, make_index, make_model, make_systems


def make_conditions(seed: int = 0) -> pd.DataFrame:
    """An index with random conditions. One genre is quieter than the others, but some of its tracks are as loud."""
    index = make_index(artists=30)
    generator = np.random.default_rng(seed)
    size = len(index)
    loudness = generator.normal(-15, 2, size) - 6 * (index["genre"] == "Jazz")
    return index.assign(
        rate=generator.choice([44100, 48000], size),
        channels=generator.choice([1, 2], size),
        bit_rate=generator.choice([128, 192, 256, 320], size),
        bandwidth=generator.integers(15_000, 20_000, size),
        loudness=loudness.round(1),
        length=generator.uniform(20, 30, size),
    )


def compared(index: pd.DataFrame, *, apart: bool) -> Comparison:
    model = make_model(index, **MODELS["cnn"])
    other = make_model(index, seed=1, **MODELS["birnn"])
    loaded = make_systems({"cnn": model, "birnn": other}, {"svm": make_baseline(index, **BASELINES["svm"])})
    settings = Compare(reference="cnn", fusion=("cnn", "birnn"), stacking=(), resamples=400, confidence=0.95, seed=0)
    system = conditions(DATASET, index) if apart else None
    return compare(loaded, index, settings, dataset=DATASET, synthetic=False, conditions=system)


def test_predictions_are_those_of_scikit_learns_grid_search() -> None:
    index = make_conditions()
    used = store.used(index)
    tried = used[used["split"] != "test"]
    folds = PredefinedSplit(np.where(tried["split"] == "training", -1, 0))
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SVC()), {"svc__C": [1, 3, 10]}, cv=folds, refit=False
    ).fit(tried[COLUMNS], tried["genre"])  # fmt: skip
    training, test = (used[used["split"] == split] for split in ("training", "test"))
    svm = make_pipeline(StandardScaler(), SVC(C=search.best_params_["svc__C"])).fit(
        training[COLUMNS], training["genre"]
    )
    found = conditions(DATASET, index).predictions
    expected = svm.predict(test[COLUMNS])
    assert found.facts["c"] == search.best_params_["svc__C"]
    assert [found.classes[label] for label in found.test.labels[0]] == expected.tolist()
    assert len(set(expected)) > 1


def test_neither_the_music_nor_test_genres_are_used() -> None:
    index = make_conditions()
    before = conditions(DATASET, index).predictions.test.labels
    test = index["split"] == "test"
    changed = index.assign(frames=index["frames"].where(index["frames"] == 0, 99), artist_id=1, genres="a / b")
    changed.loc[test, "genre"] = index.loc[test, "genre"].to_numpy()[::-1]
    np.testing.assert_array_equal(conditions(DATASET, changed).predictions.test.labels, before)


@pytest.mark.parametrize("column", COLUMNS)
def test_each_condition_can_give_a_genre_away(column: str) -> None:
    index = make_index(artists=30).assign(rate=44100, channels=2, bit_rate=256, bandwidth=16_000, loudness=-15.0)
    index[column] = index[column] * np.where(index["genre"] == "Jazz", 2, 1)
    found = conditions(DATASET, index).predictions
    jazz = index.set_index("track_id")["genre"].loc[found.test.tracks] == "Jazz"
    assert ((found.test.labels[0] == found.classes.index("Jazz")) == jazz).all()


def test_equal_conditions_reveal_no_more_than_the_sizes_of_the_genres() -> None:
    comparison = compared(make_index(artists=30), apart=True)
    assert comparison.conditions
    np.testing.assert_array_equal(comparison.conditions.labels, comparison.rows[0].labels)


def test_a_large_data_set_is_fitted_to_tracks_from_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    index = make_conditions()
    sizes = []
    fit = recording_conditions.rbf_svm.fit

    def recorded(arguments: object, training: tuple[np.ndarray, np.ndarray], validation: object) -> object:
        sizes.append((len(training[0]), len(np.unique(training[1]))))
        return fit(arguments, training, validation)  # type: ignore[arg-type]

    monkeypatch.setattr(recording_conditions.rbf_svm, "fit", recorded)
    monkeypatch.setattr(recording_conditions, "MAX_TRACKS", 50)
    conditions(DATASET, index)
    assert sizes == [(50, 3)]


def test_the_row_changes_no_other_number() -> None:
    index = make_conditions()
    plain, apart = (compared(index, apart=apart) for apart in (False, True))
    numbers_apart = numbers(apart)
    assert numbers_apart.pop("conditions")["accuracy"] > numbers(plain)["systems"]["majority"]["accuracy"]
    assert numbers_apart == numbers(plain)
    assert headline(apart) == headline(plain)
    assert predictions_table(apart, "test").equals(predictions_table(plain, "test"))


def test_the_report_has_a_row_and_says_how_to_read_it() -> None:
    plain, apart = (report(compared(make_conditions(), apart=apart)) for apart in (False, True))
    added = [line for line in apart.splitlines() if line not in plain.splitlines()]
    assert [line.split()[1] for line in added if line.startswith("|")] == ["conditions"]
    assert "The row conditions is no system of the comparison" in apart
    assert "conditions" not in plain
    rows = [line.split()[1] for line in apart.splitlines() if line.startswith("| ")]
    assert rows[1:4] == ["majority", "conditions", "svm"]


def test_a_system_cannot_have_the_name_of_the_row() -> None:
    assert recording_conditions.CONDITIONS in RESERVED_NAMES
