"""The modules that each stage imports, found in the source, and the dependencies in dvc.yaml."""

import ast
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from project import PARAMS, ROOT

SOURCE = ROOT / "src"
PACKAGE = SOURCE / "fma_genre"
BY_NAME = {  # modules that load others by name: the package, and the keys of a system's section that hold the names
    PACKAGE / "learning/build.py": {"networks": ["network"], "front_ends": ["front_end"]},
    SOURCE / "baseline.py": {"baselines": ["features", "classifier"]},
}


@dataclass(frozen=True)
class Stage:
    name: str  # in DVC's form, e.g. train@cnn
    script: Path
    section: Mapping[str, Any]  # parameters of the system or, without one, of the stage
    deps: list[str]

    def covers(self, file: Path) -> bool:
        """Return whether this file, or a folder that contains it, is a dependency."""
        return any(file.is_relative_to(ROOT / dependency) for dependency in self.deps)


def stages(parameters: Path = PARAMS, **sections: Any) -> Iterator[Stage]:
    """All stages of dvc.yaml for a file of parameters, some of whose sections may be replaced.

    A `foreach` gives one stage for each system or waveform.
    """
    params = yaml.safe_load(parameters.read_text()) | sections
    for name, definition in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        script = SOURCE / f"{name}.py"
        if "foreach" not in definition:
            yield Stage(name, script, params.get(name, {}), definition["deps"])
            continue
        for key, section in params[definition["foreach"].strip("${}")].items():
            deps = [_interpolated(dependency, key, section) for dependency in definition["do"]["deps"]]
            yield Stage(f"{name}@{key}", script, section, deps)


def _interpolated(text: str, key: str, section: Mapping[str, Any]) -> str:
    for name, value in section.items():
        text = text.replace(f"${{item.{name}}}", str(value))
    return text.replace("${key}", key)


def closure(stage: Stage) -> set[Path]:
    """All files of the project that a stage runs: its script, its imports, and the modules that it loads by name."""
    reached: set[Path] = set()
    waiting = [stage.script]
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting += [found for name in imports(file) for found in modules_of(name)]
            if file == PACKAGE / "features/build.py":  # loads the representations in `spectrograms` by name
                files = (PACKAGE / f"features/representations/{name}.py" for name in stage.section)
                waiting += [path for path in files if path.exists()]
            for package, keys in BY_NAME.get(file, {}).items():
                waiting += [PACKAGE / package / f"{stage.section[key]}.py" for key in keys]
    return reached


def uncovered(stage: Stage) -> list[str]:
    """Files that a stage imports but does not depend on. The package common and __init__.py files are exempt."""
    exempt = {file for file in closure(stage) if file.parent == PACKAGE / "common" or file.name == "__init__.py"}
    return sorted(str(file.relative_to(ROOT)) for file in closure(stage) - exempt if not stage.covers(file))


def modules_of(name: str) -> list[Path]:
    """The project's files that `import name` runs."""
    path = SOURCE.joinpath(*name.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"]
    return [file for file in files if file.is_file()]


@functools.cache
def imports(file: Path) -> frozenset[str]:
    """Names of all modules that a file imports, at any level. `from a import b` counts as a and a.b."""
    found: set[str] = set()
    for node in executed(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            found |= {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
    return frozenset(found)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all nodes below it, without imports under TYPE_CHECKING."""
    yield node
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        children = iter(node.orelse)
    for child in children:
        yield from executed(child)


def modules() -> list[Path]:
    """All modules of the project except __init__.py files."""
    return sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")
