"""How much text the project is: size and density of the code, entries in dvc.yaml, files on a track's way.

    python benchmarks/structure.py [CHECKOUT …]

Prints one line of JSON per checkout; of the first and the second version, they are in structure.json. Code is what
remains of `src/` without blank lines, comments and docstrings. On a track's way are all files that the stages from
download to evaluate import; those of `common/`, where nothing touches a track, are counted apart as well.
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
WAY = ("download", "split", "spectrograms", "train", "evaluate")
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
NAMED = ("networks/cnn", "front_ends/cepstral", "models/cnn")  # loaded by name, where they exist


def main() -> None:
    for checkout in map(Path, sys.argv[1:] or [str(ROOT)]):
        print(json.dumps(measure(checkout.resolve())))


def measure(checkout: Path) -> dict[str, Any]:
    source = checkout / "src"
    files = sorted(path for path in source.rglob("*.py") if code_tokens(path))
    lines = {path: len({token.start[0] for token in code_tokens(path)}) for path in files}
    tokens = {path: len(code_tokens(path)) for path in files}
    functions = sorted(size for path in files for size in function_sizes(path))
    way = [path for path in way_of_a_track(source) if path in lines]
    shared = [path for path in way if path.parent.name == "common"]
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
        "way_files": len(way),
        "way_code_lines": sum(lines[path] for path in way),
        "way_common_files": len(shared),
        "way_common_code_lines": sum(lines[path] for path in shared),
    }


def code_tokens(path: Path) -> list[tokenize.TokenInfo]:
    """Tokens of a file without comments, layout and docstrings."""
    text = path.read_text(encoding="utf-8")
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented) and ast.get_docstring(node)]
    docstrings = {(node.body[0].lineno, node.body[0].col_offset) for node in nodes}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token for token in tokens if token.type not in LAYOUT and token.start not in docstrings]


def function_sizes(path: Path) -> Iterator[int]:
    """Tokens of each function."""
    tokens = code_tokens(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield sum(node.lineno <= token.start[0] <= (node.end_lineno or 0) for token in tokens)


def comprehensions(path: Path) -> int:
    return sum(isinstance(node, COMPREHENSIONS) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def dependencies(checkout: Path) -> Iterator[str]:
    """Entries of `deps` in dvc.yaml, as they are written there."""
    for stage in yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"].values():
        yield from stage.get("do", stage)["deps"]


def way_of_a_track(source: Path) -> list[Path]:
    """The files that the stages import, the cnn's named ones included."""
    waiting = [source / f"{stage}.py" for stage in WAY]
    waiting += [source / "fma_genre" / f"{name}.py" for name in NAMED if (source / "fma_genre" / f"{name}.py").exists()]
    reached: list[Path] = []
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.append(path)
            waiting += imported(path, source)
    return reached


def imported(path: Path, source: Path) -> Iterator[Path]:
    """Files of the project that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            place = source.joinpath(*name.split("."))
            yield from (file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file())


if __name__ == "__main__":
    main()
