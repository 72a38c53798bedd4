"""Size and density of the code, entries in dvc.yaml, and files with code that processes a track.

    python benchmarks/structure.py [CHECKOUT …]

The script prints a line of JSON for each checkout. structure.json contains the results for the first two versions of
this project. Code means `src/` without blank lines, comments and docstrings. The keys `path_…` describe the code path
of a track: the files that the stages from download to evaluate import. These include files in `common/`, which do not
process tracks and are also counted separately.
"""

import ast
import io
import json
import statistics
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("download", "split", "spectrograms", "train", "evaluate")
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LOADED_BY_NAME = ("networks/cnn", "front_ends/standardised", "models/cnn")  # without an import; a version may lack some


def main() -> None:
    for checkout in map(Path, sys.argv[1:] or [str(ROOT)]):
        print(json.dumps(measure(checkout.resolve())))


def measure(checkout: Path) -> dict[str, Any]:
    source = checkout / "src"
    files = sorted(path for path in source.rglob("*.py") if code_tokens(path))
    lines = {path: len({token.start[0] for token in code_tokens(path)}) for path in files}
    tokens = {path: len(code_tokens(path)) for path in files}
    functions = sorted(size for path in files for size in function_sizes(path))
    files_on_path = [path for path in code_path(source) if path in lines]
    shared = [path for path in files_on_path if path.parent.name == "common"]
    total = sum(lines.values())
    return {
        "files": len(files),
        "code_lines": total,
        "tokens_per_line": round(sum(tokens.values()) / total, 1),
        "tokens_per_function": {
            "median": statistics.median(functions),
            "p90": functions[int(0.9 * len(functions))],
            "max": functions[-1],
        },
        "comprehensions_per_100_lines": round(100 * sum(map(comprehensions, files)) / total, 1),
        "dvc_yaml_lines": len((checkout / "dvc.yaml").read_text().splitlines()),
        "dvc_yaml_source_entries": sum(1 for entry in dependencies(checkout) if entry.startswith("src/")),
        "path_files": len(files_on_path),
        "path_code_lines": sum(lines[path] for path in files_on_path),
        "path_common_files": len(shared),
        "path_common_code_lines": sum(lines[path] for path in shared),
    }


def code_tokens(path: Path) -> list[tokenize.TokenInfo]:
    """Tokens of a file, without comments, layout and docstrings."""
    text = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented) and ast.get_docstring(node)]
    docstrings = {(node.body[0].lineno, node.body[0].col_offset) for node in nodes}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token for token in tokens if token.type not in LAYOUT and token.start not in docstrings]


def function_sizes(path: Path) -> Iterator[int]:
    """Yield the number of tokens of each function in a file."""
    tokens = code_tokens(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield sum(node.lineno <= token.start[0] <= (node.end_lineno or 0) for token in tokens)


def comprehensions(path: Path) -> int:
    return sum(isinstance(node, COMPREHENSIONS) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def dependencies(checkout: Path) -> Iterator[str]:
    """Yield all entries of `deps` in dvc.yaml, without filling in their templates."""
    for stage in yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"].values():
        yield from stage.get("do", stage)["deps"]


def code_path(source: Path) -> list[Path]:
    """Files that the stages from download to evaluate import for the model cnn, directly or indirectly."""
    waiting = [source / f"{stage}.py" for stage in STAGES]
    named = [source / "fma_genre" / f"{name}.py" for name in LOADED_BY_NAME]
    waiting += [path for path in named if path.exists()]
    reached: list[Path] = []
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.append(path)
            waiting += imported(path, source)
    return reached


def imported(path: Path, source: Path) -> Iterator[Path]:
    """Yield the files of the project that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            module = source.joinpath(*name.split("."))
            yield from (file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file())


if __name__ == "__main__":
    main()
