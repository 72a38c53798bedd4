"""The documentation: its links, its numbers, and its commands, which run in a miniature project."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from fma_genre.archives.receipt import read_receipt
from project import ROOT, Project, stages_run

DOCS = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *DOCS]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMPTS = {"bash": r"^", "console": r"^\$ "}  # before each command, by the language of the block
NUMBER = re.compile(r"[-−+]?\d+(\.\d+)?")
PROGRAMS = "dask|docker|dvc|git|kill|make|pip|python|rm|source|tensorboard"
INLINE = re.compile(rf"`((?:[A-Z_]+=\S+ )?(?:{PROGRAMS})\s[^`]+)`")  # a command in the text
EXTENDING = "test_extending.py runs it after its recipe"
TENSORBOARD = "TensorBoard is not installed; test_extending.py has a stand-in"

# Commands of the pages that this file does not run, with the reason.
NOT_RUN = {
    "make test": "runs these tests",
    "dvc exp run -S dataset=small": "downloads 7 GiB",
    "python benchmarks/extraction.py": "takes ten minutes",
    "python benchmarks/training.py": "takes minutes",
    "python benchmarks/svm_head.py": "takes minutes",
    **{
        f"python benchmarks/recipe.py benchmarks/recipe/{arguments}.jsonl": "test_recipe.py runs it in miniature"
        for arguments in (
            "screening.yaml --out benchmarks/recipe/screening",
            "finalists.yaml --repeats 3 --out benchmarks/recipe/finalists",
            "growth.yaml --repeats 3 --copies --out benchmarks/recipe/growth",
        )
    },
    **dict.fromkeys(
        (
            "make related",
            'make related SYSTEMS="prcnn densenet"',
            "dvc metrics diff HEAD related",
            "dvc exp apply related",
            "dvc exp run -S model=prcnn",
        ),
        "test_related.py runs it in miniature",
    ),
    "python benchmarks/robustness.py": "test_robustness.py runs it in miniature",
    "make choose MODEL=cnn": "test_choose.py runs it in miniature",
    "python benchmarks/evaluation.py": "takes minutes",
    "python benchmarks/rehearsal.py archives big --audio A.zip --metadata M.zip --size medium": "test_rehearsal.py",
    "python benchmarks/rehearsal.py run big --fill --links": "test_rehearsal.py runs it in miniature",
    "python benchmarks/cross_validation.py --controls random-split shuffled-labels": "trains for an hour;"
    " test_cross_validation.py runs it in miniature",
    "PYTHONPATH=src dask scheduler": "runs until it is stopped; test_extraction.py has a cluster",
    "dask worker tcp://HOST:8786 --nthreads 1 --nworkers auto": "needs the scheduler",
    "DASK_SCHEDULER_ADDRESS=tcp://HOST:8786 dvc repro": "needs the scheduler",
    "python src/pack.py ~/Music/genres --name mine": "test_packing.py runs it on other folders",
    **dict.fromkeys(
        (
            "cd ~/gtzan",
            '(echo path,genre,split; awk -F / \'{split(FILENAME, list, "_"); print "genres/" $0 "," $1 "," list[1]}\''
            "     train_filtered.txt valid_filtered.txt test_filtered.txt) > filtered.csv",
            "cd -",
            "python src/pack.py ~/gtzan/filtered.csv --name gtzan",
        ),
        "test_packing.py runs it in a folder of GTZAN's shape",
    ),
    "git rm -rfq dvc.lock metrics plots report.md": "the test of a merge conflict runs it",
    "git checkout HEAD dvc.lock metrics plots report.md": "the test of a merge conflict runs it",
    "git commit": "the test of a merge conflict runs it",
}
INLINE_NOT_RUN = {
    "make attack": "runs these tests",
    "kill NAME": "is short for `dvc queue kill NAME`, which needs a running experiment",
    "make audit": "asks a server about each package",
    "make lock": "installs the newest packages",
    "pip install .": "changes the environment; test_wheel.py installs the package",
    "dvc exp run -S dataset=mine": "test_packing.py runs it on such a data set",
    "python src/pack.py FOLDER --name mine": "test_packing.py runs it on other folders",
    "dvc exp run -S model=mean_pool": EXTENDING,
    "dvc exp run --queue -S datasets.demo.folds.test=0,1,2,3,4": EXTENDING,
    "pip install tensorboard": TENSORBOARD,
    "TENSORBOARD_FOLDER=../runs dvc repro": TENSORBOARD,
    "tensorboard --logdir ../runs": TENSORBOARD,
    "dvc remote modify --local storage …": "its arguments depend on the remote",
    "dvc repro --pull": "needs a remote; test_remote.py runs it",
    "dvc exp push origin NAME": "needs a remote; test_remote.py runs it",
    "dvc exp pull origin NAME": "needs a remote; test_remote.py runs it",
    "dvc exp apply NAME": "test_remote.py runs it on a pulled experiment",
    "python src/predict.py --model ../song-model song.mp3": "test_remote.py runs it on a fetched model",
    "dvc exp run": "names a command, without arguments",
    "dvc push": "names a command, without arguments",
    "dvc artifacts get": "names a command, without arguments",
    "git merge": "names a command, without arguments",
    "git switch": "names a command, without arguments",
    "dvc plots": "names a command, without arguments",
    "docker run -u": "names a command, without arguments",
    "kill -9": "names a command, without arguments",
}
# Identifies the parameters of the results that README prints: see `fingerprint`. Update it together with the results.
MEASURED_WITH = "e45d8d136d4f"
PLACEHOLDERS = {"FILE": "data/index.csv"}

# Solutions in the text: a script that causes the problem, and a check that fails until the solution has run.
PROBLEMS = {
    "rm .dvc/tmp/rwlock": ("echo '{' > .dvc/tmp/rwlock", "dvc repro"),
    "git checkout dvc.lock": ("echo '{' > dvc.lock", "dvc repro"),
    "dvc commit --force train@cnn": ("echo '# x' >> src/fma_genre/networks/cnn.py", "dvc status train@cnn | grep date"),
    "git restore . && dvc repro": ("dvc exp run -S model=birnn", "git diff --exit-code"),
    "git fetch --depth=1 origin main:main": (
        "git clone --bare . ../origin && git remote add origin ../origin && git switch -c new && git branch -D main",
        "make diff",
    ),
    "dvc exp remove cnn": ("dvc exp run --name cnn -S model=birnn", "dvc exp run --name cnn -S model=cnn"),
    "dvc unprotect FILE": (
        "dvc config --local cache.type hardlink && dvc checkout --relink", "test $(stat -c %h data/index.csv) = 1"
    ),
}  # fmt: skip


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def prose(page: str) -> str:
    return BLOCK.sub("", text_of(page))


def commands(page: str, section: str = "") -> list[tuple[str, str]]:
    """The commands in blocks of a page, or of one of its sections, as (command, printed output).

    Continued lines are joined, and comments are cut.
    """
    found = []
    text = text_of(page).split(f"\n## {section}\n")[1].split("\n## ")[0] if section else text_of(page)
    for language, content in BLOCK.findall(text):
        if language not in PROMPTS:
            continue
        lines = content.replace("\\\n", "")
        for item in re.split(PROMPTS[language], lines, flags=re.MULTILINE)[1:]:
            command, _, output = item.partition("\n")
            bare = re.sub(r"(^|\s+)# .*", "", command)
            found += [(bare, output)] if bare else []
    return found


def inline_commands() -> set[str]:
    """The commands in the text of all pages that are not in a block as well."""
    in_blocks = {command for page in PAGES for command, _ in commands(page)}
    return {" ".join(command.split()) for page in PAGES for command in INLINE.findall(prose(page))} - in_blocks


def test_readme_is_two_screens() -> None:
    assert 8_000 <= len((ROOT / "README.md").read_bytes()) <= 10_000


def test_readme_links_every_page() -> None:
    readme = text_of("README.md")
    assert [page for page in PAGES[1:] if f"]({page}" not in readme] == []


def anchors(page: str) -> set[str]:
    """The fragments that GitHub gives to the page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, fragment = link.partition("#")
        if path.startswith("https://"):
            continue
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), f"{page} links {link}"
        assert not fragment or fragment in anchors(str(target.relative_to(ROOT))), f"{page} links {link}"


@pytest.mark.parametrize("page", PAGES)
def test_the_tests_that_a_page_names_exist(page: str) -> None:
    code = "".join(path.read_text() for path in (ROOT / "tests").glob("*.py"))
    for name in re.findall(r"`(?:tests/)?(test_\w+)(?:\.py)?`", prose(page)):
        assert f"def {name}(" in code or (ROOT / f"tests/{name}.py").exists(), f"{page} names {name}"


@pytest.mark.parametrize("page", PAGES)
def test_code_that_a_sentence_names_is_in_the_file_that_it_names(page: str) -> None:
    """Names of code contain a capital letter or an underscore. Files of other projects are not checked."""
    folders = [(ROOT / page).parent, ROOT, ROOT / "src/fma_genre"]
    for sentence in re.split(r"(?<=\.)\s|\n\n", prose(page)):
        named = re.findall(r"[`(]([\w./]+\.py)[`)]", sentence)
        files = [folder / name for name in named for folder in folders if (folder / name).is_file()]
        code = "".join(file.read_text() for file in files)
        for name in re.findall(r"`(?!test_)(\w*[A-Z_]\w*)[`(]", sentence):
            assert not files or re.search(rf"\b{name}\b", code), f"{page}: {name} is not in {', '.join(named)}"


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_is_left(page: str) -> None:
    assert re.findall(r"^@\w+$|\b(?:TODO|TBD|FIXME)\b", prose(page), re.MULTILINE) == []


def printed_difference() -> dict[str, str]:
    """The rows of `dvc metrics diff` in README by metric."""
    printed = dict(commands("README.md"))["dvc metrics diff cnn birnn"]
    rows = [line.split(maxsplit=2)[1:] for line in printed.splitlines()[1:]]
    return {metric: " ".join(values.split()) for metric, values in rows}


def difference(metrics: dict[str, dict[str, Any]], metric: str) -> str:
    old, new = metrics["cnn"][metric], metrics["birnn"][metric]
    return " ".join(str(round(value, 5)) for value in (old, new, new - old))


def fingerprint(parameters: dict[str, Any]) -> str:
    """Hash of the parameters on which results depend. `model` only selects among them."""
    chosen = {**parameters, "datasets": parameters["datasets"][parameters["dataset"]], "model": None}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


@pytest.fixture(scope="module")
def metrics() -> dict[str, dict[str, Any]]:
    """The committed metrics by the name of their file, if they are the results that README prints.

    Other parameters or another processor give other results. The tests do not require a new README for them, so an
    experiment can be merged.
    """
    if (found := fingerprint(yaml.safe_load(text_of("params.yaml")))) != MEASURED_WITH:
        pytest.skip(f"README prints results of other parameters: expected {MEASURED_WITH}, found {found}")
    stored = {name: json.loads(text_of(f"metrics/{name}.json")) for name in ("svm", "cnn", "birnn", "comparison")}
    expected = difference(stored, "segment_accuracy")  # the metric over most items, so it hardly ever coincides
    if printed_difference()["segment_accuracy"] != expected:
        pytest.skip(f"README prints other results than metrics/ has: expected segment_accuracy {expected}")
    return stored


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("compare", "seed", 1), ("models", "third", {}), ("datasets", "demo", {}), ("train", "lr", 1)],
)
def test_results_of_other_parameters_need_no_new_readme(section: str, key: str, value: object) -> None:
    parameters = yaml.safe_load(text_of("params.yaml")) | {"dataset": "demo"}
    found = fingerprint(parameters)
    assert fingerprint(parameters | {"model": "birnn"}) == found, "all models have been measured"
    assert fingerprint({**parameters, section: {**parameters[section], key: value}}) != found


def percent(values: dict[str, Any], key: str = "accuracy") -> str:
    spread = f" ± {100 * values['accuracy_std']:.1f}" if "accuracy_std" in values and key == "accuracy" else ""
    return f"{100 * values[key]:.1f}{spread}"


def test_the_table_of_results_is_that_of_the_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    (row,) = re.findall(r"^\| demo \(synthetic\) \| (\d+) \| \d+ \| (.+) \|$", text_of("README.md"), re.MULTILINE)
    comparison = metrics["comparison"]
    systems = [comparison["systems"][key] for key in ("majority", "svm", "cnn", "birnn", "cnn_stft", "birnn_mel")]
    assert row == (str(comparison["n_test"]), " | ".join(map(percent, systems)))


def test_the_gap_between_the_models_is_that_of_the_comparison(metrics: dict[str, dict[str, Any]]) -> None:
    pattern = (
        r"birnn differs from the cnn by ([^ ]+) points, with a 95 % interval of \[(.+?)\]"
        r".* true difference of ([\d.]+) points"
    )
    (printed,) = re.findall(pattern, " ".join(text_of("README.md").split()))
    comparison = metrics["comparison"]
    found = comparison["differences"]["birnn"]
    gap, low, high = (signed(found[key]) for key in ("accuracy", "accuracy_low", "accuracy_high"))
    assert printed == (gap, f"{low}, {high}", percent(found, "resolution"))


def signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")


def test_the_difference_of_the_models_is_that_of_their_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    printed = printed_difference()
    assert printed == {key: difference(metrics, key) for key in printed}


def test_each_command_in_the_lists_of_this_file_is_in_a_page() -> None:
    assert set(NOT_RUN) <= {command for page in PAGES for command, _ in commands(page)}
    assert {*INLINE_NOT_RUN, *PROBLEMS} <= inline_commands()


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A finished project with an installed environment and the audio file song.mp3."""
    project = finished.copy(tmp_path / "project")
    environment = project.path / ".venv"
    environment.mkdir()
    for entry in Path(sys.prefix).iterdir():
        (environment / entry.name).symlink_to(entry)
    (environment / "installed").unlink(missing_ok=True)
    (environment / "installed").touch()
    audio = read_receipt(project.path / "data/archives.json").audio
    with zipfile.ZipFile(project.home / audio.sha1 / audio.name) as clips:
        name = next(name for name in clips.namelist() if name.endswith(".mp3"))
        (project.path / "song.mp3").write_bytes(clips.read(name))
    return project


def run(project: Project, command: str, folder: Path | None = None) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run a command in a folder, by default the project; return its result and the folder after it."""
    script = f"set -euo pipefail; {command}; pwd > {project.path.parent}/folder"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder or project.path, env=project.environment | {"GIT_EDITOR": "true"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return done, folder or project.path
    return done, Path((project.path.parent / "folder").read_text().strip())


def forms(output: str, names: set[str]) -> set[str]:
    """The lines of an output, with numbers, spaces and the names replaced, since another run or model has others."""
    words = (line.split() for line in output.splitlines())
    return {NUMBER.sub("0", " ".join("NAME" if word in names else word for word in line)) for line in words if line}


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_run_and_print_what_the_page_shows(page: str, project: Project) -> None:
    genres = re.findall(r"^\d+,\d+,([^,]+)", (project.path / "data/index.csv").read_text(), re.MULTILINE)
    names = {"cnn", "birnn", *genres, *json.loads((project.path / "metrics/promoted.json").read_text())}
    folder = project.path
    if page == "docs/performance.md":
        # The benchmarks read all systems of related.yaml, which need more resamples than the tests' params.yaml has.
        project.edit_params(lambda params: params["compare"].update(resamples=400))
    for command, printed in commands(page):
        if command in NOT_RUN:
            continue
        done, folder = run(project, command, folder)
        assert done.returncode == 0, f"{page}: {command}\n{done.stdout}"
        if printed:
            found, expected = forms(done.stdout, names), forms(printed, names)
            assert forms(printed.splitlines()[0], names) <= found <= expected, f"{page}: {command}\n{done.stdout}"


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(inline_commands() - set(INLINE_NOT_RUN)))
def test_commands_in_the_text_run_and_solve_the_problem(command: str, project: Project) -> None:
    problem, check = PROBLEMS.get(command, ("", ""))
    if problem:
        caused, _ = run(project, problem)
        assert caused.returncode == 0, f"{problem}\n{caused.stdout}"
        assert run(project, check)[0].returncode != 0, check
    for name, value in PLACEHOLDERS.items():
        command = command.replace(name, value)
    for step in (command, check):
        done, _ = run(project, step or "true")
        assert done.returncode == 0, f"{step}\n{done.stdout}"


def test_conflicts_of_results_are_resolved_to_our_side(tmp_path: Path) -> None:
    """One side also removed files that the other one changed, as for a removed model."""
    ours = {"dvc.lock": "ours", "report.md": "ours", "plots/a.csv": "ours", "metrics/a.json": "ours"}
    project = Project(tmp_path, tmp_path)
    project.run("git", "init", "--quiet", "--initial-branch=main")
    for branch, parent, contents in (
        ("main", None, dict.fromkeys([*ours, "metrics/b.json", "metrics/c.json"], "main")),
        ("theirs", "main", dict.fromkeys([*ours, "metrics/b.json"], "theirs")),
        ("ours", "main", ours | {"metrics/c.json": "ours"}),
    ):
        if parent:
            project.run("git", "switch", "--quiet", "--create", branch, parent)
            project.run("git", "rm", "-rq", ".")
        for name, content in contents.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        project.run("git", "add", ".")
        project.run("git", "commit", "--quiet", f"--message={branch}")
    project.run("git", "merge", "theirs", check=False)
    assert len(set(project.run("git", "ls-files", "--unmerged").stdout.split()[3::4])) == 6

    for command, _ in commands("docs/collaboration.md", "Merge conflicts"):
        if command.startswith("git ") and "metrics" in command:
            assert run(project, command)[0].returncode == 0
    assert project.run("git", "ls-files", "--unmerged").stdout == ""
    assert project.run("git", "diff", "HEAD").stdout == ""


@pytest.mark.slow
def test_a_merge_conflict_is_resolved_as_the_page_says(project: Project) -> None:
    """Two branches change different parameters, so that their results conflict but params.yaml does not."""
    for branch, name, value in (("theirs", "embedding", 6), ("ours", "resamples", 100)):
        project.run("git", "switch", "--quiet", "--create", branch, "main")
        params = (project.path / "params.yaml").read_text()
        changed, count = re.subn(rf"^( +{name}): \d+$", rf"\1: {value}", params, flags=re.MULTILINE)
        assert count == 1
        (project.path / "params.yaml").write_text(changed)
        project.repro()
        project.run("git", "commit", "--quiet", "--all", f"--message={branch}")
    merge = project.run("git", "merge", "theirs", check=False)
    conflicts = re.findall(r"^CONFLICT \(.+?\): .* (\S+)$", merge.stdout, re.MULTILINE)
    assert {"dvc.lock", "report.md", "metrics/comparison.json"} <= set(conflicts)

    printed = ""
    for command, _ in commands("docs/collaboration.md", "Merge conflicts"):
        done, _ = run(project, command)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        printed += done.stdout
    # DVC restores the birnn from its run cache. The new comparison is an input of promote, for the model card.
    assert stages_run(printed) == {"compare", "promote"}
    assert len(project.run("git", "log", "-1", "--format=%P").stdout.split()) == 2
    assert project.run("git", "status", "--porcelain").stdout == ""
    assert project.repro() == set()
    params = (project.path / "params.yaml").read_text()
    assert "embedding: 6" in params
    assert "resamples: 100" in params
