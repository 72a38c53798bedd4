"""src/related.py trains the systems of related.yaml as one experiment."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from dvc.utils.hydra import apply_overrides

import experiments
import related
from fma_genre import checkout
from fma_genre.common.errors import InputError
from project import PARAMS, ROOT, Project, dump, stages_run

FILE = ROOT / "related.yaml"
SHIPPED = related.read_related(FILE)


def content() -> dict[str, Any]:
    """Parameters of the tests, with enough resamples for all differences."""
    found: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    found["compare"]["resamples"] = 1000
    return found


def read(text: str, folder: Path) -> related.Related:
    path = folder / "related.yaml"
    path.write_text(text, encoding="utf-8")
    return related.read_related(path)


# The file. --------------------------------------------------------------------------------------------------------


def test_all_sections_are_valid_together() -> None:
    """With the parameters of the tests, which have the same representations as the shipped ones."""
    found = related.check(content(), related.select(SHIPPED, SHIPPED.systems, content()))
    assert set(SHIPPED.systems) <= {*found.models, *found.baselines}


def test_slow_systems_are_left_out_unless_named() -> None:
    assert "rescnn_raw" in SHIPPED.systems
    assert "rescnn_raw" not in SHIPPED.default
    assert {"densenet", "resnet", "prcnn", "segment_lstm", "feature_cnn"} <= set(SHIPPED.default)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models: {}\nbaselines: {}\ncompare: {}\non_request: [a]\n", r"on_request: expected one of"),
        ("models: {}\nbaselines: {}\ncompare: {}\nmodel: a\n", r"expected the keys .*, found 'model'"),
        ("models: 3\nbaselines: {}\ncompare: {}\n", r"models: expected"),
        ("models: {}\n", r"baselines: expected"),
        ("models: {a: {}, a: {}}\nbaselines: {}\ncompare: {}\n", r"line 1: models: expected unique keys"),
        ("models: {}\nbaselines: {}\ncompare: {stackin: []}\n", r"compare: expected one of fusion, stacking"),
        ("models: {}\nbaselines: {}\ncompare: {stacking: 3}\n", r"compare\.stacking: expected a list"),
    ],
)
def test_an_invalid_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"related\.yaml: {message}"):
        read(text, tmp_path)


def test_an_invalid_section_is_refused_before_anything_runs(tmp_path: Path) -> None:
    found = read("models: {a: {network: cnm}}\nbaselines: {}\ncompare: {}\n", tmp_path)
    with pytest.raises(InputError, match=r"^related\.yaml with params\.yaml: models\.a"):
        related.check(content(), related.select(found, ["a"], content()))


@pytest.mark.parametrize(
    ("section", "name", "changed", "message"),
    [
        ("models", "brnn_serial", {"attention": "paralel"}, r"models\.brnn_serial\.attention: expected one of none"),
        ("models", "prcnn", {"kernels": [3, 1]}, r"models\.prcnn: expected the keys"),
        ("models", "prcnn", {"kernel": [3, 2]}, r"models\.prcnn"),
        ("models", "prcnn", {"segment_frames": 32}, r"models\.prcnn"),
        ("models", "resnet", {"pools": [4, 4]}, r"models\.resnet"),
        ("baselines", "feature_cnn", {"mfc": 3}, r"baselines\.feature_cnn: expected the keys"),
        ("models", "resnet", {"runs": 60}, r"compare\.stacking: expected at most 200 combinations"),
    ],
)
def test_arguments_are_checked_before_anything_runs(
    section: str, name: str, changed: dict[str, Any], message: str
) -> None:
    content_with_runs = content()
    content_with_runs["train"]["runs"] = 2
    changes = related.select(SHIPPED, SHIPPED.default, content_with_runs)
    changes[section][name] = {**changes[section][name], **changed}
    with pytest.raises(InputError, match=rf"^related\.yaml with params\.yaml: {message}"):
        related.check(content_with_runs, changes)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps of `related.run`, which have no effect here. An experiment fails if its parameter `a` is `fails`."""
    noted: list[str] = []

    def note(command: list[str], check: bool) -> SimpleNamespace:
        noted.append(" ".join(command[2:]))
        return SimpleNamespace(returncode=int(check or "fails" in command[-1]))

    monkeypatch.setattr(checkout, "experiments", list)
    monkeypatch.setattr(checkout, "remove_experiments", lambda *names: noted.extend(f"remove {name}" for name in names))
    monkeypatch.setattr(checkout, "rename_experiment", lambda *names: noted.append(f"rename {' '.join(names)}"))
    monkeypatch.setattr(subprocess, "run", note)
    return noted


def list_experiments(monkeypatch: pytest.MonkeyPatch, **states: str) -> None:
    rows = [experiments.Revision(name.replace("_", "-"), state, {}, {}) for name, state in states.items()]
    monkeypatch.setattr(related, "read_revisions", lambda shown: [experiments.Revision("HEAD", "", {}, {}), *rows])


RUN = "dvc exp run --temp --name related-unfinished --set-param ++models.a="


@pytest.mark.parametrize("text", ["{}", "[]", "model: 3"])
def test_an_invalid_params_file_is_refused_by_its_name(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["related.py"])
    Path("params.yaml").write_text(text)
    with pytest.raises(SystemExit, match=r"^related: params\.yaml: "):
        related.main()


@pytest.mark.parametrize("state", ["running", "failed"])
def test_only_a_finished_experiment_has_a_name_to_remove(
    state: str, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC goes on to list an experiment that was killed, but does not know its name."""
    list_experiments(monkeypatch, related="", related_unfinished=state)
    related.run({"models": {"a": 1}})
    assert steps == [f"{RUN}1", "remove related", "rename related-unfinished related"]


def test_an_experiment_that_was_not_renamed_is_removed_first(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    list_experiments(monkeypatch, related_unfinished="")
    related.run({"models": {"a": 1}})
    assert steps == ["remove related-unfinished", f"{RUN}1", "rename related-unfinished related"]


def test_a_failed_experiment_replaces_nothing(steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    list_experiments(monkeypatch, related="")
    with pytest.raises(InputError, match="exit code 1"):
        related.run({"models": {"a": "fails"}})
    assert steps == [f'{RUN}"fails"']


def test_too_few_resamples_are_refused_before_anything_runs() -> None:
    few = content()
    few["compare"]["resamples"] = 200
    with pytest.raises(InputError, match=r"compare\.resamples: expected at least"):
        related.check(few, related.select(SHIPPED, SHIPPED.default, few))


# Selection. -------------------------------------------------------------------------------------------------------

TEXT = """\
models:
  one: {network: cnn, representation: mel}
  two: {network: cnn, representation: raw}
  cnn: {network: cnn, representation: mel}
baselines:
  three: {features: low_level}
waveforms:
  raw: {hop: 27}
compare:
  stacking: [cnn, one, two]
on_request: [two]
"""


def selected(folder: Path, *names: str) -> dict[str, dict[str, Any]]:
    return related.select(read(TEXT, folder), names, content())


def test_a_system_brings_the_waveforms_that_it_reads(tmp_path: Path) -> None:
    assert selected(tmp_path, "one", "three")["waveforms"] == {}
    assert selected(tmp_path, "two")["waveforms"] == {"raw": {"hop": 27}}


def test_a_combination_is_compared_if_all_its_members_are(tmp_path: Path) -> None:
    """The cnn is in params.yaml."""
    assert selected(tmp_path, "one")["compare"] == {}
    assert selected(tmp_path, "one", "two")["compare"] == {"stacking": ["cnn", "one", "two"]}


def test_a_system_of_params_keeps_its_section(tmp_path: Path) -> None:
    changes = selected(tmp_path, "cnn", "one", "three")
    assert (list(changes["models"]), list(changes["baselines"])) == (["one"], ["three"])


def test_a_combination_brings_its_members(tmp_path: Path) -> None:
    changes = selected(tmp_path, "stacking")
    assert list(changes["models"]) == ["one", "two"]
    assert changes["compare"] == {"stacking": ["cnn", "one", "two"]}


def test_sections_of_params_win(tmp_path: Path) -> None:
    given = content()
    given["waveforms"], given["compare"]["stacking"] = {"raw": {"hop": 9}}, ["cnn", "birnn"]
    changes = related.select(read(TEXT, tmp_path), ["one", "two"], given)
    assert (changes["waveforms"], changes["compare"]) == ({}, {})


def test_if_params_have_all_systems_nothing_runs(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^expected a system that params\.yaml does not have, found none: `dvc repro`"
    ):
        selected(tmp_path, "cnn")


def test_an_unknown_member_of_a_combination_is_refused(tmp_path: Path) -> None:
    found = read(TEXT.replace("[cnn, one, two]", "[cnn, onee]"), tmp_path)
    with pytest.raises(InputError, match=r"^compare\.stacking: expected one of .*, found 'onee'; did you mean one"):
        related.select(found, ["one"], content())


def test_an_unknown_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^SYSTEM: expected one of one, two, cnn, three, stacking, found 'thre'; did you mean"
    ):
        selected(tmp_path, "thre")


# The experiment. --------------------------------------------------------------------------------------------------


def test_dvc_reads_the_overrides_as_they_are_in_the_file(tmp_path: Path) -> None:
    """DVC changes params.yaml by the overrides; an independent merge of both files has the same content."""
    path = tmp_path / "params.yaml"
    path.write_text(dump(content()), encoding="utf-8")
    apply_overrides(path, list(related.overrides(related.select(SHIPPED, SHIPPED.systems, content()))))
    ours = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    expected = content()
    for section in ("models", "baselines", "waveforms", "compare"):
        expected[section] = {
            **expected[section],
            **{k: v for k, v in ours[section].items() if k not in content()[section] or section == "compare"},
        }
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == expected


def numbers(value: float) -> dict[str, float]:
    return {
        f"{score}{end}": value + shift
        for score in ("accuracy", "recall", "f1")
        for end, shift in (("", 0), ("_low", -0.1), ("_high", 0.1))
    }


def test_the_table_has_a_row_for_each_system() -> None:
    comparison = {
        "dataset": "music",
        "n_test": 82,
        "n_artists": 31,
        "confidence": 0.95,
        "reference": "cnn",
        "systems": {
            "cnn": {"runs": 2, "parameters": 1856016, "multiply_adds": 13377536, **numbers(0.5)},
            "svm": {"runs": 1, **numbers(0.625)},
        },
        "differences": {"svm": {**numbers(0.125), "p_holm": 0.04}},
    }
    head, _, cnn, svm = (
        [cell.strip() for cell in row.split("|")[1:-1]] for row in related.scores_table(comparison).splitlines()[:4]
    )
    assert head == ["system", "runs", "accuracy", "recall", "f1", "− cnn", "p", "parameters", "multiply-adds"]
    assert cnn == ["cnn", "2", *["50.0 [40.0, 60.0]"] * 3, "", "", "1,856,016", "13,377,536"]
    assert svm == ["svm", "1", *["62.5 [52.5, 72.5]"] * 3, "+12.5 [+2.5, +22.5]", "0.040", "", ""]


@pytest.mark.slow
def test_the_related_work_is_one_experiment(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    project.edit_params(lambda values: values["compare"].update(resamples=1000))  # enough for all differences
    project.repro()
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "--message", "More resamples")
    before = project.run("dvc", "metrics", "show", "--json").stdout

    first = project.run("python", "src/related.py").stdout
    rows = {line.split("|")[1].strip() for line in first.splitlines() if line.startswith("| ")}
    assert {*SHIPPED.default, "stacking", "cnn", "birnn", "svm"} <= rows
    assert "rescnn_raw" not in rows
    new = {f"{stage}@{name}" for name in SHIPPED.models if name != "rescnn_raw" for stage in ("train", "evaluate")}
    assert stages_run(first) == new | {f"baseline@{name}" for name in SHIPPED.baselines} | {"compare", "promote"}

    # The workspace is as before.
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert project.run("dvc", "metrics", "show", "--json").stdout == before
    assert project.repro() == set()

    # The commands that it prints.
    assert "metrics/prcnn.json" in project.run("dvc", "metrics", "diff", "HEAD", "related").stdout
    again = project.run("python", "src/related.py", "resnet", "logistic_regression").stdout
    assert stages_run(again) == {"compare", "promote"}, "the run cache has the results of the others"
    assert "prcnn" not in again
    project.run("python", "src/related.py")
    project.run("dvc", "exp", "apply", "related")
    assert project.repro() == set()
    shipped = project.run("dvc", "exp", "run", "-S", "model=prcnn").stdout
    assert stages_run(shipped) == {"promote"}
    settings = yaml.safe_load((project.path / "models/promoted/settings.json").read_text(encoding="utf-8"))
    assert settings["network"] == "prcnn"
