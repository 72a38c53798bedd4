"""src/choose.py ranks candidates for a model's recipe by their validation tracks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import choose
from choose import CURRENT, Candidate, read_candidates
from fma_genre.common import params
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from fma_genre.results.predictions import Predictions
from fma_genre.scored_split import score_split
from project import PARAMS, Project, stages_run
from synthetic import DATASET, make_index, make_model

INDEX = make_index(artists=40, tracks=6)


@pytest.fixture
def parameters() -> Params:
    loaded = params.load(PARAMS)
    return replace(loaded, dataset=DATASET, datasets={DATASET: loaded.data_set})


def candidates_in(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch, parameters: Params) -> list[Candidate]:
    path = folder / "candidates.yaml"
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(choose, "CANDIDATES", path)
    return read_candidates(parameters, "birnn")


# Candidates. ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "value", "expected"),
    [
        (8, "× 0.5", 4),
        (3, "× 0.5", 2),
        (8, "× 2", 16),
        (0.3, "× 2", 0.6),
        (8, 5, 5),
        (True, False, False),
        (1, "a", "a"),
    ],
)
def test_a_value_is_new_or_a_multiple_of_the_present_one(present: Any, value: Any, expected: Any) -> None:
    found = choose.changed_value("key", {"key": present}, value)
    assert found == expected
    assert type(found) is type(expected)


def test_a_candidate_changes_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Params) -> None:
    epochs = parameters.models["birnn"].train.epochs
    text = "- {epochs: × 2, mixup: 0.25}\n- {dropout: 0.1}\n"
    both, dropout = candidates_in(text, tmp_path, monkeypatch, parameters)
    assert both.name == f"choose-birnn-epochs-{2 * epochs}-mixup-0_25-{both.base}"
    assert both.settings == [f"++models.birnn.epochs={2 * epochs}", "++models.birnn.mixup=0.25"]
    assert yaml.safe_load(both.lines) == {"models": {"birnn": {"epochs": 2 * epochs, "mixup": 0.25}}}
    assert dropout.changes == {"dropout": 0.1}


def test_a_candidate_that_changes_nothing_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Params
) -> None:
    same = parameters.models["birnn"].train.mixup
    text = f"- {{mixup: {same}}}\n- {{epochs: × 1}}\n- {{mixup: {same}, epochs: × 2}}\n"
    (found,) = candidates_in(text, tmp_path, monkeypatch, parameters)
    assert "mixup" in found.changes
    assert "epochs" in found.changes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3", "expected a list of changes, found dict$"),
        ("- 3", "expected a list of changes"),
        ("- {}", "expected a list of changes"),
        ("- {epoch: 3}", "epoch: expected one of seed, runs, epochs,"),
        ("- {channels: 3}", "channels: expected one of seed,"),  # of the cnn
        ("- {mixup: abc}", r"models\.birnn\.mixup: expected a number"),
        ("- {epochs: × 0.01}", r"models\.birnn\.epochs: expected a whole number from 1"),
        ("- {dropout: 2}", r"models\.birnn\.dropout: expected"),
        ("- {precision: × 2}", "precision: expected a multiple of a number, found '× 2' of 'float32'$"),
        ("- {epochs: × a}", "epochs: expected a multiple of a number"),
    ],
)
def test_an_invalid_list_is_refused(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Params
) -> None:
    with pytest.raises(InputError, match=rf"candidates\.yaml: {message}"):
        candidates_in(text, tmp_path, monkeypatch, parameters)


def test_a_candidate_of_other_parameters_is_another_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Params
) -> None:
    birnn = parameters.models["birnn"]
    other = replace(parameters, models={"birnn": replace(birnn, train=replace(birnn.train, lr=0.5))})
    (before,), (again,), (after,) = (
        candidates_in("- {dropout: 0.1}", tmp_path, monkeypatch, given) for given in (parameters, parameters, other)
    )
    assert before == again
    assert before.name != after.name


# Ranking. ---------------------------------------------------------------------------------------------------------


def with_test_of(predicted: Predictions, other: Predictions) -> Predictions:
    return replace(predicted, test=other.test)


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line[2:-2].split("|")] for line in text.splitlines() if line.startswith("| ")]


def test_validation_tracks_decide(parameters: Params) -> None:
    """The candidate that is best on the test tracks is worst on the validation tracks."""
    good, bad, middle = (make_model(INDEX, share, seed=7, svm_head=True) for share in (0.9, 0.2, 0.6))
    candidates = [Candidate("cnn", {"epochs": 16}, "a"), Candidate("cnn", {"mixup": 0}, "a")]
    best, worst = (candidate.name for candidate in candidates)
    found = {CURRENT: middle, best: with_test_of(good, bad), worst: with_test_of(bad, good)}
    comparison = choose.rank(found, INDEX, parameters)
    text = choose.report(comparison, candidates)

    head, *rows = cells(text)
    assert head == ["recipe", "validation accuracy", "difference", "interval", "verdict"]
    assert [row[0] for row in rows] == [best, CURRENT, worst]
    labels = np.array([INDEX.set_index("track_id")["genre"][track] for track in good.validation.tracks])
    accuracy = np.mean(np.array(good.classes)[good.validation.labels] == labels)
    assert rows[0][1] == f"{100 * accuracy:.1f}"
    assert [row[-1] for row in rows] == ["better", "", "worse"]
    assert f"on {len(labels)} validation tracks by 40 artists of {DATASET}" in text
    assert text.endswith("The best candidate has these lines in params.yaml:\n\nmodels:\n  cnn:\n    epochs: 16")


def test_a_recipe_that_nothing_beats_is_kept(parameters: Params) -> None:
    candidate = Candidate("cnn", {"epochs": 1}, "a")
    found = {CURRENT: make_model(INDEX, 0.8), candidate.name: make_model(INDEX, 0.3)}
    text = choose.report(choose.rank(found, INDEX, parameters), [candidate])
    assert text.endswith("The recipe in params.yaml has the highest validation accuracy: keep it.")


def test_a_difference_that_may_be_chance_is_not_called_better(parameters: Params) -> None:
    candidate = Candidate("cnn", {"epochs": 1}, "a")
    found = {CURRENT: make_model(INDEX, 0.6, seed=1), candidate.name: make_model(INDEX, 0.62, seed=5)}
    comparison = choose.rank(found, INDEX, parameters)
    (difference,) = comparison.differences
    assert 0 < difference.intervals["accuracy"].value < 0.05, "this test needs a small difference"
    text = choose.report(comparison, [candidate])
    assert "cannot tell" in text
    assert "may be chance" in text


def test_predictions_for_other_tracks_are_refused(parameters: Params) -> None:
    candidate = Candidate("cnn", {"epochs": 1}, "a")
    other = make_model(make_index(artists=40, tracks=6, seed=3), 0.6)
    with pytest.raises(InputError, match=r"choose-cnn-epochs-1-a\.npz: expected the 240 validation tracks"):
        choose.rank({CURRENT: make_model(INDEX, 0.6), candidate.name: other}, INDEX, parameters)


# The whole command. -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_candidates_run_once_and_only_the_chosen_model_trains(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    candidates = project.path / "src/candidates.yaml"
    candidates.write_text("- {epochs: × 2}\n- {mixup: 0.5}\n", encoding="utf-8")
    project.run("git", "commit", "--quiet", "--all", "--message", "Candidates")
    before = (project.path / "params.yaml").read_bytes()

    first = project.run("python", "src/choose.py")
    assert stages_run(first.stdout) == {"train@cnn", "evaluate@cnn"}
    assert len(cells(first.stdout)) == 4
    assert (project.path / "params.yaml").read_bytes() == before
    again = project.run("python", "src/choose.py")
    assert "Running stage" not in again.stdout
    assert first.stdout.endswith(again.stdout)
    listed = project.run("python", "src/experiments.py").stdout
    assert "choose-cnn-mixup-0_5" in listed
    project.edit_params(lambda values: values["train"].update(lr=0.001))
    refused = project.run("python", "src/choose.py", check=False)
    message = "expected up-to-date predictions of cnn, found outdated ones: run `dvc repro` first"
    assert (refused.returncode, refused.stderr) == (1, f"choose: {message}\n")


def test_a_genre_without_scored_tracks_is_refused() -> None:
    """Without its tracks, the labels of the genres after it would change."""
    index = INDEX.assign(genre=INDEX["genre"].where(INDEX["split"] != "test", "Blues"))
    with pytest.raises(InputError, match="expected a training or validation track of each genre, found none of Blues"):
        score_split(index, "validation")
