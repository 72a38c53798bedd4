"""Stages: errors in one line, one run at a time, unfinished work kept for the same inputs, code and packages."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from closure import SOURCE, closure, modules, stages
from fma_genre.common import stage
from fma_genre.common.errors import InputError
from fma_genre.common.params import Params
from project import ROOT, Project


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: one with the parameters, outside DVC."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(stage.signal, "signal", lambda *_: None)
    return tmp_path


# Unfinished work. -------------------------------------------------------------------------------------------------


def leave(inputs: object, name: str = "any") -> Path:
    """The folder of work that breaks off."""
    with contextlib.suppress(RuntimeError), stage.scratch(name, inputs) as folder:
        (folder / "half").touch()
        raise RuntimeError
    return folder


def finish(inputs: object, name: str = "any") -> Path:
    with stage.scratch(name, inputs) as folder:
        (folder / "all").touch()
    return folder


def record(after: Path) -> None:
    """Write dvc.lock, as DVC does when it has the outputs of a stage: later than the file `after`."""
    Path("dvc.lock").write_text("schema: '2.0'\n")
    written = after.stat().st_mtime_ns + 1_000_000
    os.utime("dvc.lock", ns=(written, written))


def record_stages(entries: dict[str, int]) -> None:
    """Write dvc.lock with these entries, later than all that is there."""
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": entries}))
    complete = [path.stat().st_mtime_ns for path in stage.WORK.glob(f"*/*/{stage.COMPLETE}")]
    written = max(complete, default=0) + 1_000_000
    os.utime("dvc.lock", ns=(written, written))


def start_any_stage() -> None:
    stage.run("another", lambda params: None)


def test_unfinished_work_is_found_again_and_other_work_is_removed() -> None:
    begun = leave({"hop": 512, "tracks": [2, 5]})
    start_any_stage()
    with stage.scratch("any", {"tracks": [2, 5], "hop": 512}) as folder:
        assert folder == begun
        assert (folder / "half").exists()
    begun = leave({"hop": 512, "tracks": [2, 5]})
    with stage.scratch("any", {"hop": 512, "tracks": [5, 2]}) as folder:
        assert not list(folder.iterdir())
        assert not begun.exists()


def test_work_of_one_stage_is_not_that_of_another() -> None:
    first, second = leave(1, "train@cnn"), leave(1, "train@birnn")
    assert first.exists()
    assert second.exists()


def test_work_that_is_finished_by_hand_is_removed() -> None:
    leave(1)
    assert not finish(1).parent.exists()


def test_finished_work_is_kept_until_dvc_has_recorded_its_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DVC that is killed in between deletes them before the next run, which restores them from here."""
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    folder = finish(1)
    for _ in range(2):  # killed, run again
        start_any_stage()
        with stage.scratch("any", 1) as again:
            assert again == folder
            assert (folder / "all").exists()

    record(after=folder / stage.COMPLETE)
    assert leave(2, "other").exists()
    start_any_stage()
    assert not folder.exists()


def test_finished_work_is_kept_while_dvc_records_only_other_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    record_stages({"any": 1, "split": 1})
    folder = finish(1)
    record_stages({"any": 1, "split": 2})
    start_any_stage()
    assert (folder / "all").exists()
    record_stages({"any": 2, "split": 2})
    start_any_stage()
    assert not folder.exists()


def test_finished_work_goes_when_dvc_records_the_same_outputs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    record_stages({"any": 1, "split": 1})
    folder = finish(1)
    record_stages({"any": 1, "split": 1})
    start_any_stage()
    assert not folder.exists()


def test_finished_work_is_kept_if_dvc_recorded_something_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    record(after=Path("params.yaml"))
    os.utime("dvc.lock", ns=(0, 0))
    folder = finish(1)
    start_any_stage()
    assert (folder / "all").exists()


def test_what_dvc_records_later_does_not_discard_unfinished_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    folder = finish(1)
    assert leave(1) == folder  # begun again, not finished
    record(after=folder / "half")
    start_any_stage()
    assert (folder / "half").exists()


# The fingerprint. -------------------------------------------------------------------------------------------------


def test_other_inputs_are_other_work() -> None:
    prints = {stage.fingerprint(inputs) for inputs in (1, "1", [1], None, {"a": 1}, {"a": 2}, {"b": 1})}
    assert len(prints) == 7
    assert all(len(text) == 16 and text.isalnum() for text in prints)
    assert stage.fingerprint({"a": 1, "b": 2}) == stage.fingerprint({"b": 2, "a": 1})


def test_other_packages_are_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any(name.startswith("numpy-") for name in stage._packages())
    before = stage.fingerprint(1)
    monkeypatch.setattr(stage, "_packages", lambda: ["numpy-99.dist-info"])
    assert stage.fingerprint(1) != before


def test_code_is_all_of_ours_that_is_loaded_and_nothing_else() -> None:
    hashes = stage._code()
    assert {"fma_genre/common/stage.py", "fma_genre/common/params.py", "fma_genre/__init__.py"} <= set(hashes)
    assert all(file.startswith("fma_genre/") or "/" not in file for file in hashes)


PROBE = """
import json, runpy, sys
from pathlib import Path
sys.path.insert(0, "src")
from fma_genre.common import stage

def probe(name, inputs):
    '''In place of `scratch`: edit each file of src/, one after the other, and see what that does.'''
    before, changed = stage.fingerprint(inputs), {}
    for file in sorted(Path("src").rglob("*.py")):
        content = file.read_bytes()
        file.write_bytes(content + b"\\n# a comment\\n")
        changed[str(file.relative_to("src"))] = stage.fingerprint(inputs) != before
        file.write_bytes(content)
    assert stage.fingerprint(inputs) == before
    print(json.dumps([name, changed]))
    sys.exit(0)

stage.scratch = probe
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def prepared(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with data."""
    return finished.copy(tmp_path_factory.mktemp("stage") / "project")


@pytest.mark.parametrize("name", ["spectrograms", "train@cnn", "train@birnn"])
def test_an_edit_of_each_module_that_a_stage_uses_makes_other_work_and_no_other_edit_does(
    prepared: Project, name: str
) -> None:
    """A module that a stage imports after it has opened its scratch folder would be missed here."""
    (found,) = (found for found in stages() if found.name == name)
    script, _, key = name.partition("@")
    start = f"import sys; sys.argv = {[f'src/{script}.py', *([key] if key else [])]!r}\n"
    opened, changed = json.loads(prepared.run("python", "-c", start + PROBE).stdout.splitlines()[-1])
    assert opened == name
    used = {str(file.relative_to(SOURCE)) for file in closure(found)}
    other_work = {file for file, other in changed.items() if other}
    assert used <= other_work
    assert {Path(file).name for file in other_work - used} <= {"__init__.py"}  # of the packages loaded by name
    assert len(used) > 10
    assert set(changed) >= {str(file.relative_to(SOURCE)) for file in modules()}
    for network in ("cnn", "birnn"):
        assert changed[f"fma_genre/networks/{network}.py"] == (key == network)


COUNTER = """
_train_epoch = train_epoch

def train_epoch(*arguments):
    print("an epoch", flush=True)
    return _train_epoch(*arguments)
"""


def test_a_forced_training_under_dvc_trains_again_and_the_next_stage_removes_its_scratch(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "project")
    with (project.path / "src/fma_genre/learning/training.py").open("a") as file:
        file.write(COUNTER)
    scratch = project.path / "data/work/train@cnn"
    for _ in range(2):
        output = project.run("dvc", "repro", "--force", "--single-item", "train@cnn").stdout
        assert output.count("an epoch\n") == 4
        assert [path.name for path in scratch.glob(f"*/{stage.COMPLETE}")] == [stage.COMPLETE]
    assert project.repro("--single-item", "evaluate@cnn") == {"evaluate@cnn"}
    assert not list(scratch.glob("*"))


def test_every_stage_that_opens_a_scratch_folder_is_probed() -> None:
    opening = {file.stem for file in modules() if "scratch(" in file.read_text() and file.parent == SOURCE}
    assert opening == {"spectrograms", "train"}


# Errors. ----------------------------------------------------------------------------------------------------------


def end(main: Callable[[Params], None], name: str = "split") -> str | int | None:
    """The message of the stage, or its exit code."""
    with pytest.raises(SystemExit) as ending:
        stage.run(name, main)
    return ending.value.code


def failing(error: BaseException) -> Callable[[Params], None]:
    def main(params: Params) -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (InputError("train.lr: expected 1,\nfound \x1b2"), "split: train.lr: expected 1,?found ?2"),
        (
            FileNotFoundError(2, "No such file", "data/tracks.csv"),
            "split: expected data/tracks.csv, found none: `dvc repro` runs the stages that make it",
        ),
        (FileNotFoundError("nothing there"), "split: nothing there in {cwd}"),
        (
            PermissionError(13, "Permission denied", "data/a\n.csv"),
            "split: [Errno 13] Permission denied: 'data/a\\n.csv'",
        ),
        (OSError(28, "No space left on device"), "split: [Errno 28] No space left on device in {cwd}"),
        (MemoryError("Unable to allocate 7 TiB"), "split: out of memory: Unable to allocate 7 TiB"),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_users_can_do_something_about_is_said_in_one_line(
    error: BaseException, says: str | int, checkout: Path
) -> None:
    assert end(failing(error)) == (says.format(cwd=checkout) if isinstance(says, str) else says)


def test_an_output_that_takes_no_more_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        message = end(lambda params: print("a result"))
    assert message == "split: standard output: expected all of it to be taken, found: No space left on device"


def test_a_mistake_in_the_code_is_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        stage.run("split", failing(ZeroDivisionError()))


def test_parameters_are_checked_before_anything_else(checkout: Path) -> None:
    (checkout / "params.yaml").write_text("seed: 010\n")
    message = (
        "split: params.yaml: line 1: seed: expected a value that YAML 1.1 and 1.2 read alike, or quotes, found '010'"
    )
    assert end(failing(AssertionError())) == message
    (checkout / "params.yaml").unlink()
    assert end(failing(AssertionError())) == (
        "split: params.yaml: expected a file that can be read, found: No such file or directory"
    )
    assert not (checkout / "data").exists()


def test_a_stage_runs_once_at_a_time_in_a_checkout(checkout: Path) -> None:
    stage.run("split", lambda params: None)
    with FileLock(checkout / "data/work/split.lock"):
        says = f"split: already running in {checkout}; wait for it or stop it"
        assert end(failing(AssertionError())) == says
        stage.run("download", lambda params: None)
    stage.run("split", lambda params: None)


def test_a_stage_for_a_system_gets_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for section, key in (("models", "birnn"), ("baselines", "svm")):
        monkeypatch.setattr(sys, "argv", ["src/any.py", key])
        stage.run_for_system("any", section, lambda params, key: seen.append((params.dataset, key)))
    assert seen == [("demo", "birnn"), ("demo", "svm")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "usage: python src/train.py KEY, a key of `models` in params.yaml"),
        (["cnn", "birnn"], "usage: python src/train.py KEY, a key of `models` in params.yaml"),
        (["birn"], "train@birn: models: expected one of cnn, birnn, found 'birn'; did you mean birnn?"),
        (["svm"], "train@svm: models: expected one of cnn, birnn, found 'svm'"),
        (["../\n"], "train@../?: models: expected one of cnn, birnn, found '../\\n'"),
        ([""], "train@: models: expected one of cnn, birnn, found ''"),
    ],
)
def test_a_key_of_no_system_is_refused(
    monkeypatch: pytest.MonkeyPatch, checkout: Path, arguments: list[str], says: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["src/train.py", *arguments])
    with pytest.raises(SystemExit, match=None) as ending:
        stage.run_for_system("train", "models", lambda params, key: None)
    assert ending.value.code == says
    assert not (checkout / "data").exists()


SLEEPER = f"""
import sys, time
sys.path.insert(0, {str(SOURCE)!r})
from fma_genre.common import stage
def main(params):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("tidied up", flush=True)
stage.run("sleeper", main)
"""


@pytest.mark.parametrize(("signal", "code"), [("TERM", 143), ("INT", 130)])
def test_a_signal_ends_a_stage_without_a_traceback(signal: str, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        subprocess.run(["kill", f"-{signal}", str(process.pid)], check=True)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (code, "tidied up\n", "")
