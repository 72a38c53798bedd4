"""Systems of params.yaml: loading of their predictions and learning curves, and checks of them."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fma_genre.common.errors import InputError
from fma_genre.common.params import Params, load
from fma_genre.results import predictions, systems
from project import PARAMS
from synthetic import DATASET, make_baseline, make_curve, make_index, make_model


@pytest.fixture
def params() -> Params:
    """Parameters with the models cnn and birnn and the baseline svm."""
    return replace(load(PARAMS), dataset=DATASET)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """An index of tracks. The current folder has predictions of all systems for them."""
    monkeypatch.chdir(tmp_path)
    index = make_index()
    for seed, model in enumerate(("cnn", "birnn")):
        predictions.write(Path(f"data/predictions/{model}.npz"), make_model(index, 0.7, seed=seed))
        Path("plots/training").mkdir(parents=True, exist_ok=True)
        make_curve().to_csv(f"plots/training/{model}.csv", index=False)
    predictions.write(Path("data/predictions/svm.npz"), make_baseline(index, 0.5))
    return index


def test_systems_are_those_of_params_in_their_order(params: Params, index: pd.DataFrame) -> None:
    found = systems.load(params, index)
    assert [(system.key, system.is_model) for system in found] == [("cnn", True), ("birnn", True), ("svm", False)]
    assert [system.curve is not None for system in found] == [True, True, False]
    assert found[2].facts["c"] == 3
    models = {key: params.models[key] for key in reversed(list(params.models))}
    reverse = systems.load(replace(params, models=models, baselines={}), index)
    assert [system.key for system in reverse] == ["birnn", "cnn"]


@pytest.mark.parametrize("path", ["data/predictions/birnn.npz", "data/predictions/svm.npz", "plots/training/cnn.csv"])
def test_a_missing_file_of_a_system_is_named(params: Params, index: pd.DataFrame, path: str) -> None:
    Path(path).unlink()
    with pytest.raises(FileNotFoundError) as found:
        systems.load(params, index)
    assert str(found.value.filename) == path


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("key", ["birnn", "svm"])
def test_a_system_of_other_tracks_is_refused(params: Params, index: pd.DataFrame, key: str, split: str) -> None:
    chosen = (index["split"] == split).to_numpy().nonzero()[0]
    other = index.drop(index.index[chosen[-1]])
    make = make_baseline if key == "svm" else make_model
    predictions.write(Path(f"data/predictions/{key}.npz"), make(other, 0.5))
    expected = f"{key}.npz: expected the 40 {split} tracks of data/index.csv, found 39 tracks with other ids or order"
    with pytest.raises(InputError, match=expected):
        systems.load(params, index)


def test_predictions_on_another_data_set_are_refused(params: Params, index: pd.DataFrame) -> None:
    with pytest.raises(
        InputError, match=r"cnn\.npz: expected predictions on the data set medium, found small: `dvc repro` replaces"
    ):
        systems.load(replace(params, dataset="medium"), index)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot read the learning curve: No columns"),
        ("epoch,loss\n1,2\n", "expected the columns .*, found epoch, loss"),
    ],
)
def test_a_damaged_learning_curve_is_one_line(params: Params, index: pd.DataFrame, content: str, message: str) -> None:
    Path("plots/training/birnn.csv").write_text(content)
    with pytest.raises(InputError, match=rf"plots/training/birnn\.csv: {message}"):
        systems.load(params, index)


def test_a_system_of_other_genres_is_refused(params: Params, index: pd.DataFrame) -> None:
    predictions.write(Path("data/predictions/svm.npz"), make_baseline(index.replace("Jazz", "Blues"), 0.5))
    with pytest.raises(InputError, match=r"svm\.npz: expected the genres Folk, Jazz, Rock, found Blues, Folk, Rock"):
        systems.load(params, index)


def test_files_of_removed_systems_are_deleted_and_named(
    params: Params, index: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    systems.remove_leftovers(params)
    assert capsys.readouterr().out == ""
    Path("metrics/training").mkdir(parents=True)
    gone = [
        "data/predictions/gone.npz", "metrics/gone.json", "metrics/training/gone.json", "metrics/training/svm.json",
        "plots/training/gone.csv", "plots/training/svm.csv",
    ]  # fmt: skip
    names = ("cnn", "birnn", "svm", "comparison", "promoted", "training/cnn", "training/birnn")
    kept = [f"metrics/{name}.json" for name in names]
    for path in (*gone, *kept):
        Path(path).touch()
    Path("data/predictions/.gitignore").write_text("/gone.npz\n")
    systems.remove_leftovers(params)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("removed files of systems that are no longer in params.yaml: ")
    assert line.partition(": ")[2] == ", ".join(gone)
    left = {str(path) for folder in ("data", "metrics", "plots") for path in Path(folder).rglob("*") if path.is_file()}
    assert left == {
        "data/predictions/.gitignore", "data/predictions/cnn.npz", "data/predictions/birnn.npz",
        "data/predictions/svm.npz", "plots/training/cnn.csv", "plots/training/birnn.csv", *kept,
    }  # fmt: skip
