"""Recorded results in docs/results, the page that shows them, and the command that records the results of a run."""

import dataclasses
import hashlib
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sklearn
import torch

import known_answer
from fma_genre import checkout
from fma_genre.common import params
from fma_genre.common.errors import InputError
from fma_genre.common.params import DataSet, Source
from fma_genre.known_answer.reproduction import SYSTEMS, Score
from fma_genre.results import derived, record, results_page
from fma_genre.results.record import DATASETS, Comparison, Record
from fma_genre.results.tables import numbers
from project import PARAMS, ROOT, Project
from synthetic import make_comparison

RESULTS = ROOT / "docs/results"
SPLITS = ("training", "validation", "test")
OWN_RUNS = ("cnn", "birnn", "cnn_stft", "birnn_mel", "svm")  # systems of params.yaml
METRICS = ("accuracy", "precision", "recall", "f1")
# Checksums of the official archives, from the FMA's README.
METADATA_SHA1 = "f0df49ffe5f2a6008d7dc83c6915b31835dfe733"
AUDIO_SHA1 = {
    "small": "ade154f733639d52e35e32f5593efe5be76c6d70",
    "medium": "c67b69ea232021025fca9231fc1c7c1a063ab50b",
    "large": "497109f4dd721066b5ce5e5f250ec604dc78939e",
}
Values = dict[str, Any]


# Results in the repository. ---------------------------------------------------------------------------------------


def check_consistent(found: Record) -> None:
    """Check that the parts of a record agree, and that its archives are the official ones."""
    comparison = found.comparison
    assert found.subset == found.dataset
    assert (found.audio_sha1, found.metadata_sha1) == (AUDIO_SHA1[found.dataset], METADATA_SHA1)
    assert comparison.dataset == found.dataset
    assert comparison.n_test == found.tracks.test
    assert comparison.n_artists == found.artists.test
    assert comparison.reference in found.seeds
    assert set(found.seeds) <= set(comparison.systems)
    for key, seeds in found.seeds.items():
        assert len(set(seeds)) == comparison.systems[key]["runs"]
    assert set(comparison.differences) == set(comparison.systems) - {"majority", comparison.reference}


def check_intervals(comparison: Comparison) -> None:
    """Check that each interval contains its value."""
    for group in ("systems", "differences", "ensembles", "ensemble_differences"):
        for key, values in getattr(comparison, group).items():
            for metric in METRICS:
                bounds = values[f"{metric}_low"], values[metric], values[f"{metric}_high"]
                assert bounds == tuple(sorted(bounds)), f"{group}.{key}.{metric}"


def test_each_recorded_result_is_valid() -> None:
    for found in record.read_all(RESULTS):
        check_consistent(found)
        check_intervals(found.comparison)


def test_the_folder_holds_only_results_and_their_page() -> None:
    results = {f"{found.name}.json" for found in record.read_all(RESULTS)}
    assert {path.name for path in RESULTS.iterdir()} <= results | {"README.md", "known_answer.json"}


def test_the_page_is_what_the_command_writes() -> None:
    text = (RESULTS / "README.md").read_text()
    assert results_page.render(text, RESULTS) == text, "`python src/record.py --page` makes its tables again"


# The command in a miniature project. ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The finished project, but its data set claims to be small. DVC is told that all results are up to date."""
    project = finished.copy(tmp_path_factory.mktemp("recorded") / "project")
    for path in (project.path / "docs/results").glob("*.json"):
        path.unlink()
    project.edit_params(claim)
    comparison = project.path / "metrics/comparison.json"
    text = comparison.read_text()
    comparison.unlink()
    comparison.write_text(text.replace('"dataset": "demo"', '"dataset": "small"'))
    project.run("dvc", "commit", "--force", "--quiet")
    commit(project)
    return project


def claim(params: Values, dataset: str = "small") -> None:
    """Select a data set, and give it the checksums of the official archives."""
    params["dataset"] = dataset
    entry = params["datasets"][dataset]
    entry["audio"]["sha1"], entry["metadata"]["sha1"] = AUDIO_SHA1[dataset].upper(), METADATA_SHA1


def commit(project: Project) -> None:
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "--message=a commit of a test")


@contextmanager
def restored(project: Project) -> Iterator[None]:
    """Undo all changes and commits of the block, but keep files that git ignores."""
    before = project.run("git", "rev-parse", "HEAD").stdout.strip()
    try:
        yield
    finally:
        project.run("git", "reset", "--quiet", "--hard", before)
        project.run("git", "clean", "--quiet", "--force", "-d")


def refusal(project: Project) -> str:
    """The message of the command, which writes no file."""
    before = project.run("git", "status", "--short").stdout
    done = project.run_here("src/record.py", check=False)
    assert done.returncode == 1
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert project.run("git", "status", "--short").stdout == before
    return done.stderr


@pytest.fixture(scope="module")
def recorded(project: Project) -> tuple[Path, str]:
    """Path of the record that the command writes, and the text of the page."""
    with restored(project):
        output = project.run_here("src/record.py").stdout
        head = project.run("git", "rev-parse", "HEAD").stdout
        path = project.path / f"docs/results/small-{head[:7]}.json"
        assert output == f"{path.relative_to(project.path)}: written\ndocs/results/README.md: updated\n"
        changed = project.run("git", "status", "--short").stdout.splitlines()
        assert changed == [" M docs/results/README.md", f"?? {path.relative_to(project.path)}"]
        kept = project.path.parent / path.name
        shutil.copy(path, kept)
        return kept, (project.path / "docs/results/README.md").read_text()


def test_a_record_describes_its_run(project: Project, recorded: tuple[Path, str]) -> None:
    path, _ = recorded
    found = json.loads(path.read_text())
    assert found["commit"] == project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert found["dvc_lock_sha256"] == hashlib.sha256((project.path / "dvc.lock").read_bytes()).hexdigest()
    assert (found["dataset"], found["subset"]) == ("small", "small")
    assert (found["audio_sha1"], found["metadata_sha1"]) == (AUDIO_SHA1["small"], METADATA_SHA1)
    assert found["comparison"] == json.loads((project.path / "metrics/comparison.json").read_text())
    assert found["seeds"] == {"cnn": [0], "birnn": [0], "svm": [0]}
    assert found["software"] == {
        "python": platform.python_version(), "torch": torch.__version__, "scikit_learn": sklearn.__version__
    }  # fmt: skip
    assert len(found["hardware"]["gpus"]) == torch.cuda.device_count()


def test_a_record_counts_tracks_and_artists(project: Project, recorded: tuple[Path, str]) -> None:
    path, _ = recorded
    found = json.loads(path.read_text())
    index = pd.read_csv(project.path / "data/index.csv")
    for split in SPLITS:
        rows = index[index["split"] == split]
        used = rows[rows["frames"] > 0]
        counts = [found[key][split] for key in ("tracks", "left_out", "artists")]
        assert counts == [len(used), len(rows) - len(used), used["artist_id"].nunique()]
    assert found["genres"] == index["genre"].nunique()
    assert sum(found["left_out"].values()) > 0, "the demo has damaged clips"


def test_a_record_of_the_command_is_valid(recorded: tuple[Path, str]) -> None:
    path, _ = recorded
    check_consistent(record.read(path))


def table_rows(page: str) -> dict[str, list[str]]:
    """Cells of the rows of all results, by system."""
    lines = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| [")]
    return {cells[1].strip(): [cell.strip() for cell in cells] for cells in lines}


def test_the_page_has_a_row_for_each_system_and_ensemble(recorded: tuple[Path, str]) -> None:
    path, page = recorded
    comparison = json.loads(path.read_text())["comparison"]
    rows = table_rows(page)
    assert {cells[0] for cells in rows.values()} == {f"[{path.stem}]({path.name})"}
    assert list(rows) == [*comparison["systems"], *comparison["ensembles"]]
    for key, scores in comparison["systems"].items():
        shown = [f"{100 * scores[name]:.2f}" for name in ("accuracy", "accuracy_low", "accuracy_high", "f1")]
        accuracy, interval, f1 = rows[key][3:6]
        assert [accuracy, *re.findall(r"[\d.]+", interval), f1] == shown
    change = comparison["differences"]["birnn"]
    assert rows["birnn"][7] == f"{100 * change['accuracy']:+.2f}".replace("-", "−")
    assert rows["birnn"][9:] == [f"{change['p_holm']:.2g}", f"{100 * change['resolution']:.2f}"]
    assert rows["cnn"][7] == "reference"
    assert rows["majority"][7:] == [""] * 4


def test_other_data_sets_are_not_run_yet(recorded: tuple[Path, str]) -> None:
    _, page = recorded
    regions = dict(re.findall(r"<!-- (\w+) -->\n(.*?)<!-- end -->", page, re.DOTALL))
    assert [name for name in DATASETS if "not run yet" not in regions[name]] == ["small"]


def test_the_demo_is_refused(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    expected = "record: params.yaml: dataset: expected one of small, medium, large, found demo, which is synthetic\n"
    assert refusal(project) == expected


def test_another_data_set_is_refused() -> None:
    loaded = params.load(PARAMS)
    renamed = dataclasses.replace(loaded, dataset="mine", datasets={"mine": loaded.datasets["small"]})
    expected = r"^params\.yaml: dataset: expected one of small, medium, large, found 'mine'$"
    with pytest.raises(InputError, match=expected):
        record.check_data_set(renamed)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_official_archives_are_accepted(dataset: str) -> None:
    record.check_data_set(official(dataset))


def official(dataset: str, **changes: Any) -> params.Params:
    """Parameters with the official data set, except for the changes."""
    entry = DataSet(Source("a.zip", AUDIO_SHA1[dataset]), Source("m.zip", METADATA_SHA1), dataset)  # type: ignore[arg-type]
    return dataclasses.replace(
        params.load(PARAMS), dataset=dataset, datasets={dataset: dataclasses.replace(entry, **changes)}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio": Source("a.zip", "0" * 40)}, f"audio_sha1: expected {AUDIO_SHA1['small']} of the official small, fo"),
        ({"audio": Source("a.zip", AUDIO_SHA1["medium"])}, f"found '{AUDIO_SHA1['medium']}'"),
        ({"metadata": Source("m.zip", "0" * 40)}, f"metadata_sha1: expected {METADATA_SHA1} of the official small, fo"),
        ({"subset": "medium"}, "subset: expected small of the official small, found 'medium'"),
    ],
)
def test_other_archives_than_the_official_ones_are_refused(changes: Values, message: str) -> None:
    with pytest.raises(InputError, match=rf"^params\.yaml: datasets\.small: .*{re.escape(message)}"):
        record.check_data_set(official("small", **changes))


def test_metrics_of_another_data_set_are_refused(project: Project) -> None:
    with restored(project):
        project.edit_params(lambda params: claim(params, "medium"))
        commit(project)
        expected = "metrics/comparison.json: dataset: expected medium as in params.yaml, found 'small'"
        assert refusal(project) == f"record: {expected}\n"


def test_results_that_are_out_of_date_are_refused(project: Project) -> None:
    with restored(project):
        project.edit_params(lambda params: params["compare"].update(resamples=100))
        commit(project)
        expected = "dvc.lock: expected results of the current code and parameters, found stages that are out of date"
        assert refusal(project) == f"record: {expected} (compare): run `dvc repro`\n"


@pytest.mark.parametrize("changed", ["README.md", "params.yaml", "src/fma_genre/store.py", "report.md", "src/new.py"])
def test_uncommitted_changes_are_refused(project: Project, changed: str) -> None:
    with restored(project):
        (project.path / changed).unlink(missing_ok=True)
        shutil.copy(PARAMS.parents[1] / "LICENSE" if changed != "params.yaml" else PARAMS, project.path / changed)
        if changed == "params.yaml":
            project.edit_params(claim)
            project.edit_params(lambda params: params.update(model="birnn"))
        assert refusal(project) == f"record: {changed}: expected no uncommitted changes, found some: commit them\n"


def test_a_check_that_fails_without_a_message_gives_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = subprocess.CompletedProcess([], -9, "Running stage 'split':\n> python src/split.py\n", "")
    monkeypatch.setattr(checkout.subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(InputError, match=r"^dvc repro --dry: exit code -9, > python src/split\.py$"):
        checkout.stale_stages()


def test_uncommitted_changes_are_counted(project: Project) -> None:
    with restored(project):
        for name in ("CHANGELOG.md", "LICENSE", "README.md"):
            (project.path / name).write_text("changed\n")
        assert refusal(project).startswith("record: CHANGELOG.md and 2 more: expected no uncommitted changes, found")


def test_other_new_files_and_changes_of_results_are_accepted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.path)
    with restored(project):
        Path("notes.txt").write_text("mine\n")
        Path("docs/results/README.md").write_text("changed\n")
        Path("docs/results/known_answer.json").write_text("{}\n")
        record.check_committed()


def test_the_page_can_be_made_again_without_a_run(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "project")
    page = project.path / "docs/results/README.md"
    text = page.read_text()
    page.write_text(text.replace("not run yet", "<<<<<<< main"))
    assert project.run_here("src/record.py", "--page").stdout == "docs/results/README.md: updated\n"
    assert page.read_text() == text


# Made-up records. -------------------------------------------------------------------------------------------------


@pytest.fixture
def values() -> Values:
    """Content of a record with four models of three runs each, a baseline, a fusion and ensembles."""
    comparison = numbers(make_comparison(4, runs=3, fusion=("cnn", "birnn")))
    assert list(comparison["factorial"]) == ["architecture (birnn − cnn)", "input (stft − mel)", "interaction"]
    counts = {"training": 39, "validation": 40, "test": comparison["n_test"]}
    return {
        "dataset": "small",
        "subset": "small",
        "audio_sha1": AUDIO_SHA1["small"],
        "metadata_sha1": METADATA_SHA1,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "dvc_lock_sha256": "a" * 64,
        "tracks": counts,
        "left_out": {"training": 1, "validation": 0, "test": 0},
        "artists": {"training": 10, "validation": 10, "test": comparison["n_artists"]},
        "genres": 3,
        "seeds": {
            key: list(range(comparison["systems"][key]["runs"])) for key in comparison["systems"] if key in OWN_RUNS
        },
        "hardware": {"cpu": "AMD EPYC 9V74 80-Core Processor", "cores": 16, "gpus": ["NVIDIA H100 80GB HBM3"]},
        "software": {"python": "3.12.3", "torch": "2.13.0+cu130", "scikit_learn": "1.9.1"},
        "comparison": comparison,
    }


def write(values: Values, folder: Path) -> Path:
    path = folder / "small-0123456.json"
    path.write_text(json.dumps(values))
    return path


def test_a_made_up_record_is_valid(values: Values, tmp_path: Path) -> None:
    found = record.read(write(values, tmp_path))
    check_consistent(found)
    check_intervals(found.comparison)


def test_an_interval_without_its_value_is_found(values: Values, tmp_path: Path) -> None:
    system = values["comparison"]["systems"]["cnn"]
    system["f1_high"] = system["f1"] - 0.001
    with pytest.raises(AssertionError, match=r"systems\.cnn\.f1"):
        check_intervals(record.read(write(values, tmp_path)).comparison)


def test_ensembles_are_compared_with_ensembles(values: Values, tmp_path: Path) -> None:
    write(values, tmp_path)
    rows = table_rows(results_page.render((RESULTS / "README.md").read_text(), tmp_path))
    assert list(rows)[-5:] == [f"{key}_ensemble" for key in ("cnn", "birnn", "cnn_stft", "birnn_mel", "fusion")]
    assert [rows[key][2] for key in ("majority", "svm", "cnn", "cnn_ensemble")] == ["", "1", "3", ""]
    assert [key for key, cells in rows.items() if cells[7] == "reference"] == ["cnn", "cnn_ensemble"]
    change = values["comparison"]["ensemble_differences"]["birnn_ensemble"]["accuracy"]
    assert rows["birnn_ensemble"][7] == f"{100 * change:+.2f}".replace("-", "−")


def test_the_reference_of_the_ensembles_is_marked_if_the_reference_has_none(values: Values, tmp_path: Path) -> None:
    comparison = numbers(make_comparison(2, runs=3, reference="svm"))
    write(values | {"comparison": comparison | {"dataset": "small"}}, tmp_path)
    rows = table_rows(results_page.render((RESULTS / "README.md").read_text(), tmp_path))
    assert [key for key, cells in rows.items() if cells[7] == "reference"] == ["svm", "cnn_ensemble"]


def test_a_fusion_may_have_more_runs_than_a_model(values: Values, tmp_path: Path) -> None:
    write(values, tmp_path)
    (path,) = tmp_path.glob("small-*.json")
    put("comparison.systems.fusion.runs", derived.MAX_COMBINATIONS)(values)
    path.write_text(json.dumps(values))
    assert record.read(path).comparison.systems["fusion"]["runs"] == 200


def test_two_results_on_one_data_set_are_both_shown(values: Values, tmp_path: Path) -> None:
    write(values, tmp_path)
    (tmp_path / "small-fffffff.json").write_text(json.dumps(values | {"commit": "f" * 40}))
    text = results_page.render((RESULTS / "README.md").read_text(), tmp_path)
    count = len(values["comparison"]["systems"]) + len(values["comparison"]["ensembles"])
    assert [text.count(f"| [{name}]({name}.json) |") for name in ("small-0123456", "small-fffffff")] == [count, count]
    expected = "39 / 40 / 40 | 1 / 0 / 0 | 10 | 95 % | NVIDIA H100 80GB HBM3, AMD EPYC 9V74 80-Core Processor, 16 cores"
    assert " ".join(text.split()).count(expected) == 2


def put(key: str, value: object) -> Callable[[Values], None]:
    """A change of the value with this dotted name."""

    def change(values: Values) -> None:
        *groups, last = key.split(".")
        for group in groups:
            values = values[group]
        values[last] = value

    return change


INVALID: dict[str, tuple[Callable[[Values], object], str]] = {
    "a missing key": (lambda values: values.pop("commit"), r"commit: expected .*, found none"),
    "an unknown key": (put("user", "x"), r"expected the keys .*, found 'user'"),
    "the demo": (put("dataset", "demo"), r"dataset: expected one of small, medium, large, found 'demo'"),
    "a short commit": (put("commit", "1234567"), r"commit: expected 40 or 64 hexadecimal digits, found '1234567'"),
    "an accuracy in %": (put("comparison.systems.cnn.accuracy", 63.4), r"systems\.cnn\.accuracy: expected a number"),
    "no interval": (put("comparison.systems.cnn.f1_low", None), r"systems\.cnn\.f1_low: expected a number .* None"),
    "text as a p-value": (put("comparison.differences.svm.p_holm", "0"), r"svm\.p_holm: expected a number from 0 to 1"),
    "no resolution": (put("comparison.differences.svm.resolution", None), r"svm\.resolution: expected .*, found None"),
    "a resolution of all systems": (put("comparison.resolution", 0.1), r"expected the keys .*, found 'resolution'"),
    "no effect": (put("comparison.factorial.interaction.value", None), r"interaction\.value: expected .*, found None"),
    "an effect in points": (put("comparison.factorial.interaction.low", -3.5), r"interaction\.low: expected a number"),
    "an effect in Markdown": (put("comparison.factorial", {"a|b": {}}), r"comparison\.factorial: expected at most 200"),
    "another subset": (put("subset", "large"), r"subset: expected small of the official small, found 'large'"),
    "other clips": (put("audio_sha1", AUDIO_SHA1["large"]), r"audio_sha1: expected ade154f733639d52e.* official small"),
    "other metadata": (put("metadata_sha1", "0" * 40), r"metadata_sha1: expected f0df49ffe5f2a6008.* official small"),
    "a name in Markdown": (put("comparison.ensembles", {"a|b": {}}), r"comparison\.ensembles: expected a name"),
    "a CPU in Markdown": (put("hardware.cpu", "[x](y) | z"), r"hardware\.cpu: expected at most 100 letters"),
    "a negative number": (put("tracks.test", -1), r"tracks\.test: expected a whole number"),
    "no seeds": (put("seeds.cnn", []), r"seeds\.cnn: expected a list of 1 to 100 values"),
    "another commit": (put("commit", "0" * 40), r"expected the name small-0000000\.json, found another"),
}  # fmt: skip


@pytest.mark.parametrize("kind", INVALID)
def test_an_invalid_record_is_refused_in_one_line(values: Values, tmp_path: Path, kind: str) -> None:
    change, message = INVALID[kind]
    change(values)
    path = write(values, tmp_path)
    with pytest.raises(InputError, match=rf"^{re.escape(str(path))}: .*{message}") as error:
        results_page.render((RESULTS / "README.md").read_text(), tmp_path)
    assert "\n" not in str(error.value)


def test_a_page_without_a_table_is_refused(tmp_path: Path) -> None:
    text = (RESULTS / "README.md").read_text().replace("<!-- medium -->", "")
    expected = r"README\.md: expected the tables known_answer, small, medium, large, found known_answer, small, large$"
    with pytest.raises(InputError, match=expected):
        results_page.render(text, tmp_path)


def test_a_cpu_has_a_name_that_a_record_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Intel(R) Xeon(R) <b>|8480C| CPU @ 2.10GHz\n")
    monkeypatch.setattr(record, "CPU_INFO", info)
    assert record.hardware()["cpu"] == "Intel(R) Xeon(R) b 8480C CPU @ 2.10GHz"
    info.write_text("processor\t: 0\n")
    assert record.hardware()["cpu"] in (platform.processor(), platform.machine())


# The known answer. ------------------------------------------------------------------------------------------------


def write_known_answer(folder: Path, measured: float) -> None:
    """Write the file as src/known_answer.py does, with the given difference of all accuracies."""
    source = Source("https://example.org/fma_metadata.zip", METADATA_SHA1)
    tracks = pd.DataFrame({"genre": ["Folk", "Rock", "Jazz"], "split": SPLITS})
    scores = [
        Score(system.classifier, 518, system.published, round(system.published + measured, 6), 0.5, 0.4, 0.3)
        for system in SYSTEMS
    ]
    values = known_answer.as_json("medium", DataSet(source, source, "medium"), tracks, scores)
    (folder / "known_answer.json").write_text(json.dumps(values))


@pytest.mark.parametrize(("measured", "verdict"), [(-0.002, "Every"), (0.02, "Not every")])
def test_the_known_answer_is_shown(tmp_path: Path, measured: float, verdict: str) -> None:
    write_known_answer(tmp_path, measured)
    text = results_page.render((RESULTS / "README.md").read_text(), tmp_path)
    table = text.partition("<!-- known_answer -->")[2].partition("<!-- end -->")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.strip().splitlines()][2:]
    for system, cells in zip(SYSTEMS, rows, strict=False):
        accuracy = 100 * (system.published + measured)
        difference = f"{100 * measured:+.2f}".replace("-", "−")
        assert cells == [system.classifier, "518", f"{100 * system.published:.2f}", f"{accuracy:.2f}", difference]
    assert f"{verdict} measured accuracy agrees with the published one within 1 point" in table
    assert "not run yet" not in table


def test_an_invalid_known_answer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "known_answer.json").write_text('{"dataset": "medium"}')
    with pytest.raises(InputError, match=r"known_answer\.json: subset: expected .*, found none"):
        results_page.render((RESULTS / "README.md").read_text(), tmp_path)
