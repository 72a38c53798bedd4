"""The modules that a stage imports, found in the source, and the dependencies that dvc.yaml gives it."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from project import ROOT

SOURCE = ROOT / "src"
PACKAGE = SOURCE / "fma_genre"
BY_NAME = {  # a module that loads others by name, and the keys of a system's section that name them, by package
    PACKAGE / "learning/build.py": {"networks": ["network"], "front_ends": ["front_end"]},
    SOURCE / "baseline.py": {"baselines": ["features", "classifier"]},
}


@dataclass(frozen=True)
class Stage:
    name: str  # as DVC has it: train@cnn
    script: Path
    section: Mapping[str, Any]  # of the system in params.yaml; empty for a stage without one
    deps: list[str]

    def covers(self, file: Path) -> bool:
        """Whether a dependency is this file or a folder above it."""
        return any(file.is_relative_to(ROOT / dependency) for dependency in self.deps)


def stages() -> Iterator[Stage]:
    """All stages of dvc.yaml, those of `foreach` for every system of params.yaml."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for name, definition in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items():
        script = SOURCE / f"{name}.py"
        if "foreach" not in definition:
            yield Stage(name, script, {}, definition["deps"])
            continue
        for key, section in params[definition["foreach"].strip("${}")].items():
            deps = [_interpolated(dependency, key, section) for dependency in definition["do"]["deps"]]
            yield Stage(f"{name}@{key}", script, section, deps)


def _interpolated(text: str, key: str, section: Mapping[str, Any]) -> str:
    for name, value in section.items():
        text = text.replace(f"${{item.{name}}}", str(value))
    return text.replace("${key}", key)


def closure(stage: Stage) -> set[Path]:
    """All of our files that a stage imports, its script and modules loaded by name included."""
    reached: set[Path] = set()
    waiting = [stage.script]
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting += [found for name in imports(file) for found in modules_of(name)]
            for package, keys in BY_NAME.get(file, {}).items():
                waiting += [PACKAGE / package / f"{stage.section[key]}.py" for key in keys]
    return reached


def modules_of(name: str) -> list[Path]:
    """The files that `import name` runs, if they are ours."""
    path = SOURCE.joinpath(*name.split("."))
    files = [path.with_suffix(".py"), path / "__init__.py"]
    return [file for file in files if file.is_file()]


def imports(file: Path) -> Iterator[str]:
    """Names of all modules that a file imports, anywhere in it; `from a import b` may mean the module a.b."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def modules() -> list[Path]:
    """All modules of the project but those that hold only a docstring."""
    return sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")
