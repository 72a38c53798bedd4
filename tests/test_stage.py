"""The entry point of stages: errors in one line, locks, and scratch folders for unfinished work."""

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
from project import PARAMS, Project


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the parameters, and without DVC."""
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(stage.signal, "signal", lambda *_: None)
    return tmp_path


# Unfinished work. -------------------------------------------------------------------------------------------------


def leave(inputs: object, name: str = "any") -> Path:
    """Start work and let it fail; return its scratch folder."""
    with contextlib.suppress(RuntimeError), stage.scratch(name, inputs) as folder:
        (folder / "half").touch()
        raise RuntimeError
    return folder


def finish(inputs: object, name: str = "any") -> Path:
    with stage.scratch(name, inputs) as folder:
        (folder / "all").touch()
    return folder


def record(after: Path) -> None:
    """Write dvc.lock, newer than the file `after`, as DVC does when it records the outputs of a stage."""
    Path("dvc.lock").write_text("schema: '2.0'\n")
    written = after.stat().st_mtime_ns + 1_000_000
    os.utime("dvc.lock", ns=(written, written))


def record_stages(entries: dict[str, int]) -> None:
    """Write dvc.lock with these entries, newer than all finished work."""
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
    """If DVC was killed before it recorded outputs, it deletes them; the next run restores them from scratch."""
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    folder = finish(1)
    for _ in range(2):  # as if DVC were killed and started again
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


def test_a_newer_dvc_lock_does_not_discard_unfinished_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", str(Path.cwd()))
    folder = finish(1)
    assert leave(1) == folder  # started again, not finished
    record(after=folder / "half")
    start_any_stage()
    assert (folder / "half").exists()


# The fingerprint. -------------------------------------------------------------------------------------------------


def test_the_fingerprint_depends_on_the_inputs() -> None:
    prints = {stage.fingerprint(inputs) for inputs in (1, "1", [1], None, {"a": 1}, {"a": 2}, {"b": 1})}
    assert len(prints) == 7
    assert all(len(text) == 16 and text.isalnum() for text in prints)
    assert stage.fingerprint({"a": 1, "b": 2}) == stage.fingerprint({"b": 2, "a": 1})


def test_the_fingerprint_depends_on_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert any(name.startswith("numpy-") for name in stage._packages())
    before = stage.fingerprint(1)
    monkeypatch.setattr(stage, "_packages", lambda: ["numpy-99.dist-info"])
    assert stage.fingerprint(1) != before


def test_the_fingerprint_covers_all_loaded_modules_of_the_project_only() -> None:
    hashes = stage._code()
    assert {"fma_genre/common/stage.py", "fma_genre/common/params.py", "fma_genre/__init__.py"} <= set(hashes)
    assert all(file.startswith("fma_genre/") or "/" not in file for file in hashes)


PROBE = """
import json, runpy, sys
sys.path.insert(0, "src")
from fma_genre.common import stage

def probe(name, inputs):
    '''Replace `scratch`: print the modules in the fingerprint, and whether an edit of the script changes it.'''
    before, code = stage.fingerprint(inputs), sorted(stage._code())
    with open(sys.argv[0], "a") as script:
        script.write("# a comment\\n")
    print(json.dumps([name, code, stage.fingerprint(inputs) != before]))
    sys.exit(0)

stage.scratch = probe
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WAVEFORMS = {"raw": {"sample_rate": 22050, "hop": 27}}


@pytest.fixture(scope="module")
def prepared(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with data, and a section of `waveforms`."""
    project = finished.copy(tmp_path_factory.mktemp("stage") / "project")
    project.edit_params(lambda params: params.update(waveforms=WAVEFORMS))
    return project


@pytest.mark.parametrize("name", ["spectrograms", "waveforms@raw", "train@cnn", "train@birnn"])
def test_the_fingerprint_covers_every_module_that_the_stage_uses(prepared: Project, name: str) -> None:
    """This fails for a module that a stage imports after it has opened its scratch folder."""
    (found,) = (found for found in stages(waveforms=WAVEFORMS) if found.name == name)
    script, _, key = name.partition("@")
    start = f"import sys; sys.argv = {[f'src/{script}.py', *([key] if key else [])]!r}\n"
    opened, code, changed = json.loads(prepared.run("python", "-c", start + PROBE).stdout.splitlines()[-1])
    assert opened == name
    assert changed, "an edit of the script must change it"
    used = {str(file.relative_to(SOURCE)) for file in closure(found)}
    assert used <= set(code)
    assert {Path(file).name for file in set(code) - used} <= {"__init__.py"}  # modules loaded by name
    assert len(used) > 10
    for network in ("cnn", "birnn"):
        assert (f"fma_genre/networks/{network}.py" in code) == (key == network)


def test_every_stage_that_opens_a_scratch_folder_is_probed() -> None:
    opening = {file.stem for file in modules() if "scratch(" in file.read_text() and file.parent == SOURCE}
    assert opening == {"spectrograms", "waveforms", "train"}


# Errors. ----------------------------------------------------------------------------------------------------------


def end(main: Callable[[Params], None], name: str = "split") -> str | int | None:
    """The exit message of the stage, or its exit code."""
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
            "split: data/tracks.csv: not found; `dvc repro` runs the stages that write it",
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
def test_errors_that_users_can_fix_are_one_line(error: BaseException, says: str | int, checkout: Path) -> None:
    assert end(failing(error)) == (says.format(cwd=checkout) if isinstance(says, str) else says)


@pytest.mark.parametrize(
    ("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_signal_during_an_import_ends_it_without_a_traceback(stop: BaseException, code: int) -> None:
    """While a C extension is imported, a signal becomes the cause of an ImportError."""

    def import_extension(params: Params) -> None:
        try:
            raise ImportError("initialization failed") from stop
        except ImportError as error:
            raise ImportError("cannot import") from error

    assert end(import_extension) == code


def test_a_full_standard_output_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        message = end(lambda params: print("a result"))
    assert message == "split: standard output: cannot write all output: No space left on device"


def test_a_mistake_in_the_code_is_a_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        stage.run("split", failing(ZeroDivisionError()))


def test_parameters_are_checked_before_anything_else(checkout: Path) -> None:
    (checkout / "params.yaml").write_text("seed: 010\n")
    value = "expected a value that YAML 1.1 and 1.2 read the same way, or a value in quotes, found '010'"
    assert end(failing(AssertionError())) == f"split: params.yaml: line 1: seed: {value}"
    (checkout / "params.yaml").unlink()
    assert end(failing(AssertionError())) == "split: params.yaml: cannot read the file: No such file or directory"
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
        ([], "usage: python src/train.py KEY (a key of `models` in params.yaml)"),
        (["cnn", "birnn"], "usage: python src/train.py KEY (a key of `models` in params.yaml)"),
        (["birn"], "train@birn: models: expected one of cnn, birnn, found 'birn'; did you mean birnn?"),
        (["svm"], "train@svm: models: expected one of cnn, birnn, found 'svm'"),
        (["../\n"], "train@../?: models: expected one of cnn, birnn, found '../\\n'"),
        ([""], "train@: models: expected one of cnn, birnn, found ''"),
    ],
)
def test_an_unknown_system_is_refused(
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
        output, errors = process.communicate(timeout=100)
    assert (process.returncode, output, errors) == (code, "tidied up\n", "")
