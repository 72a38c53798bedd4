"""The official features.csv, and the command that reproduces the FMA paper's accuracies, on files of that layout."""

import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fma_genre.common import schema
from fma_genre.common.errors import InputError
from fma_genre.common.params import load
from fma_genre.known_answer import reproduction
from fma_genre.known_answer.official_features import COLUMNS, read_features
from fma_genre.known_answer.reproduction import SYSTEMS, Score
from fma_genre.results import results_page
from fma_genre.results.results_page import KnownAnswer
from project import PARAMS, ROOT, Project, dump
from real import REAL, needs_real

SIZES = {
    "chroma_stft": 12, "chroma_cqt": 12, "chroma_cens": 12, "tonnetz": 6, "mfcc": 20, "rmse": 1, "zcr": 1,
    "spectral_centroid": 1, "spectral_bandwidth": 1, "spectral_contrast": 7, "spectral_rolloff": 1,
}  # fmt: skip
MOMENTS = ("mean", "std", "skew", "kurtosis", "median", "min", "max")


def official_columns() -> pd.MultiIndex:
    """The columns of features.csv, in the order in which the FMA's authors write them."""
    tuples = [
        (name, moment, f"{number + 1:02d}")
        for name, size in SIZES.items()
        for moment in MOMENTS
        for number in range(size)
    ]
    return pd.MultiIndex.from_tuples(tuples, names=["feature", "statistics", "number"]).sort_values()


def make_features(tracks: Sequence[int], centres: np.ndarray | None = None, seed: int = 0) -> pd.DataFrame:
    """Random features of very different scales; `centres` (tracks,) shift the first ones."""
    generator = np.random.default_rng(seed)
    values = generator.normal(size=(len(tracks), 518))
    if centres is not None:
        directions = np.random.default_rng(99).normal(size=(centres.max() + 1, 518))
        values += 0.5 * directions[centres]
    values *= 10.0 ** (np.arange(518) % 7 - 3)
    return pd.DataFrame(values.astype(np.float32), pd.Index(tracks, name="track_id"), official_columns())


def as_csv(features: pd.DataFrame) -> str:
    return features.to_csv(float_format="%.10e", lineterminator="\n")


def write_zip(path: Path, members: dict[str, str | bytes], method: int = zipfile.ZIP_BZIP2) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"fma_metadata/{name}", content)
    return path


# features.csv. ----------------------------------------------------------------------------------------------------

TRACKS = [2, 3, 5, 10, 155000]


@pytest.fixture
def text() -> str:
    return as_csv(make_features(TRACKS))


def read(folder: Path, content: str | bytes, tracks: Sequence[int] = (5, 2), **options: Any) -> pd.DataFrame:
    with zipfile.ZipFile(write_zip(folder / "fma_metadata.zip", {"features.csv": content}, **options)) as archive:
        return read_features(archive, tracks)


def test_the_header_is_that_of_the_official_file(text: str) -> None:
    lines = text.splitlines()
    assert lines[0].startswith("feature,chroma_cens,chroma_cens,")
    assert lines[1].startswith("statistics,kurtosis,kurtosis,")
    assert lines[2].startswith("number,01,02,03,")
    assert lines[3] == "track_id" + "," * 518
    assert re.match(r"2,-?\d\.\d{10}e[+-]\d\d,", lines[4])
    assert list(official_columns()) == COLUMNS


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_values_are_those_that_pandas_reads(tmp_path: Path, text: str, method: int) -> None:
    found = read(tmp_path, text, [155000, 2, 10], method=method)
    (tmp_path / "features.csv").write_text(text)
    expected = pd.read_csv(tmp_path / "features.csv", index_col=0, header=[0, 1, 2])
    pd.testing.assert_frame_equal(found, expected.loc[[155000, 2, 10]].astype(np.float32))
    pd.testing.assert_frame_equal(found, make_features(TRACKS).loc[[155000, 2, 10]])
    assert found[["mfcc", "spectral_contrast", "spectral_centroid"]].shape == (3, 140 + 49 + 7)


def test_columns_are_found_by_name_and_others_are_ignored(tmp_path: Path) -> None:
    features = make_features(TRACKS)
    mixed = features[features.columns[np.random.default_rng(0).permutation(518)]]
    mixed.insert(7, ("tempo", "mean", "01"), 120.0)
    pd.testing.assert_frame_equal(read(tmp_path, as_csv(mixed)), features.loc[[5, 2]])
    pd.testing.assert_frame_equal(read(tmp_path, as_csv(mixed).replace("\n", "\r\n")), features.loc[[5, 2]])


def without_column(name: tuple[str, str, str]) -> Callable[[str], str]:
    return lambda _: as_csv(make_features(TRACKS).drop(columns=[name]))


def with_cell(track: int, cell: str) -> Callable[[str], str]:
    """Replace the track's first cell, which is chroma_cens/kurtosis/01."""
    return lambda text: re.sub(rf"^({track}),[^,]*", rf"\1,{cell}", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (without_column(("mfcc", "mean", "03")), "0 columns mfcc/mean/03"),
        (lambda text: text.replace("number,01,02", "number,02,02", 1), "0 columns chroma_cens/kurtosis/01"),
        (lambda text: text.replace("number,01,02", "number,01,01", 1), "2 columns chroma_cens/kurtosis/01"),
        (lambda text: text.split("\n", 1)[1], "lines that begin with 'statistics, number, track_id, 2'"),
        (
            lambda text: text.replace("track_id", "track", 1),
            "lines that begin with 'feature, statistics, number, track'",
        ),
        (lambda text: text.replace("feature,", "feature,x,", 1), "header lines of 520, 519, 519 cells"),
        (lambda _: "", "lines that begin with ', , , '"),
        (with_cell(2, ""), "'' in chroma_cens/kurtosis/01 of track 2"),
        (with_cell(2, "nan"), "'nan' in chroma_cens/kurtosis/01 of track 2"),
        (with_cell(2, "-inf"), "'-inf' in chroma_cens/kurtosis/01 of track 2"),
        (with_cell(2, "1e39"), "'1e39' in chroma_cens/kurtosis/01 of track 2"),
        (with_cell(2, "quiet"), "'quiet' in chroma_cens/kurtosis/01 of track 2"),
        (with_cell(2, "1,2"), "520 cells instead of 519 for track 2"),
        (lambda text: text.replace("\n3,", "\n2,"), "track 2 twice"),
        (lambda text: text[: text.index("\n5,") + 1000], r"\d+ cells instead of 519 for track 5"),
        (lambda text: 9 * text.replace("\n", " "), "a row of more than 65536 characters"),
        (lambda text: text.encode() + b"\xff", "'utf-8' codec can't decode byte 0xff.*"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_another_table_is_refused_in_a_line(
    tmp_path: Path, text: str, edit: Callable[[str], str | bytes], found: str
) -> None:
    message = rf"^\S+fma_metadata\.zip: features\.csv: expected the FMA's table with four header lines, found: {found}$"
    with pytest.raises(InputError, match=message):
        read(tmp_path, edit(text))


@pytest.mark.parametrize("cell", ["", "nan", "1,2"])
def test_rows_of_other_tracks_are_not_parsed(tmp_path: Path, text: str, cell: str) -> None:
    pd.testing.assert_frame_equal(read(tmp_path, with_cell(10, cell)(text)), make_features(TRACKS).loc[[5, 2]])


def test_missing_tracks_are_counted(tmp_path: Path, text: str) -> None:
    """For example, because the file ends early."""
    message = r"expected a row for each of the 3 tracks, found none for 2 of them, the first being track 4$"
    with pytest.raises(InputError, match=message):
        read(tmp_path, text, [2, 4, 200000])
    with pytest.raises(InputError, match=r"found none for 1 of them, the first being track 5$"):
        read(tmp_path, text[: text.index("\n5,") + 1])


def test_an_archive_without_the_table_is_refused(tmp_path: Path) -> None:
    for members, found in (
        ({"tracks.csv": "x"}, "none"),
        ({"features.csv": "x", "old/features.csv": "x"}, "fma_metadata/features.csv and fma_metadata/old/features.csv"),
    ):
        path = write_zip(tmp_path / "fma_metadata.zip", dict(members))
        with (
            zipfile.ZipFile(path) as archive,
            pytest.raises(InputError, match=f"one member features.csv, found {found}$"),
        ):
            read_features(archive, [2])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_damaged_member_is_refused(tmp_path: Path, text: str, method: int) -> None:
    path = write_zip(tmp_path / "fma_metadata.zip", {"features.csv": text}, method)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with (
        zipfile.ZipFile(path) as archive,
        pytest.raises(InputError, match=r"^\S+: features\.csv: expected .*, found: "),
    ):
        read_features(archive, TRACKS)


# The command. -----------------------------------------------------------------------------------------------------


def make_project(folder: Path, tracks: bytes, features: str | None, **keys: Any) -> Project:
    """A folder with a params.yaml whose data set `medium` has this metadata archive, and no audio."""
    members: dict[str, str | bytes] = {"tracks.csv": tracks}
    path = write_zip(folder / "fma_metadata.zip", members if features is None else members | {"features.csv": features})
    sha1 = hashlib.sha1(path.read_bytes()).hexdigest()
    params = yaml.safe_load(PARAMS.read_text())
    audio = {"url": "no_audio.zip", "sha1": "0" * 40}
    params["datasets"]["medium"] = {
        "audio": audio, "metadata": {"url": str(path), "sha1": sha1}, "subset": "large", **keys
    }  # fmt: skip
    (folder / "params.yaml").write_text(dump(params))
    return Project(folder, folder / "home")


def command(project: Project, *arguments: str, check: bool = True) -> Any:
    return project.run_here(str(ROOT / "src/known_answer.py"), *arguments, check=check)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Real rows of tracks.csv, with random features that depend on the genre, and published counts."""
    content = (REAL / "metadata" / "tracks.csv").read_bytes()
    content = content.replace(b",Soul-RnB,", b",Rock,")  # in these rows, the genre has no training track
    folder = tmp_path_factory.mktemp("known answer")
    (folder / "tracks.csv").write_bytes(content)
    table = pd.read_csv(folder / "tracks.csv", index_col=0, header=[0, 1])
    genres, _ = pd.factorize(table["track", "genre_top"], use_na_sentinel=False)
    features = as_csv(make_features(table.index.tolist(), genres))
    (folder / "features.csv").write_text(features)
    expect = table["set", "split"].value_counts().to_dict()
    return make_project(folder, content, features, expect=expect)


@pytest.fixture
def published(real: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The same, as the data set of the published accuracies."""
    entry = load(real.path / "params.yaml").datasets["medium"]
    monkeypatch.setattr(reproduction, "METADATA_SHA1", entry.metadata.sha1)
    monkeypatch.setattr(reproduction, "SUBSET", "large")
    monkeypatch.setattr(results_page, "update", lambda: (real.path / "page updated").touch())  # accepts only medium
    return real


def independent_scores(folder: Path) -> list[dict[str, float]]:
    """Scores by pandas' reading and scikit-learn alone, in the order of SYSTEMS."""
    tracks = pd.read_csv(folder / "tracks.csv", index_col=0, header=[0, 1])
    features = pd.read_csv(folder / "features.csv", index_col=0, header=[0, 1, 2])
    genres, splits = tracks["track", "genre_top"].dropna(), tracks["set", "split"]
    train, test = (genres[splits[genres.index] == split] for split in ("training", "test"))
    low_level = ["mfcc", "spectral_contrast", "spectral_centroid"]
    everything = list(SIZES)
    found = []
    for classifier, chosen in (
        (SVC(kernel="rbf", C=1), low_level),
        (SVC(kernel="rbf", C=1), everything),
        (OneVsRestClassifier(LogisticRegression(max_iter=10_000)), everything),
        (KNeighborsClassifier(n_neighbors=200), everything),
    ):
        scaler = StandardScaler().fit(features.loc[train.index, chosen])
        classifier.fit(scaler.transform(features.loc[train.index, chosen]), train)
        predicted = classifier.predict(scaler.transform(features.loc[test.index, chosen]))
        macro = precision_recall_fscore_support(
            test, predicted, labels=sorted(test.unique()), average="macro", zero_division=0
        )
        values = [accuracy_score(test, predicted), *macro[:3]]
        found.append(dict(zip(("accuracy", "precision", "recall", "f1"), values, strict=True)))
    return found


@needs_real
def test_scores_are_those_of_an_independent_pipeline(published: Project) -> None:
    done = command(published, check=False)
    result = json.loads((published.path / "docs/results/known_answer.json").read_text())
    expected = independent_scores(published.path)
    for found, scores in zip(result["results"], expected, strict=True):
        assert {name: found[name] for name in scores} == pytest.approx(scores, abs=1e-6)
    assert len({scores["f1"] for scores in expected}) == 4, "a mix-up of systems would be noticed"
    assert [found["features"] for found in result["results"]] == [196, 518, 518, 518]
    assert [found["published"] for found in result["results"]] == [0.6339, 0.629, 0.611, 0.518]
    assert result["tracks"] == {"training": 513, "validation": 48, "test": 70}
    assert (result["dataset"], result["subset"], result["genres"]) == ("medium", "large", 9)
    assert (result["scikit_learn"], result["tolerance"]) == (sklearn.__version__, 0.01)

    assert schema.read(KnownAnswer, result | {"subset": "medium"}, ""), "docs/results/README.md can show it"

    first, header, *rows, last = done.stdout.splitlines()
    assert first == "medium: 631 tracks of 9 genres (513 training, 48 validation, 70 test)"
    assert header.split() == ["classifier", "features", "published", "measured", "difference"]
    for row, found in zip(rows, result["results"], strict=True):
        accuracy, difference = 100 * found["accuracy"], 100 * (found["accuracy"] - found["published"])
        assert row.endswith(f"{100 * found['published']:>11.2f}{accuracy:>10.2f}{difference:>+12.2f}")
    assert last.startswith(
        "expected differences of at most 1 point, found more for: SVM with RBF kernel on 196 features"
    )
    assert (done.returncode, result["agrees"]) == (1, False)


@needs_real
def test_accuracies_that_agree_pass_and_a_second_run_writes_the_same_bytes(
    published: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(published, check=False)
    path = published.path / "docs/results/known_answer.json"
    before = path.read_bytes()
    command(published, check=False)
    assert path.read_bytes() == before

    measured = [found["accuracy"] for found in json.loads(before)["results"]]
    shifts = (0.0099, -0.0099, 0.0, 0.005)
    near = [
        reproduction.System(system.classifier, system.features, accuracy + shift, system.fit)
        for system, accuracy, shift in zip(SYSTEMS, measured, shifts, strict=True)
    ]
    monkeypatch.setattr(reproduction, "SYSTEMS", near)
    done = command(published)
    assert done.stdout.endswith("split, labels and metrics agree with the published results (within 1 point)\n")
    assert json.loads(path.read_text())["agrees"] is True
    assert (published.path / "page updated").exists()


@needs_real
def test_other_tracks_have_no_published_accuracy(real: Project) -> None:
    (real.path / "docs/results/known_answer.json").unlink(missing_ok=True)
    done = command(real, "medium")
    *_, row, last = done.stdout.splitlines()
    assert re.fullmatch(r"k-nearest neighbours +518 +- +\d+\.\d\d +-", row)
    assert last == "medium: no accuracy is published for these tracks, so there is nothing to compare"
    assert not (real.path / "docs").exists() or not list((real.path / "docs/results").iterdir())


@pytest.mark.parametrize(("accuracy", "agrees"), [(0.6339, True), (0.6240, True), (0.6440, False), (0.6238, False)])
def test_the_tolerance_is_one_point(accuracy: float, agrees: bool) -> None:
    assert Score("SVM with RBF kernel", 196, 0.6339, accuracy, 0.5, 0.5, 0.5).agrees == agrees


def small_tracks(training: int = 260) -> bytes:
    """A tracks.csv of training tracks, 2 validation and 2 test tracks of two genres."""
    splits = ["training"] * training + ["validation"] * 2 + ["test"] * 2
    rows = [
        f"{place + 1},{splits.index(split)},{split},small,{('Folk', 'Rock')[place % 2]}"  # each split has one artist
        for place, split in enumerate(splits)
    ]
    return "\n".join([",artist,set,set,track", ",id,split,subset,genre_top", "track_id,,,,", *rows, ""]).encode()


def failure(project: Project, *arguments: str) -> str:
    done = command(project, *arguments, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert done.stdout == ""
    assert line.startswith("known_answer: ")
    assert not (project.path / "docs").exists()
    return line.removeprefix("known_answer: ")


def test_errors_are_one_line(tmp_path: Path) -> None:
    features = as_csv(make_features(range(1, 265)))
    folders = [tmp_path / name for name in "abcde"]
    for folder in folders:
        folder.mkdir()
    without, counts, nan, few, fine = folders
    found = failure(make_project(without, small_tracks(), None))
    assert re.fullmatch(r"\S+fma_metadata\.zip: expected one member features\.csv, found none", found)
    found = failure(make_project(counts, small_tracks(), features, expect={"training": 19922}))
    assert found.endswith(
        "fma_metadata.zip of data set medium, subset large: expected 19922 training tracks, found 260"
    )
    found = failure(make_project(nan, small_tracks(), with_cell(262, "")(features)))
    assert found.endswith("found: '' in chroma_cens/kurtosis/01 of track 262")

    found = failure(make_project(few, small_tracks(199), features))  # before the first classifier
    assert found == "data set medium: expected at least 200 training tracks for k-nearest neighbours, found 199"

    project = make_project(fine, small_tracks(), features)
    assert command(project).returncode == 0
    assert failure(project, "mediun").endswith("found 'mediun'; did you mean medium?")
    assert "expected one with the FMA's features.csv, found the demo" in failure(project, "demo")
