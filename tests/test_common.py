"""The package `common`. It must not change a result, because no stage in dvc.yaml depends on it."""

import ast
import contextlib
import io
import json
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import joblib
import pytest
import yaml

from fma_genre.common import caches, files, workers
from fma_genre.common.errors import InputError, errors_in_one_line, printable
from project import ROOT

COMMON = ROOT / "src/fma_genre/common"

PACKAGES = {"yaml", "filelock", "joblib", "tqdm"}  # packages that do not compute with numbers
NUMERIC_STANDARD = {
    "array", "cmath", "ctypes", "datetime", "decimal", "fractions", "math", "numbers", "operator", "random", "secrets",
    "statistics", "struct", "time",
}  # fmt: skip
BY_NAME = {"importlib", "runpy", "subprocess", "multiprocessing"}  # they can load or run other code
ALLOWED_IMPORTS = (sys.stdlib_module_names | PACKAGES) - NUMERIC_STANDARD - BY_NAME
COMPUTING = {
    "abs", "astype", "divmod", "eval", "exec", "max", "mean", "min", "pow", "round", "std", "sum", "__import__"
}  # fmt: skip
# All arithmetic in the package: on paths, texts, lines and exit codes. Add only what cannot change a result.
HARMLESS = {
    "Path(os.environ.get('DVC_ROOT', '.')) / Path(path).expanduser()",
    "PACKAGE / package",
    "WORK / name",
    "WORK / name / fingerprint(inputs)",
    "WORK / f'{name}.lock'",
    "folder / COMPLETE",
    "Path(folder) / path.name",
    "json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + '\\n'",
    "128 + number",
    "mark.line + 1",
}


def violations(source: str) -> Iterator[str]:
    """Imports, calls and arithmetic in a module's source that could change a result."""
    for node in ast.walk(ast.parse(source)):
        for name in imported(node):
            if name.split(".")[0] not in ALLOWED_IMPORTS and not f"{name}.".startswith("fma_genre.common."):
                yield f"imports {name}"
        used = getattr(node, "id", None) or getattr(node, "attr", None)
        if used in COMPUTING:
            yield f"uses {used}"
        if computes(node) and ast.unparse(node) not in HARMLESS:
            yield f"computes {ast.unparse(node)}"


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or "a relative path"]
    return []


def computes(node: ast.AST) -> bool:
    """Return whether the node is arithmetic with a variable. `|` is exempt, as it joins types and groups."""
    if isinstance(node, ast.AugAssign):
        return True
    if isinstance(node, ast.BinOp):
        constant = isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant)
        return not constant and not isinstance(node.op, ast.BitOr)
    if isinstance(node, ast.UnaryOp):
        return not isinstance(node.op, ast.Not) and not isinstance(node.operand, ast.Constant)
    return False


MODULES = sorted(COMMON.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=[path.stem for path in MODULES])
def test_no_module_computes(module: Path) -> None:
    assert list(violations(module.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import numpy", "imports numpy"),
        ("import numpy as np, json", "imports numpy"),
        ("from pandas import DataFrame", "imports pandas"),
        ("def f():\n    import torch", "imports torch"),
        ("from math import sqrt", "imports math"),
        ("import importlib", "imports importlib"),
        ("from fma_genre import store", "imports fma_genre"),
        ("from fma_genre.results.metrics import rounded", "imports fma_genre.results.metrics"),
        ("from fma_genre.commons import x", "imports fma_genre.commons"),
        ("from . import params", "imports a relative path"),
        ("def f(x): return round(x, 6)", "uses round"),
        ("f = round", "uses round"),
        ("def f(x): return x.round()", "uses round"),
        ("def f(x): return sum(x)", "uses sum"),
        ("def f(x): return x * 2", "computes x * 2"),
        ("def f(x): return 1 - x", "computes 1 - x"),
        ("def f(x): return -x", "computes -x"),
        ("def f(x): return x @ x", "computes x @ x"),
        ("def f(x):\n    x /= 2", "computes x /= 2"),
    ],
)
@pytest.mark.parametrize("name", ["params", "schema", "files"])
def test_a_module_that_computes_would_be_noticed(name: str, line: str, says: str) -> None:
    mutated = (COMMON / f"{name}.py").read_text(encoding="utf-8") + f"\n\n{line}\n"
    assert list(violations(mutated)) == [says]


def test_every_harmless_expression_is_still_there() -> None:
    found = {ast.unparse(node) for path in MODULES for node in ast.walk(ast.parse(path.read_text())) if computes(node)}
    assert found == HARMLESS


def test_dvc_yaml_does_not_list_the_package() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert "common" not in json.dumps(yaml.safe_load(text))


# Files. -----------------------------------------------------------------------------------------------------------


def test_relative_paths_start_at_the_checkout_also_in_a_temporary_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert files.resolve("a/b.zip") == Path("a/b.zip")
    monkeypatch.setenv("DVC_ROOT", "/checkout")
    assert files.resolve("a/b.zip") == Path("/checkout/a/b.zip")
    assert files.resolve(Path("/a/b.zip")) == Path("/a/b.zip")
    assert files.resolve("~/b.zip") == Path("/home/ada/b.zip")


def test_the_home_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(InputError, match=r"^~nobody-of-this-name/a: cannot expand ~: "):
        files.resolve("~nobody-of-this-name/a")


def test_an_atomic_output_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "out.txt"
    with files.atomic(path) as part:
        part.write_text("first")
        assert not path.exists()
    with contextlib.suppress(ZeroDivisionError), files.atomic(path) as part:
        part.write_text("second")
        raise ZeroDivisionError
    assert [file.name for file in path.parent.iterdir()] == ["out.txt"]
    assert path.read_text() == "first"


@pytest.mark.parametrize("before", ["nothing", "file", "folder", "link", "unfinished"])
def test_an_atomic_folder_replaces_whatever_was_there(tmp_path: Path, before: str) -> None:
    path, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    if before == "file":
        path.touch()
    if before == "folder":
        path.mkdir()
        (path / "old").touch()
    if before == "link":
        path.symlink_to(elsewhere)
    if before == "unfinished":
        (tmp_path / ".out.part").mkdir()
        (tmp_path / ".out.part" / "old").touch()
    with files.atomic(path) as part:
        part.mkdir()
        (part / "new").touch()
    assert [file.name for file in path.iterdir()] == ["new"]
    assert not path.is_symlink()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["elsewhere", "out"]
    assert (elsewhere / "kept").exists()


def write_atomic(path: Path) -> None:
    with files.atomic(path) as part:
        part.write_text("new")


@pytest.mark.parametrize("write", [write_atomic, lambda path: files.export(path, b"new")], ids=["atomic", "export"])
@pytest.mark.parametrize("there", ["a folder", "a pipe"])
def test_a_file_replaces_nothing_but_a_file(tmp_path: Path, write: Callable[[Path], None], there: str) -> None:
    path = tmp_path / "out"
    if there == "a folder":
        path.mkdir()
        (path / "mine").write_text("kept")
    else:
        os.mkfifo(path)
    with pytest.raises(InputError, match=rf"out: expected a file, found {there}$"):
        write(path)
    assert (path / "mine").read_text() == "kept" if there == "a folder" else path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_among_the_user_s_own_leaves_all_others(tmp_path: Path) -> None:
    others = [tmp_path / name for name in (".out.svg.part", "out.svg.part", ".out.svg", "out")]
    for path in others:
        path.write_text("mine")
    for content in (b"first", b"second"):
        files.export(tmp_path / "out.svg", content)
        assert (tmp_path / "out.svg").read_bytes() == content
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "out.svg"])
    assert all(path.read_text() == "mine" for path in others)
    assert (tmp_path / "out.svg").stat().st_mode == others[0].stat().st_mode, "the same permissions as other files"


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "out").symlink_to(tmp_path / "mine")
    files.export(tmp_path / "out", b"new")
    assert (tmp_path / "mine").read_text() == "kept"
    assert (tmp_path / "out").read_text() == "new"


def test_a_file_is_linked_or_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    source.write_bytes(b"levels")
    files.link(source, target)
    assert target.samefile(source)

    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    files.link(source, target)
    assert not target.samefile(source)
    assert target.read_bytes() == b"levels"


def test_json_is_written_in_the_given_order_with_characters_as_they_are(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"z": 1, "a": "é"})
    assert (tmp_path / "a.json").read_bytes() == '{\n  "z": 1,\n  "a": "é"\n}\n'.encode()
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"z": float("nan")})


# Workers and messages. -------------------------------------------------------------------------------------------


def test_the_number_of_workers_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for unset in (None, ""):
        if unset is None:
            monkeypatch.delenv("FMA_WORKERS", raising=False)
        else:
            monkeypatch.setenv("FMA_WORKERS", unset)
        assert workers.worker_count() == joblib.cpu_count()
    for setting, count in (("1", 1), ("7", 7), ("9999", 9999)):
        monkeypatch.setenv("FMA_WORKERS", setting)
        assert workers.worker_count() == count


@pytest.mark.parametrize("setting", ["0", "-1", "1.5", "two", " 2", "01", "10000", "٣", "9" * 5000])
def test_an_invalid_number_of_workers_is_refused(monkeypatch: pytest.MonkeyPatch, setting: str) -> None:
    monkeypatch.setenv("FMA_WORKERS", setting)
    with pytest.raises(InputError, match=r"^FMA_WORKERS: expected a number of .* from 1 to 9999, found '") as error:
        workers.worker_count()
    assert len(str(error.value)) < 200


@pytest.mark.filterwarnings("ignore:4 tasks which were still being processed")  # joblib says that they were stopped
def test_sigterm_waits_until_the_workers_have_started() -> None:
    """joblib cannot stop workers that are only partly started: it would raise another error."""
    started = []

    def tasks() -> Iterator[tuple[Callable[..., None], tuple[float], dict[str, object]]]:
        for number in range(4):
            signal.raise_signal(signal.SIGTERM)
            started.append(number)
            yield joblib.delayed(time.sleep)(60)

    def stop(number: int, frame: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        begun = time.monotonic()
        parallel = joblib.Parallel(n_jobs=2, pre_dispatch="all", return_as="generator")
        with pytest.raises(SystemExit) as end:
            list(workers.run_in_workers(parallel, tasks(), lambda: ""))
    finally:
        handler = signal.signal(signal.SIGTERM, before)
    assert end.value.code == 143
    assert started == [0, 1, 2, 3], "SIGTERM was not deferred"
    assert time.monotonic() - begun < 30, "the workers were not stopped"
    assert handler is stop, "the handler was not restored"


def test_an_error_is_one_line_that_controls_no_terminal() -> None:
    assert str(InputError("track 7:\nfound \x1b[31m\u202ered\r é …")) == "track 7:?found ?[31m?red? é …"
    assert printable("é … ·") == "é … ·"


def test_a_full_standard_output_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as end, errors_in_one_line("show"):
            print("a result")
    assert end.value.code == "show: standard output: cannot write all output: No space left on device"


def test_characters_that_the_terminal_cannot_show_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", terminal)
    with errors_in_one_line("predict"):
        print("é ロ \udcff")
    assert terminal.buffer.getvalue() == b"\xe9 \\u30ed \\udcff\n"


@pytest.mark.parametrize("packages", ["writable", "read only"])
@pytest.mark.parametrize("home", ["writable", "read only", "nobody's"])
def test_caches_have_a_place_without_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str, packages: str
) -> None:
    """/dev/null serves as a read-only folder: even root cannot create files below it."""
    places = {"writable": str(tmp_path), "read only": "/dev/null", "nobody's": "~nobody-of-this-name"}
    monkeypatch.setattr(os, "environ", {"HOME": str(tmp_path), "XDG_CACHE_HOME": places[home]})
    monkeypatch.setattr(sysconfig, "get_path", lambda name: places[packages])
    caches.provide()
    named = {name: Path(os.environ[name]) for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR") if name in os.environ}
    if home == "writable":
        assert not named
        return
    assert list(named) == (["MPLCONFIGDIR"] if packages == "writable" else ["MPLCONFIGDIR", "NUMBA_CACHE_DIR"])
    for folder in named.values():
        assert folder.stat().st_mode & 0o777 == 0o700
    before = dict(os.environ)
    caches.provide()
    assert os.environ == before, "a worker uses its parent's folders"
