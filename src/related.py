"""Train the related work in related.yaml as one DVC experiment, and compare it with the systems of params.yaml.

    python src/related.py [SYSTEM …]    default: all systems of related.yaml except those under `on_request`

The experiment is named `related`. It has all systems of params.yaml, too. The workspace does not change. The table at
the end shows the scores of all systems on the test tracks. A system whose name params.yaml has already is not added.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from experiments import read_revisions
from fma_genre import checkout
from fma_genre.common import params, schema
from fma_genre.common.documents import read_json, read_yaml
from fma_genre.common.errors import InputError, errors_in_one_line
from fma_genre.common.params import Params
from fma_genre.results.markdown import table

RELATED, PARAMS = Path("related.yaml"), Path("params.yaml")
EXPERIMENT = "related"
SCORES = ("accuracy", "recall", "f1")
NEXT = f"""\
dvc metrics diff HEAD {EXPERIMENT}     print what differs from the last commit
dvc exp apply {EXPERIMENT}             bring the experiment's parameters, models and results into the workspace
dvc exp run -S model=SYSTEM       after that: ship one of its models"""

Names = Annotated[tuple[schema.Name, ...], schema.Length(0, 100)]
Section = Mapping[str, Any]


@dataclass(frozen=True)
class Related:
    """Content of related.yaml. The sections have the form of those in params.yaml."""

    models: Section
    baselines: Section
    compare: Section
    waveforms: Section = field(default_factory=dict)
    on_request: Names = ()  # systems that are trained only if they are named

    @property
    def systems(self) -> list[str]:
        return [*self.models, *self.baselines]

    @property
    def default(self) -> list[str]:
        return [name for name in self.systems if name not in self.on_request]


def main() -> None:
    arguments = parse(sys.argv[1:])
    with errors_in_one_line("related"):
        related, content = read_related(RELATED), read_yaml(PARAMS)
        changes = select(related, arguments.systems or related.default, content)
        check(content, changes)
        print(f"{EXPERIMENT}: {', '.join([*changes['models'], *changes['baselines']])}, beside the systems of {PARAMS}")
        if related.on_request and not arguments.systems:
            print(f"left out unless named, since they take long: {', '.join(related.on_request)}", flush=True)
        run(changes)
        print(f"\n{scores_table(fetch())}\n\n{NEXT}")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help="a system of related.yaml")
    return parser.parse_args(arguments)


# Systems. ---------------------------------------------------------------------------------------------------------


def read_related(path: Path) -> Related:
    try:
        related = schema.read(Related, read_yaml(path), "")
        for name in related.on_request:
            params.check_choice(name, related.systems, "on_request")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return related


def select(related: Related, names: Sequence[str], content: Section) -> dict[str, dict[str, Any]]:
    """Select the sections of the named systems, and of what they need.

    Args:
        content: content of params.yaml, which wins over related.yaml.

    Returns:
        changes to params.yaml: by section, then by name
    """
    for name in names:
        params.check_choice(name, related.systems, "SYSTEM")
    present = {*content["models"], *content["baselines"]}
    added = [name for name in names if name not in present]
    models = {name: section for name, section in related.models.items() if name in added}
    read = {section.get("representation") for section in models.values() if isinstance(section, Mapping)}
    known = present | set(added)
    return {
        "waveforms": {name: section for name, section in related.waveforms.items() if name in read},
        "models": models,
        "baselines": {name: section for name, section in related.baselines.items() if name in added},
        # A system that combines others is compared if all of them are.
        "compare": {name: members for name, members in related.compare.items() if known.issuperset(members)},
    }


def check(content: Section, changes: Mapping[str, Section]) -> Params:
    """Raise InputError for the first invalid parameter of the experiment."""
    merged = {key: {**value, **changes[key]} if key in changes else value for key, value in content.items()}
    try:
        return params.check(merged)
    except InputError as error:
        raise InputError(f"{RELATED} with {PARAMS}: {error}") from None


# Experiment. ------------------------------------------------------------------------------------------------------


def run(changes: Mapping[str, Section]) -> None:
    """Run the experiment in a temporary folder, instead of an earlier one with the same name."""
    settings = [argument for setting in overrides(changes) for argument in ("--set-param", setting)]
    if EXPERIMENT in (revision.name for revision in read_revisions(checkout.experiments())):
        checkout.remove_experiments(EXPERIMENT)
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", EXPERIMENT, *settings]
    if code := subprocess.run(command, check=False).returncode:
        raise InputError(f"dvc exp run: exit code {code}; see the output above")


def overrides(value: object, name: str = "") -> Iterator[str]:
    """Arguments of `dvc exp run`, one for each parameter. The prefix ++ adds a parameter or changes it."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from overrides(item, f"{name}.{key}" if name else f"++{key}")
    else:
        yield f"{name}={json.dumps(value)}"


def fetch() -> Mapping[str, Any]:
    """Read the comparison of the experiment."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "comparison.json"
        command = ["get", "--quiet", "--rev", EXPERIMENT, "--out", str(file), ".", "metrics/comparison.json"]
        if code := subprocess.run([sys.executable, "-m", "dvc", *command], check=False).returncode:
            raise InputError(f"dvc get: exit code {code}; see the output above")
        found: Mapping[str, Any] = read_json(file)
        return found


# Table. -----------------------------------------------------------------------------------------------------------


def scores_table(comparison: Mapping[str, Any]) -> str:
    """Markdown table of all systems, and a line that explains it.

    Args:
        comparison: content of metrics/comparison.json.
    """
    rows = [["system", "runs", *SCORES, f"− {comparison['reference']}", "p", "parameters", "multiply-adds"]]
    for name, system in comparison["systems"].items():
        scores = [interval(system, score) for score in SCORES]
        difference = comparison["differences"].get(name)
        change = [interval(difference, "accuracy", "+"), f"{difference['p_holm']:.3f}"] if difference else ["", ""]
        costs = [f"{system[cost]:,}" if cost in system else "" for cost in ("parameters", "multiply_adds")]
        rows.append([name, str(system["runs"]), *scores, *change, *costs])
    return f"{table(rows)}\n\n{legend(comparison)}"


def interval(values: Mapping[str, float], score: str, sign: str = "") -> str:
    value, low, high = (f"{100 * values[key]:{sign}.1f}" for key in (score, f"{score}_low", f"{score}_high"))
    return f"{value} [{low}, {high}]"


def legend(comparison: Mapping[str, Any]) -> str:
    return (
        f"In %, on {comparison['n_test']} test tracks by {comparison['n_artists']} artists of {comparison['dataset']}:"
        f" means over the runs, with {100 * comparison['confidence']:g} % intervals over artists and runs. Recall and"
        f" F1 are macro averages. p is that of the difference in accuracy, after Holm's correction for"
        f" {len(comparison['differences'])} differences. Multiply-adds are those of a network for one segment."
    )


if __name__ == "__main__":
    main()
