"""docs/extending.md: each recipe works as printed and edits at most three files, and the tests pass after it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from fma_genre.archives.receipt import read_receipt
from fma_genre.archives.tracks import parse_table
from project import PARAMS, ROOT, Project

PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
OWN_DATA = (
    (ROOT / "docs/data.md")
    .read_text(encoding="utf-8")
    .split("\n## Archives in the FMA's layout\n")[1]
    .split("\n## ")[0]
)
BLOCK = re.compile(r"^```(\w+)\n(?:# (\S+)\n)?(.*?)^```$", re.MULTILINE | re.DOTALL)
MOST_FILES = 3
MODELS = ("mean_pool", "birnn_small", "birnn_centred", "birnn_chroma")  # models of the recipes
SHA1 = "0" * 40
SUMMARY_WRITER = """
class SummaryWriter:
    def __init__(self, log_dir):
        log_dir.mkdir(parents=True, exist_ok=True)
        self.file = open(log_dir / "scalars.txt", "a")
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def add_scalar(self, name, value, step):
        print(step, name, float(value), file=self.file)
"""  # in place of TensorBoard's, which the project does not install
# Tests of the code that recipes edit, and of all parameters and stages. They take 1½ minutes on an idle core.
AFFECTED = [
    "bad_input", "common", "evaluate", "figures", "front_ends", "graph", "metrics", "params", "shipped_params", "stage",
    "tracks", "training",
]  # fmt: skip


# The recipes. -----------------------------------------------------------------------------------------------------


def blocks(recipe: str) -> list[tuple[str, str, str]]:
    """The blocks of a recipe: kind, path of the file, and text. The recipe for a data set refers to docs/data.md."""
    text = OWN_DATA if "(data.md#archives-in-the-fmas-layout)" in RECIPES[recipe] else RECIPES[recipe]
    return [block for block in BLOCK.findall(text) if block[0] in ("python", "yaml", "diff")]


def commands(recipe: str) -> list[str]:
    """The commands in the text of a recipe."""
    return re.findall(r"`((?:[A-Z_]+=\S+ )?(?:dvc|pip|tensorboard) [^`]+)`", BLOCK.sub("", RECIPES[recipe]))


def apply(recipe: str, folder: Path) -> None:
    """Do what the page says, unless it is done already: write new files, and edit existing ones."""
    for kind, name, text in blocks(recipe):
        path = folder / name
        if kind == "python":
            path.write_text(text)
        elif kind == "yaml":
            path.write_text(inserted(path.read_text(), text.replace("…", SHA1)))
        else:
            path.write_text(edited(path.read_text(), text))


def inserted(content: str, added: str) -> str:
    """Insert YAML lines below those that the file already has."""
    lines = content.splitlines(keepends=True)
    for section in re.split(r"^(?=\w)", added, flags=re.MULTILINE)[1:]:
        new, position = section.splitlines(keepends=True), 0
        while new:
            found = [
                i for i in range(position, len(lines)) if re.match(rf"{re.escape(new[0].rstrip())}(\s|$)", lines[i])
            ]
            if not found:
                break
            position = found[0] + 1
            del new[0]
        assert position, f"the file does not have {section.splitlines()[0]}"
        lines[position:position] = new
    return "".join(lines)


def edited(content: str, diff: str) -> str:
    """Apply the hunks of a diff without line numbers; each place is found by its text."""
    for hunk in diff.split("@@\n"):
        before, after = ("".join(line[1:] for line in hunk.splitlines(True) if line[0] != sign) for sign in "+-")
        if after not in content:
            assert content.count(before) == 1, before
            content = content.replace(before, after)
    return content


# Without the pipeline. --------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            path = tmp_path / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, path)
    return tmp_path / "tree"


def run(folder: Path, *arguments: str | Path) -> None:
    """Run a module of Python, or a program with `-c`, on the code in the folder."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=Project(folder, folder).environment | {"PYTHONPATH": "src"},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_edits_at_most_three_files_and_leaves_code_and_parameters_valid(recipe: str, tree: Path) -> None:
    """The parameters of the tests must be valid both with the recipe's parameters and without them."""
    files = {name for _, name, _ in blocks(recipe)}
    assert 1 <= len(files) <= MOST_FILES
    shutil.copy(PARAMS, tree / "params.yaml")  # independent of what the repository's params.yaml has
    apply(recipe, tree)
    if code := [name for name in files if name.endswith(".py")]:
        run(tree, "-m", "ruff", "check", "--no-cache", *code)
        run(tree, "-m", "ruff", "format", "--no-cache", "--check", *code)
    load = "import sys; from pathlib import Path; from fma_genre.common import params; params.load(Path(sys.argv[1]))"
    run(tree, "-c", load, "params.yaml")
    run(tree, "-c", load, PARAMS)


def test_the_table_lists_the_files_of_each_recipe() -> None:
    listed: dict[str, list[str]] = {}
    for names, cells in re.findall(r"^\| ([a-z].+?) \| (.+) \|$", PAGE, re.MULTILINE)[1:]:
        for name in names.split(", "):
            listed[name.capitalize()] = [cell.strip("`") for cell in cells.split(", ")]
    assert list(RECIPES) == sorted(listed, key=list(RECIPES).index)
    for recipe, cells in listed.items():
        patterns = [cell if "src/" in cell or not cell.endswith(".py") else f"src/fma_genre/{cell}" for cell in cells]
        files = {name for _, name, _ in blocks(recipe)}
        assert len(files) == len(patterns)
        for pattern in patterns:
            assert any(re.fullmatch(re.sub(r"<\w+>", r"\\w+", pattern), name) for name in files), (recipe, pattern)


def test_the_table_of_tracks_in_the_page_can_be_read() -> None:
    (table,) = [text for kind, _, text in BLOCK.findall(OWN_DATA) if kind == "text"]
    assert len(parse_table(table.encode(), "tracks.csv")) == len(table.splitlines()) - 3


@pytest.mark.slow
def test_all_recipes_together_leave_types_and_tests_valid(tree: Path) -> None:
    for recipe in RECIPES:
        apply(recipe, tree)
    run(tree, "-m", "mypy", "src")
    for arguments in (["init"], ["add", "."]):  # the tests list the files with git
        subprocess.run(["git", *arguments], cwd=tree, capture_output=True, check=True)
    run(tree, "-m", "pytest", "-n0", "-m", "not slow", *(f"tests/test_{name}.py" for name in AFFECTED))


# With the pipeline. -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_recipes_work_and_run_what_the_page_says(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = finished.copy(tmp_path / "project")
    for recipe in ("A model", "A variant", "A representation", "A front end", "A metric", "A figure", "A baseline"):
        apply(recipe, project.path)
    stages = {f"{stage}@{key}" for stage in ("train", "evaluate") for key in MODELS} | {"baseline@mel_ridge", "compare"}
    others = {"spectrograms", "evaluate@cnn", "evaluate@birnn", "baseline@svm", "promote"}  # no other model is trained
    assert stages <= project.repro() <= stages | others
    check_results(project)
    for command in commands("A model"):
        project.run(*shlex.split(command))
    assert (project.path / "metrics/promoted.json").read_bytes() == (
        project.path / "metrics/mean_pool.json"
    ).read_bytes()

    apply("A loss", project.path)
    project.edit_params(lambda params: params["models"]["mean_pool"].update(mixup=1.0))
    assert project.repro("train@mean_pool") == {"train@mean_pool"}
    check_tracker(project, monkeypatch)
    check_split(project)


def check_results(project: Project) -> None:
    """Every new system has metrics, a row of the report and figures, and predicts a file if it is a model."""
    report, figures = (project.path / "report.md").read_text(), project.path / "plots/comparison"
    for key in (*MODELS, "mel_ridge"):
        metrics = json.loads((project.path / f"metrics/{key}.json").read_text())
        assert 0 <= metrics["worst_recall"] <= 1
        assert key not in MODELS or 0 <= metrics["confidence"] <= 1
        assert f"\n| {key} " in report
    assert {path.stem for path in figures.glob("*.svg")} >= {"confidence", *(f"votes_{key}" for key in MODELS)}

    soundfile.write(project.path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 4 * 22050), 22050)
    for key in ("mean_pool", "birnn_centred", "birnn_chroma"):
        printed = project.run("python", "src/predict.py", "--json", "--model", f"models/{key}", "noise.wav").stdout
        assert len(json.loads(printed)["genres"]) == 3


def check_tracker(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe records every value of every epoch, and changes no byte of the model."""
    lock, stand_in = yaml_lock(project), project.path.parent / "stand_in"
    stand_in.mkdir()
    (stand_in / "sitecustomize.py").write_text(
        f"import sys, types\n{SUMMARY_WRITER}\n"
        "sys.modules['torch.utils.tensorboard'] = types.SimpleNamespace(SummaryWriter=SummaryWriter)\n"
    )
    apply("A tracker", project.path)
    install, repro, show = commands("A tracker")
    assert (install, show) == ("pip install tensorboard", "tensorboard --logdir ../runs")
    assert repro.endswith(" dvc repro")
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(stand_in))
        project.run("bash", "-c", f"{repro} train@mean_pool")
    assert yaml_lock(project) == lock
    lines = (project.path / "../runs/mean_pool/seed0/scalars.txt").read_text().splitlines()
    curve = pd.read_csv(project.path / "plots/training/mean_pool.csv")
    names = {"epoch", "loss", "accuracy", "validation_loss", "validation_accuracy"}
    assert {tuple(line.split()[:2]) for line in lines} == {
        (str(epoch), name) for epoch in curve["epoch"] for name in names
    }


def yaml_lock(project: Project) -> object:
    """The checksum of the model of the first recipe."""
    outs = yaml.safe_load((project.path / "dvc.lock").read_text())["stages"]["train@mean_pool"]["outs"]
    (model,) = (out for out in outs if out["path"] == "models/mean_pool")
    return model


def check_split(project: Project) -> None:
    """The folds keep artists apart, each can be tested, and an empty split is refused."""
    apply("Another split", project.path)
    assert "split" in project.repro("split")
    tracks = pd.read_csv(project.path / "data/tracks.csv")
    assert set(tracks["split"]) == {"training", "validation", "test"}
    assert (tracks.groupby("artist_id")["split"].agg(set).map(len) == 1).all()

    (queue,) = commands("Another split")
    assert project.run(*shlex.split(queue)).stdout.count("Queued experiment") == 5

    project.edit_params(lambda params: params["datasets"]["demo"]["folds"].update(test=5))
    refused = project.run("dvc", "repro", "split", check=False)
    assert "expected tracks in training, validation, test, found none in test" in refused.stdout + refused.stderr
    project.edit_params(lambda params: params["datasets"]["demo"]["folds"].update(count=1))
    refused = project.run("dvc", "repro", "split", check=False)
    assert "folds.count: expected a whole number from 3 to 1000, found 1" in refused.stdout + refused.stderr


@pytest.mark.slow
def test_archives_in_the_layout_of_the_fma(finished: Project, tmp_path: Path) -> None:
    """The section of docs/data.md, with the archives of the demo."""
    project = finished.copy(tmp_path / "project")
    receipt = read_receipt(project.path / "data/archives.json")
    apply("A data set", project.path)
    params = (project.path / "params.yaml").read_text()
    for name, archive in (("mine.zip", receipt.audio), ("mine_metadata.zip", receipt.metadata)):
        shutil.copy(project.home / archive.sha1 / archive.name, tmp_path / name)
        params = params.replace(SHA1, archive.sha1, 1)
    (project.path / "params.yaml").write_text(params.replace("/data/mine", f"{tmp_path}/mine"))

    project.run("dvc", "exp", "run", "-S", "dataset=mine")
    index, before = (pd.read_csv(path / "data/index.csv") for path in (project.path, finished.path))
    assert index.shape == before.shape
    assert yaml.safe_load((project.path / "params.yaml").read_text())["dataset"] == "mine"
