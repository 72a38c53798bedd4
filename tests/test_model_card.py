"""The model card in the folder of the promoted model, and models without it or with another one."""

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from fma_genre import model_card
from fma_genre.common.errors import InputError
from fma_genre.common.params import Train
from fma_genre.model_card import Comparison, Model
from fma_genre.results import markdown
from project import PARAMS, Project
from stores import describe, make_index

PARSER = MarkdownIt("gfm-like", {"linkify": False, "html": True})
METRICS = ("accuracy", "precision", "recall", "f1")
BOUNDS = ("", "_low", "_high")
SCORES = [*(f"{name}{bound}" for name in METRICS for bound in BOUNDS), "validation_accuracy"]
MD5 = "0" * 32
NAMES = [
    "_a_", "*b*", "`c`", "d|e", "<b>f</b>", "[g](https://example.org)", "&amp;", "~~h~~", "@user", "https://example.org",
    "a\nb", "\\i", "![j](k)", "#l", "1. m", "a@example.org", "\u202en",
]  # fmt: skip


def card(classes: tuple[str, ...] = ("Folk", "Rock"), runs: int = 2, dataset: str = "tiny", **scores: Any) -> str:
    """The card of a model with these classes, on a test track of each."""
    values = yaml.safe_load(PARAMS.read_text())["train"]
    train = Train(**(values | {"runs": runs, "segment_frames": 128}))
    count = len(classes)
    genres, splits = [*classes, classes[0], *classes], ["training"] * (count + 1) + ["test"] * count
    tracks = make_index(genres, splits, [160] * len(genres))
    store = describe([50, 100], classes=classes, dataset=dataset)
    return model_card.model_card(Model("my_model", train, store, {}), tracks, comparison(**scores), MD5)


def comparison(**changes: Any) -> Comparison:
    """Scores that are all different."""
    number = iter(range(100, 1000))

    def scores() -> dict[str, float]:
        return {name: next(number) / 1000 for name in SCORES}

    values: dict[str, Any] = {
        "dataset": "tiny",
        "n_test": 2,
        "n_artists": 2,
        "confidence": 0.9,
        "systems": {"majority": scores(), "my_model": scores()},
        "ensembles": {"my_model_ensemble": scores()},
        "others": {},
    }
    return Comparison(**(values | changes))


def body(text: str) -> str:
    """The card without the block of metadata at its top."""
    _, metadata, rest = text.split("---\n", 2)
    assert yaml.safe_load(metadata)["pipeline_tag"] == "audio-classification"
    return rest


def rows(text: str) -> list[list[str]]:
    """The cells of all tables, as a reader sees them."""
    tokens = PARSER.parse(body(text))
    found: list[list[str]] = []
    for before, token in itertools.pairwise(tokens):
        if before.type == "tr_open":
            found.append([])
        if before.type in ("td_open", "th_open"):
            found[-1].append(seen(token))
    return found


def seen(token: Token) -> str:
    """The text of a paragraph or cell; fails if it has markup other than code."""
    assert {child.type for child in token.children or []} <= {"text", "code_inline"}, token.content
    return "".join(child.content for child in token.children or [])


def scores(values: dict[str, Any]) -> list[str]:
    """The cells of a system's row."""
    cells = [
        "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * values[f"{name}{bound}"] for bound in BOUNDS)) for name in METRICS
    ]
    return [*cells, f"{100 * values['validation_accuracy']:.1f}"]


# Content. ---------------------------------------------------------------------------------------------------------


def test_the_promoted_model_has_a_card_with_the_numbers_of_the_comparison(finished: Project) -> None:
    text = (finished.path / "models/promoted/README.md").read_text()
    measured = json.loads((finished.path / "metrics/comparison.json").read_text())
    index = pd.read_csv(finished.path / "data/index.csv", keep_default_na=False).query("frames > 0")
    counts = index.groupby("split")["artist_id"].agg(["size", "nunique"])
    splits = ["training", "validation", "test"]

    found = {row[0]: row[1:] for row in rows(text)}
    assert found["this model"] == scores(measured["systems"]["cnn"])
    assert found["always the most frequent genre"] == scores(measured["systems"]["majority"])
    assert found["all"] == [str(counts["size"][split]) for split in splits]
    assert found["artists"] == [str(counts["nunique"][split]) for split in splits]
    genres = pd.crosstab(index["genre"], index["split"])[splits]
    assert {genre: found[genre] for genre in genres.index} == {
        genre: [str(count) for count in row] for genre, row in zip(genres.index, genres.to_numpy(), strict=True)
    }
    assert "**This model was trained on a synthetic demo." in text
    assert "Free Music Archive" not in text
    assert "resamples to 22,050 Hz, so nothing above 11.025 kHz is used" in text


def test_a_model_of_music_is_no_demo_and_has_notes_on_licences() -> None:
    text = card(dataset="medium")
    assert "The data set is `medium`. " in text
    assert "demo" not in text
    assert "each artist chose the licence of a clip" in text
    assert "90 % intervals" in text
    assert "segments of 2.97 s of the representation `stft`" in text  # 128 frames of 512 samples at 22,050 Hz


def test_an_ensemble_is_scored_as_such_and_its_networks_on_average() -> None:
    found = {row[0]: row[1:] for row in rows(card(runs=3))}
    measured = comparison()
    assert found["this model"] == scores(measured.ensembles["my_model_ensemble"])
    assert found["one network, on average"] == scores(measured.systems["my_model"])
    assert "an ensemble of 3 networks" in card(runs=3)


def test_an_ensemble_without_scores_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"^ensembles\.my_model_ensemble: expected a group of named values, found None$"
    ):
        card(ensembles={})


def test_a_single_network_is_no_ensemble() -> None:
    text = card(runs=1)
    assert [row[0] for row in rows(text)[-2:]] == ["this model", "always the most frequent genre"]
    assert rows(text)[-2][1:] == scores(comparison().systems["my_model"])
    assert "ensemble" not in text


def test_artists_in_two_splits_are_counted() -> None:
    tracks = make_index(["Folk", "Rock"] * 2, ["training", "training", "test", "test"], [160] * 4)
    settings = Model("my_model", Train(**yaml.safe_load(PARAMS.read_text())["train"]), describe([50]), {})
    text = model_card.model_card(settings, tracks, comparison(), MD5)
    assert "Artists with tracks in more than one split: none." in text
    text = model_card.model_card(settings, tracks.assign(artist_id=[1, 2, 3, 2]), comparison(), MD5)
    assert "Artists with tracks in more than one split: 1." in text


# Names. -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text(name: str) -> None:
    """Markdown shows what the name says, except for the characters that code cannot hold."""
    expected = re.sub(r"[^ -~]", "?", name).replace("`", "'").replace("|", "/")
    text = card(classes=(name, "Rock"), dataset=name)
    assert [row[0] for row in rows(text)][1:3] == [expected, "Rock"]
    (paragraph,) = [token for token in PARSER.parse(body(text)) if token.content.startswith("The data set is")]
    assert seen(paragraph).startswith(f"The data set is {expected}. ")
    rendered = PARSER.render(body(text))
    assert not re.search(r"<(b|a|em|img|s)\b", re.sub("<strong>.*?</strong>", "", rendered))


@pytest.mark.parametrize("name", ["Hip-Hop", "Old-Time / Historic", "Soul-RnB", "Easy Listening", "Rock", "Chanson é"])
def test_usual_names_are_plain(name: str) -> None:
    assert markdown.name(name) == name


# Files. -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(finished: Project, tmp_path: Path) -> tuple[Path, Path, Path]:
    """Copies of the files that a card is made from."""
    shutil.copytree(finished.path / "models/cnn", tmp_path / "cnn")
    shutil.copy(finished.path / "data/index.csv", tmp_path)
    shutil.copy(finished.path / "metrics/comparison.json", tmp_path)
    return tmp_path / "cnn", tmp_path / "index.csv", tmp_path / "comparison.json"


def test_the_card_depends_on_its_files_only(finished: Project, files: tuple[Path, Path, Path]) -> None:
    written = (finished.path / "models/promoted/README.md").read_text(encoding="utf-8")
    assert model_card.from_files(*files) == written


def test_the_card_names_the_command_that_finds_its_commit(finished: Project, tmp_path: Path) -> None:
    """Also after a later commit has replaced the results, and if a merge has recorded them."""
    project = finished.clone(tmp_path / "project")
    card = (finished.path / "models/promoted/README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^git log .+ -- dvc\.lock$", card, re.MULTILINE)
    project.run("git", "rm", "--quiet", "dvc.lock")
    project.run("git", "commit", "--quiet", "--message=removed")
    first, *_ = project.run(*command.split()).stdout.splitlines()
    assert first.endswith(" results")
    project.run("git", "switch", "--quiet", "--orphan", "merged")
    project.run("git", "commit", "--quiet", "--allow-empty", "--message=first")
    project.run("git", "merge", "--quiet", "--no-commit", "--allow-unrelated-histories", "main")
    shutil.copy(finished.path / "dvc.lock", project.path)
    text = (project.path / "dvc.lock").read_text()
    hashed = command.split()[-3]
    (project.path / "dvc.lock").write_text(text.replace(hashed, "1" * 32))
    project.run("git", "add", "dvc.lock")
    project.run("git", "commit", "--quiet", "--message=merge")
    assert project.run(*command.replace(hashed, "1" * 32).split()).stdout.endswith(" merge\n")


def test_a_comparison_of_another_data_set_is_refused(files: tuple[Path, Path, Path]) -> None:
    edit(files[2], lambda values: values.update(dataset="other"))
    with pytest.raises(InputError, match=r"settings\.json: expected the data set 'other' as in .*, found 'demo': run "):
        model_card.from_files(*files)


def test_tracks_of_other_genres_are_refused(files: tuple[Path, Path, Path]) -> None:
    files[1].write_text(files[1].read_text().replace(",Rock,", ",Pop,"))
    with pytest.raises(InputError, match=r"settings\.json: expected the genres \[.*\] as in .*index\.csv, found \["):
        model_card.from_files(*files)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda values: values["systems"].pop("cnn"), r"systems\.cnn: expected a group of named values, found None"),
        (lambda values: values["systems"]["cnn"].update(f1_low="x"), r"systems\.cnn\.f1_low: expected a number .*'x'"),
        (lambda values: values.pop("n_artists"), "n_artists: expected a whole number .*, found none"),
    ],
)
def test_a_comparison_without_scores_is_named(files: tuple[Path, Path, Path], change: Any, says: str) -> None:
    edit(files[2], change)
    with pytest.raises(InputError, match=rf"comparison\.json: {says}"):
        model_card.from_files(*files)


def edit(path: Path, change: Any) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


# Use. -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["copied", "without card", "edited card", "a folder as card", "other data set"])
def test_predict_says_what_a_model_elsewhere_was_trained_on(finished: Project, tmp_path: Path, kind: str) -> None:
    """The facts come from settings.json, so the warning of the demo does not depend on the card."""
    model = Path(shutil.copytree(finished.path / "models/promoted", tmp_path / "model"))
    path = model / "README.md"
    if kind != "copied":
        path.unlink()
    if kind == "edited card":
        path.write_text("This model was trained on all music.\n")
    if kind == "a folder as card":
        path.mkdir()
    if kind == "other data set":
        edit(model / "settings.json", lambda values: values["store"].update(dataset="my *music*", synthetic=False))
    soundfile.write(tmp_path / "song.wav", [0.1, -0.1] * 22050, 22050)
    done = finished.run_here("src/predict.py", "--model", str(model), str(tmp_path / "song.wav"))
    says = "my *music*" if kind == "other data set" else "the synthetic demo and knows nothing about music"
    assert done.stderr.splitlines()[0] == f"predict: the model cnn was trained on {says}"
    assert done.stdout.count("%") == 3
