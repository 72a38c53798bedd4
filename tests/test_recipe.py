"""The search for a recipe: its folds, its candidates, its table, and a small run."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from project import PARAMS, ROOT, Project
from stores import describe
from synthetic import make_index

sys.path.append(str(ROOT / "benchmarks"))
import recipe
from fma_genre.common import params
from fma_genre.common.errors import InputError
from fma_genre.front_ends.standardised import FrontEnd
from fma_genre.store import Store
from recipe_trials import Trial

INDEX = make_index(artists=20, tracks=5)
INDEX = INDEX[(INDEX["split"] != "test") & (INDEX["frames"] > 0)].reset_index(drop=True)
TASK = recipe.Task("today", None, "data", {}, {}, "cnn", repeat=0, fold=0, folds=3, share=1.0, conditions=("clean",))


def content() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    return found


# Folds. -----------------------------------------------------------------------------------------------------------


def splits(**changes: Any) -> Store:
    return recipe.of_fold(replace(TASK, **changes), Store(Path(), describe([100, 200]), INDEX))


def test_every_track_is_held_out_once_and_no_artist_is_on_both_sides() -> None:
    held_out = []
    for fold in range(3):
        opened = splits(fold=fold)
        training, tested = opened.tracks("training"), opened.tracks("validation")
        assert not set(training["artist_id"]) & set(tested["artist_id"])
        assert len(training) + len(tested) == len(INDEX)
        held_out += tested["track_id"].tolist()
    assert sorted(held_out) == INDEX["track_id"].tolist()


def test_repeats_have_other_folds() -> None:
    first, again, other = (splits(repeat=repeat).index["split"].tolist() for repeat in (0, 0, 1))
    assert first == again
    assert first != other


def test_a_share_leaves_out_training_tracks_only() -> None:
    """Each genre keeps the same share."""
    everything, part = splits(), splits(share=0.5)
    assert part.tracks("validation").equals(everything.tracks("validation"))
    before, after = (opened.tracks("training")["genre"].value_counts() for opened in (everything, part))
    for genre, count in before.items():
        assert after[str(genre)] == pytest.approx(count / 2, abs=0.6)
    assert set(part.tracks("training")["track_id"]) < set(everything.tracks("training")["track_id"])


# Candidates. ------------------------------------------------------------------------------------------------------


def test_a_parameter_of_a_model_wins_over_that_of_all_models() -> None:
    changes = {"train.mixup": 0.25, "models.birnn.mixup": 0.7, "spectrograms.floor_db": 50}
    found = params.check(recipe.changed(content(), changes))
    assert {key: model.train.mixup for key, model in found.models.items()} == {"cnn": 0.25, "birnn": 0.7}
    assert found.spectrograms.floor_db == 50


def test_a_change_of_a_model_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match=r"^models\.cnm\.mixup: expected a section cnm in params\.yaml, found none$"):
        recipe.changed(content(), {"models.cnm.mixup": 0.7})


def test_the_key_of_a_result_depends_on_what_affects_it() -> None:
    task = replace(TASK, content=content())
    runs = recipe.changed(content(), {"train.runs": 5, "train.seed": 3})
    for same in ({"candidate": "other name"}, {"base": "former"}, {"content": runs}):
        assert replace(task, **same).key == task.key
    changes: list[dict[str, Any]] = [
        {"content": recipe.changed(content(), {"train.lr": 0.001})}, {"data": "other"},
        {"trial": {"average": 0.9}}, {"model": "birnn"}, {"repeat": 1}, {"fold": 1}, {"folds": 4},
        {"share": 0.5}, {"conditions": ("clean", "8 kHz")},
    ]  # fmt: skip
    keys = {replace(task, **change).key for change in changes}
    assert len(keys | {task.key}) == len(changes) + 1


def test_only_the_named_candidates_are_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A candidate whose base is not named is compared with the first."""
    monkeypatch.setattr(recipe, "hash_data", lambda: "data")
    monkeypatch.chdir(ROOT)
    file = tmp_path / "candidates.yaml"
    file.write_text("a: {}\nb: {base: a, train.mixup: 0.5}\nc: {base: b}\nd: {}\n", encoding="utf-8")

    def bases(*only: str) -> dict[str, str | None]:
        arguments = [str(file), *(["--only", *only] if only else [])]
        return {task.candidate: task.base for task in recipe.make_tasks(recipe.parse(arguments))}

    assert bases() == {"a": None, "b": "a", "c": "b", "d": None}
    assert bases("b", "c") == {"b": None, "c": "b"}
    assert bases("a", "c", "d") == {"a": None, "c": "a", "d": "a"}
    with pytest.raises(InputError, match=r"^--only: expected one of a, b, c, d, found 'e'"):
        bases("a", "e")


# Trials. ----------------------------------------------------------------------------------------------------------

FRONT_END = FrontEnd(torch.full((40,), 100.0), torch.full((40,), 10.0))
LEVELS = torch.randint(1, 256, (64, 128, 40), dtype=torch.uint8)


def test_a_trial_without_parts_changes_nothing() -> None:
    with Trial().applied(torch.nn.Linear(1, 1), FRONT_END) as front_end:
        for found in (front_end, Trial().for_prediction(FRONT_END)):
            assert torch.equal(found.decode(found.encode(LEVELS)), FRONT_END.encode(LEVELS))


@pytest.mark.parametrize(("part", "dim"), [("band_masks", 2), ("frame_masks", 1)])
def test_masks_cover_a_range_up_to_their_share(part: str, dim: int) -> None:
    parts: dict[str, Any] = {part: 0.25}
    trial = Trial(**parts)
    codes = torch.ones(2000, 128, 40)
    with trial.applied(torch.nn.Linear(1, 1), FRONT_END) as front_end:
        masked = front_end.decode(codes) == 0
        with torch.inference_mode():
            assert torch.equal(front_end.decode(codes), codes)
    covered = masked.all(dim=3 - dim)
    assert torch.equal(covered, masked.any(dim=3 - dim))
    borders = covered.int().diff(dim=1, prepend=torch.zeros(2000, 1, dtype=torch.int))
    assert (borders == 1).sum(dim=1).max() == 1, "a mask is not one range"
    assert covered.any(dim=0)[2:-2].all(), "no mask covers some position"
    share = covered.float().mean(dim=1)
    assert share.max() <= 0.25 + 1 / codes.shape[dim]
    assert share.mean() == pytest.approx(0.125, abs=0.01)
    assert torch.equal(trial.for_prediction(FRONT_END).decode(codes), codes)


def test_a_low_pass_leaves_no_sound_above_a_frequency() -> None:
    torch.manual_seed(0)
    with Trial(low_pass=0.5).applied(torch.nn.Linear(1, 1), FRONT_END) as front_end:
        found = [int((front_end.encode(LEVELS) != -10).any(dim=0).any(dim=0).sum()) for _ in range(200)]
    assert min(found) >= 12
    assert np.mean([count < 40 for count in found]) == pytest.approx(0.5, abs=0.1)


def test_a_bin_without_sound_reads_as_its_mean() -> None:
    levels = LEVELS.clone()
    levels[0, :, 7] = 0
    levels[1, 10:, 7] = 0  # with sound in 8 % of the frames
    codes = Trial(absent=True).for_prediction(FRONT_END).encode(levels)
    assert not codes[0, :, 7].any()
    assert torch.equal(codes[1:], FRONT_END.encode(levels)[1:])


def test_averaged_weights_follow_the_recursion() -> None:
    """After each update, average = decay · average + (1 − decay) · weights; the first update sets it."""
    network = torch.nn.Linear(1, 1, bias=False)
    optimiser, expected = torch.optim.SGD(network.parameters(), lr=0.1), None
    with Trial(average=0.9).applied(network, FRONT_END):
        for _ in range(5):
            optimiser.zero_grad()
            (network(torch.ones(1, 1)) ** 2).sum().backward()
            optimiser.step()
            weight = network.weight.item()
            expected = weight if expected is None else 0.9 * expected + 0.1 * weight
    assert network.weight.item() == pytest.approx(expected, rel=1e-5)


# Table. -----------------------------------------------------------------------------------------------------------


def test_the_error_of_a_difference_is_corrected_for_shared_training_tracks() -> None:
    """Nadeau and Bengio: the variance of the folds' differences times 1 / folds + test tracks / training tracks."""
    reference = [{"correct": {"clean": 50}, "tracks": 100, "training": 200, "share": 1.0} for _ in range(3)]
    records = [{"correct": {"clean": 50 + gain}, "tracks": 100, "training": 200, "share": 1.0} for gain in (1, 2, 6)]
    # mean 3, variance 7, so the error is √(7 · (1 / 3 + 1 / 2)) = 2.415
    assert recipe.difference(records, reference) == "+3.0 ± 2.4"


# A small run. -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_resumes_and_ends_with_a_table(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    (project.path / "candidates.yaml").write_text(
        "today: {}\nlonger: {base: today, train.epochs: 4, spectrograms.floor_db: 50}\n", encoding="utf-8"
    )
    command = [
        sys.executable,
        str(ROOT / "benchmarks/recipe.py"),
        "candidates.yaml",
        "--folds",
        "2",
        "--out",
        "r.jsonl",
    ]
    command += ["--copies", "8 kHz"]

    def run() -> str:
        return subprocess.run(
            command, cwd=project.path, env=project.environment, check=True, capture_output=True, text=True
        ).stdout

    first = run()
    (project.path / "wrong.yaml").write_text("longer: {base: today}\n", encoding="utf-8")
    wrong = [*command[:2], "wrong.yaml", *command[3:]]
    refused = subprocess.run(
        wrong, cwd=project.path, env=project.environment, check=False, capture_output=True, text=True
    )
    assert refused.stderr == "recipe: wrong.yaml: longer: expected a candidate as base, found today\n"

    lines = (project.path / "r.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [(record["candidate"], record["fold"]) for record in records] == [
        (name, fold) for name in ("today", "longer") for fold in (0, 1)
    ]
    for record in records:
        assert record["correct"].keys() == {"clean", "8 kHz"}
        assert all(0 <= correct <= record["tracks"] for correct in record["correct"].values())
    table = first[first.index("| model") :]
    (project.path / "r.jsonl").write_text("\n".join([*lines[:2], lines[3], lines[2][:50]]))  # a kill while it wrote
    assert run().endswith(table)
    again = [json.loads(line) for line in (project.path / "r.jsonl").read_text().splitlines()]
    assert again[-1] | {"seconds": 0} == records[2] | {"seconds": 0}
